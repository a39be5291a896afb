"""The environment of a policy that leaves RLlib: what its observations and actions are there.

Of the wrappers around it, those that only change the form of observations and actions go into the
policy's description; the rest is the environment.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.tune.registry import ENV_CREATOR, _global_registry

from prune_search.artifacts.card import Task
from prune_search.errors import UserError, one_line
from prune_search.experiment.extras import reason
from prune_search.export.refusing import cannot
from prune_search.policy.layers import (
    ChannelsLast,
    Encoding,
    Flatten,
    Layer,
    Numbers,
    OneHot,
    Scaling,
)
from prune_search.rllib.configuration.algorithms import stored_config
from prune_search.rllib.configuration.environments import environment_class, steps_of
from prune_search.rllib.configuration.observations import (
    CHANNELS_LAST,
    FLATTEN,
    FLOATS,
    SCALED,
    SHIFT_ACTIONS,
    Step,
)


@dataclass(frozen=True, eq=False)
class Surroundings:
    """An environment as a policy's file meets it."""

    given: str | type
    """What RLlib was given."""
    config: dict[str, Any]
    """Its settings."""
    wrappers: tuple[Step, ...]
    """Those that stay around it, the first one innermost."""
    absorbed: tuple[Step, ...]
    """Those that the description has taken over."""
    observation_space: spaces.Space
    """Within the absorbed ones."""
    action_space: spaces.Space
    """Likewise."""
    preprocessing: tuple[Layer, ...]
    """What the absorbed ones do to an observation."""
    first: tuple[int, ...] | None
    """For each discrete action, the number that stands for the network's 0; None for others."""

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Of an observation as `flat` gives it."""
        space = self.observation_space
        if isinstance(space, spaces.Box):
            return tuple(space.shape)
        return (sum(part.given for part in encoding(space).parts),)

    @property
    def task(self) -> Task | None:
        """What makes the environment anew; None where it is a class of the user's own."""
        name = self.given if isinstance(self.given, str) else getattr(self.given, "id", None)
        if not isinstance(name, str):
            return None
        modules = list(getattr(self.given, "modules", ()))
        return Task(id=name, modules=modules, config=self.config, wrappers=list(self.wrappers))

    def make(self) -> gym.Env[Any, Any]:
        """The environment within the absorbed wrappers.

        Raises:
            UserError: it can't be made.
        """
        return _make(self.given, self.config, self.wrappers)

    def make_whole(self, between: Sequence[Step] = ()) -> gym.Env[Any, Any]:
        """The environment with all wrappers, as in training.

        Args:
            between: more of them, just within the absorbed ones.
        """
        return _make(self.given, self.config, (*self.wrappers, *between, *self.absorbed))


def make_task(task: Task) -> gym.Env[Any, Any]:
    """The environment that an artifact acts in.

    Raises:
        UserError: it can't be made.
    """
    given = environment_class(task.id, task.modules, []) if task.modules else task.id
    return _make(given, task.config, task.wrappers)


def flat(space: spaces.Space, observation: Any) -> NDArray[np.float32]:
    """An observation as a description takes it: a Box's as it is, else one vector."""
    if isinstance(space, spaces.Box):
        return np.asarray(observation, np.float32)
    return np.array(_numbers(space, observation), np.float32)


def surroundings(algorithm: Path, *, absorb: bool = True) -> Surroundings:
    """The environment that an algorithm's checkpoint was trained in.

    Args:
        algorithm: folder of the checkpoint.
        absorb: whether the wrappers that only change the form shall be the description's.

    Raises:
        UserError: it can't be read or made, or has spaces that have no description.
    """
    config = _config(algorithm)
    steps = steps_of(config.env)
    count = len(steps)
    while absorb and count and _form_only(steps[count - 1]):
        count -= 1
    wrappers, absorbed = tuple(steps[:count]), tuple(steps[count:])
    made = _make(config.env, config.env_config, wrappers)
    try:
        observation, action = made.observation_space, made.action_space
    finally:
        made.close()
    first = None
    if isinstance(action, spaces.Discrete | spaces.MultiDiscrete):
        shifted = any(step["name"] == SHIFT_ACTIONS for step in absorbed)
        start = np.asarray(action.start if shifted else np.zeros_like(action.start))
        first = tuple(int(each) for each in start.reshape(-1))
    return Surroundings(
        config.env,
        dict(config.env_config),
        wrappers,
        absorbed,
        observation,
        action,
        tuple(_preprocessing(observation, absorbed)),
        first,
    )


def encoding(space: spaces.Space) -> Encoding:
    """How an observation of any space becomes a vector, as gymnasium's `flatten` has it.

    Raises:
        UserError: the space has texts, sequences or graphs in it.
    """
    return Encoding(tuple(_encoded(space)))


def _config(algorithm: Path) -> AlgorithmConfig:
    try:
        return stored_config(algorithm)
    except Exception as error:
        raise UserError(
            f"checkpoint: {str(algorithm)!r} cannot be read: {one_line(error)}"
        ) from None


def _form_only(step: Step) -> bool:
    known = (FLATTEN["name"], SCALED["name"], CHANNELS_LAST, SHIFT_ACTIONS)
    return step["name"] in known or step == FLOATS


def _make(given: str | type, config: dict[str, Any], steps: Sequence[Step]) -> gym.Env[Any, Any]:
    try:
        if isinstance(given, str):
            if not steps and not _global_registry.contains(ENV_CREATOR, given):
                return gym.make(given, **config)
            made = environment_class(given, [], steps)(config)
        elif hasattr(given, "wrappers"):
            made = environment_class(given.id, given.modules, steps)(config)  # type: ignore[attr-defined]
        else:
            made = given(config)
    except Exception as error:
        raise UserError(f"environment: cannot make {given!r}: {reason(error)}") from None
    if not isinstance(made, gym.Env):
        raise cannot(f"the environment {type(made).__name__}, which is not gymnasium's")
    return made


def _preprocessing(space: spaces.Space, steps: Sequence[Step]) -> list[Layer]:
    found: list[Layer] = []
    for step in steps:
        if step["name"] == FLATTEN["name"]:
            found.append(Flatten() if isinstance(space, spaces.Box) else encoding(space))
        elif step["name"] == CHANNELS_LAST:
            found.append(ChannelsLast())
        elif step["name"] == SCALED["name"]:
            found.append(Scaling(1 / 128, -1.0))
    return found


def _encoded(space: spaces.Space) -> list[Numbers | OneHot]:
    match space:
        case spaces.Box() | spaces.MultiBinary():
            return [Numbers(math.prod(space.shape))]
        case spaces.Discrete():
            return [OneHot(int(space.n), int(space.start))]
        case spaces.MultiDiscrete():
            pairs = zip(space.nvec.reshape(-1), space.start.reshape(-1), strict=True)
            return [OneHot(int(count), int(first)) for count, first in pairs]
        case spaces.Tuple():
            return [part for each in space.spaces for part in _encoded(each)]
        case spaces.Dict():
            return [part for each in space.spaces.values() for part in _encoded(each)]
    raise cannot(f"observations {space}")


def _numbers(space: spaces.Space, observation: Any) -> list[float]:
    match space:
        case spaces.Tuple():
            pairs = zip(space.spaces, observation, strict=True)
            return [number for each, seen in pairs for number in _numbers(each, seen)]
        case spaces.Dict():
            return [
                number
                for name, each in space.spaces.items()
                for number in _numbers(each, observation[name])
            ]
    found: list[float] = np.asarray(observation, np.float64).reshape(-1).tolist()
    return found
