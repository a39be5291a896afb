"""The environment as RLlib is given it: made by its id, wrapped, of numbers that networks take.

Where nothing is wrapped that is an id. Else it is a class that makes the environment: wherever
observations and actions are seen, in training, evaluation and random play, they are the same. The
class is pickled by its code, so a checkpoint carries it and opens without this package.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
from ray.rllib.env.multi_agent_env import MultiAgentEnv
from ray.tune.registry import ENV_CREATOR, _global_registry

from prune_search.errors import UserError, unknown
from prune_search.experiment.dotted import imported, importing
from prune_search.experiment.extras import reason
from prune_search.experiment.schema import Environment
from prune_search.rllib.configuration.observations import (
    CHANNELS_LAST,
    SHIFT_ACTIONS,
    Step,
    conversion,
)

_CREATORS: dict[str, Any] = {}
"""What modules have registered with RLlib, which forgets it with each Ray that ends, while a module
is imported once a process."""


def environment_id(environment: Environment) -> str:
    """The id under which any process can make the environment, its modules imported first.

    Gymnasium imports `module:` in front of an id by itself, so env runners on other machines
    need no word of ours.

    Raises:
        UserError: a module cannot be imported, or nothing registers the id.
    """
    own, _, name = environment.id.rpartition(":")
    if own:
        _import("environment.id", own)
    for entry in environment.modules:
        before = name in gym.registry
        _import("environment.modules", entry)
        if not before and name in gym.registry:
            return f"{entry.partition(':')[0]}:{name}"
    _remember_creators()
    if environment.id in _CREATORS:
        if not _global_registry.contains(ENV_CREATOR, environment.id):
            _global_registry.register(ENV_CREATOR, environment.id, _CREATORS[environment.id])
        return environment.id
    if not own:
        for entry in environment.modules:  # imported earlier in this process
            if getattr(gym.registry.get(name), "entry_point", None) is not None:
                return f"{entry.partition(':')[0]}:{name}"
    try:
        gym.spec(name)
    except gym.error.Error:
        raise unknown("environment.id", environment.id, gym.registry) from None
    return environment.id


def _remember_creators() -> None:
    """Keeps all that is registered, as another study may ask for what this one does not."""
    registered = {*_global_registry._registered, *_global_registry._to_flush}
    for category, name in registered:
        if category == ENV_CREATOR and _global_registry.contains(category, name):
            _CREATORS[name] = _global_registry.get(category, name)


def _import(field: str, entry: str) -> None:
    """Imports a module, and calls the function behind its colon unless all is registered."""
    importing(field, entry, lambda: _import_and_call(entry))


def _import_and_call(entry: str) -> None:
    module, _, function = entry.partition(":")
    found = importlib.import_module(module)
    if function:
        _register(getattr(found, function))


@functools.cache
def _register(function: Any) -> None:
    function()


def environment_for(environment: Environment, *, convert: bool = True) -> str | type:
    """What `AlgorithmConfig.environment` takes: the id, or a class that makes and wraps it.

    Args:
        environment: the task.
        convert: whether observations and actions that networks don't take as they are get
            converted; see `observations.conversion`.

    Raises:
        UserError: it can't be made or wrapped, or its spaces can't be converted.
    """
    name, steps = environment_id(environment), list(_named(environment))
    if convert:
        steps += _conversion(environment.model_dump_json())
    if not steps and not any(":" in entry for entry in environment.modules):
        return name
    return environment_class(name, environment.modules, steps)


def steps_of(env: Any) -> list[Step]:
    """What wraps an environment that was given to RLlib, in order from inside."""
    return list(getattr(env, "wrappers", ()))


def name_of(env: Any) -> str | None:
    """The id of an environment that was given to RLlib; None for a class of the user's own."""
    if isinstance(env, str):
        return env.rpartition(":")[2]
    name = getattr(env, "id", None)
    return name.rpartition(":")[2] if isinstance(name, str) else None


def make_environment(environment: Environment, given: str | type) -> gym.Env:
    """One environment, as RLlib makes it of what it was given.

    Raises:
        UserError: it can't be made or wrapped.
    """
    settings = environment.config
    try:
        if isinstance(given, type):
            return given(settings)
        if _global_registry.contains(ENV_CREATOR, given):
            return _global_registry.get(ENV_CREATOR, given)(settings)
        return gym.make(given, **settings)
    except Exception as error:
        raise UserError(
            f"environment: cannot make {environment.id!r} with config {settings}: {reason(error)}"
        ) from None


