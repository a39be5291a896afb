"""The environment's id."""

from __future__ import annotations

import importlib

import gymnasium as gym
from ray.tune.registry import ENV_CREATOR, _global_registry

from prune_search.errors import UserError, unknown
from prune_search.experiment import Environment


def environment_id(environment: Environment) -> str:
    """The id under which any process can make the environment, its module imported first.

    Gymnasium imports `module:` in front of an id by itself, so env runners on other machines
    need no word of ours.

    Raises:
        UserError: a module cannot be imported, or nothing registers the id.
    """
    for module in environment.modules:
        before = environment.id in gym.registry
        try:
            importlib.import_module(module)
        except Exception as error:
            raise UserError(
                f"environment.modules: cannot import {module!r}: {type(error).__name__}: {error}"
            ) from None
        if not before and environment.id in gym.registry:
            return f"{module}:{environment.id}"
    if _global_registry.contains(ENV_CREATOR, environment.id):
        return environment.id
    for module in environment.modules:  # imported earlier in this process
        if getattr(gym.registry.get(environment.id), "entry_point", None) is not None:
            return f"{module}:{environment.id}"
    try:
        gym.spec(environment.id)
    except gym.error.Error:
        close = [name for name in gym.registry if name.split("-")[0] in environment.id]
        raise unknown("environment.id", environment.id, close or list(gym.registry)) from None
    return environment.id