def unconverted(made: Any, environment: Environment, given: str | type) -> Any:
    """What `make_environment` made, without the conversions around it: as the user has it.

    Args:
        made: by `make_environment`.
        environment: the task.
        given: what it was made of.
    """
    for _ in range(len(steps_of(given)) - len(environment.wrappers)):
        made = made.env
    return made


def _named(environment: Environment) -> list[Step]:
    """The user's wrappers, which are there."""
    for wrapper in environment.wrappers:
        imported("environment.wrappers", wrapper.name)
    return [wrapper.model_dump() for wrapper in environment.wrappers]


@functools.cache
def _conversion(text: str) -> Sequence[Step]:
    """What converts an environment's spaces, found once in a process by making it."""
    environment = Environment.model_validate_json(text)
    made = make_environment(environment, environment_for(environment, convert=False))
    try:
        if isinstance(made.unwrapped, MultiAgentEnv):
            if not isinstance(made, MultiAgentEnv) and environment.wrappers:
                raise UserError(
                    f"environment.wrappers: of an environment of several agents a wrapper must"
                    f" make a MultiAgentEnv of RLlib's, got {type(made).__name__}"
                )
            return ()
        return conversion(made.observation_space, made.action_space)
    finally:
        made.close()


def environment_class(name: str, modules: Sequence[str], steps: Sequence[Step]) -> type:
    """A class for RLlib that makes an environment and wraps it.

    It is made here, with all that it uses inside it, so that pickles hold its code and not the
    name of this module.

    Args:
        name: gymnasium's id, or a name registered with RLlib.
        modules: `Environment.modules`.
        steps: wrappers by dotted name with their arguments, from inside, and conversions.
    """
    entries, wrapping = list(modules), [dict(step) for step in steps]
    channels_last, shift = CHANNELS_LAST, SHIFT_ACTIONS

    def wrapped(env: Any, step: Mapping[str, Any]) -> Any:
        import importlib

        import gymnasium
        import numpy as np

        if step["name"] == channels_last:
            space = env.observation_space
            height, width = space.shape[1:3]

            def turned(image: Any) -> Any:
                return np.moveaxis(image, 0, -1).reshape(height, width, -1)

            box = gymnasium.spaces.Box(turned(space.low), turned(space.high), dtype=space.dtype)
            return gymnasium.wrappers.TransformObservation(env, turned, box)
        if step["name"] == shift:
            actions = env.action_space
            if isinstance(actions, gymnasium.spaces.Discrete):
                from_zero = gymnasium.spaces.Discrete(actions.n)
            else:
                from_zero = gymnasium.spaces.MultiDiscrete(actions.nvec)
            start = actions.start
            return gymnasium.wrappers.TransformAction(env, lambda action: action + start, from_zero)
        settings = dict(step["kwargs"])
        if isinstance(settings.get("dtype"), str):  # a file can't say it otherwise
            settings["dtype"] = np.dtype(settings["dtype"]).type
        module, _, function = step["name"].rpartition(".")
        try:
            return getattr(importlib.import_module(module), function)(env, **settings)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise ValueError(f"wrapper {step['name']}: {reason}") from error

    class Wrapped:
        """Makes the environment `id` and puts `wrappers` around it, the first one inside."""

        id = name
        modules = entries
        wrappers = wrapping

        def __new__(cls, config: Any = None) -> Any:
            import importlib

            import gymnasium
            from ray.tune.registry import ENV_CREATOR, _global_registry

            for entry in cls.modules:
                module, _, function = entry.partition(":")
                found = importlib.import_module(module)
                if function and cls.id.rpartition(":")[2] not in gymnasium.registry:
                    getattr(found, function)()
            if _global_registry.contains(ENV_CREATOR, cls.id):
                env = _global_registry.get(ENV_CREATOR, cls.id)(config)
            else:
                env = gymnasium.make(cls.id, **(config or {}))
            for step in cls.wrappers:
                env = wrapped(env, step)
            return env

    return Wrapped
