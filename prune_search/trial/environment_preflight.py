"""A few random steps of the environment: whether it gives what its spaces say, before any training.

What gymnasium and RLlib take is taken here too: values beyond a Box's bounds, other precisions,
lists of numbers. What they cut off or fail at, long after Ray has started, is refused.
"""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from prune_search.errors import EnvironmentFault, UserError, not_finite, shown
from prune_search.rllib.evaluation.lean import check_finite
from prune_search.rllib.randomness import random_state_kept
from prune_search.user_code import culprit

_STEPS = 8
_LONGEST_S = 2.0  # that steps of slow environments may take before they are enough


def try_out(environment: Any) -> None:
    """Resets an environment, takes some random steps, and leaves no trace in this process.

    Args:
        environment: as the user has it, of one agent or of several: what it declares is what is
            compared.

    Raises:
        UserError: it raises; an observation does not match its space; or a reward is no finite
            number.
    """
    trial: _One | _Several
    if isinstance(environment, MultiAgentEnv):
        trial = _Several(environment)
    elif isinstance(environment.action_space, gym.Space):
        trial = _One(environment)
    else:  # which is told where spaces are
        return
    with random_state_kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # gymnasium's, which it gives again where it matters
        begun = time.monotonic()
        trial.reset(seed=0)
        for _ in range(_STEPS):
            if time.monotonic() - begun > _LONGEST_S:
                return
            if trial.step():
                trial.reset()


class _One:
    """An environment of one agent."""

    def __init__(self, environment: gym.Env) -> None:
        self._environment, self._space = environment, environment.observation_space
        self._actions = copy.deepcopy(environment.action_space)  # spaces are shared at times
        self._actions.seed(0)

    def reset(self, seed: int | None = None) -> None:
        found = _called(
            "reset()", lambda: self._environment.reset(seed=seed, options=None), 2, "(obs, info)"
        )
        _check_observation("reset()", self._space, found[0])

    def step(self) -> bool:
        """One random step: whether the episode has ended."""
        action = self._actions.sample()
        observation, reward, terminated, truncated, _ = _called(
            "step()", lambda: self._environment.step(action), 5, _OF_A_STEP
        )
        _check_observation("step()", self._space, observation)
        _check_reward(reward)
        return bool(terminated or truncated)


class _Several:
    """An environment of several agents: each is looked at as one that is alone."""

    def __init__(self, environment: Any) -> None:
        self._environment = environment
        self._agents: list[Any] = []  # that are to act
        self._actions: dict[Any, gym.Space] = {}

    def reset(self, seed: int | None = None) -> None:
        found = _called(
            "reset()", lambda: self._environment.reset(seed=seed, options=None), 2, "(obs, info)"
        )
        self._look("reset()", found[0])

    def step(self) -> bool:
        """One random step of the agents that are to act: whether the episode has ended."""
        if not self._agents:
            return True
        actions = {agent: self._sampled(agent) for agent in self._agents}
        observations, rewards, terminated, truncated, _ = _called(
            "step()", lambda: self._environment.step(actions), 5, _OF_A_STEP
        )
        self._look("step()", observations)
        for agent, reward in rewards.items():
            _check_reward(reward, agent)
        over = terminated.get("__all__", False) or truncated.get("__all__", False)
        self._agents = [
            agent
            for agent in self._agents
            if not (terminated.get(agent, False) or truncated.get(agent, False))
        ]
        return bool(over)

    def _look(self, where: str, observations: Any) -> None:
        if not isinstance(observations, Mapping):
            raise UserError(
                f"environment: {where} of an environment of several agents must return"
                f" observations by agent, got {shown(observations)}"
            )
        known = list(self._environment.possible_agents)
        for agent, observation in observations.items():
            if agent not in known:
                raise UserError(
                    f"environment: {where} returned an observation of {agent!r}, and"
                    f" possible_agents are {known}"
                )
            space = self._environment.get_observation_space(agent)
            _check_observation(where, space, observation, agent)
        self._agents = list(observations)

    def _sampled(self, agent: Any) -> Any:
        if agent not in self._actions:
            self._actions[agent] = copy.deepcopy(self._environment.get_action_space(agent))
            self._actions[agent].seed(len(self._actions))
        return self._actions[agent].sample()


_OF_A_STEP = "(obs, reward, terminated, truncated, info)"


def _called(where: str, call: Callable[[], Any], count: int, what: str) -> Any:
    """What the environment returns, which are so many things.

    Raises:
        UserError: they are not, or it raises; with the line of the user's code.
    """
    try:
        found = call()
    except Exception as error:
        raise UserError(f"environment: {where} raised {culprit(error)}") from None
    if not isinstance(found, tuple) or len(found) != count:
        raise UserError(f"environment: {where} must return {what}, got {shown(found)}")
    return found


def _check_reward(reward: Any, agent: Any = None) -> None:
    try:
        value = float(reward)
    except (TypeError, ValueError):
        raise UserError(
            f"environment: step() returned a reward{_of(agent)} that is no number: {shown(reward)}"
        ) from None
    if not math.isfinite(value):
        raise UserError(str(not_finite("reward")))


def _check_observation(where: str, space: gym.Space, observation: Any, agent: Any = None) -> None:
    found = mismatch(space, observation)
    if found is not None:
        what, place, says = found
        raise UserError(
            f"environment: {where} returned an observation{_of(agent)}{place} {what}, and its"
            f" observation_space says {says}"
        )
    try:
        check_finite("observation", observation)
    except EnvironmentFault as fault:
        raise UserError(str(fault)) from None


def _of(agent: Any) -> str:
    return "" if agent is None else f" of agent {agent!r}"


def mismatch(space: gym.Space, value: Any, place: str = "") -> tuple[str, str, str] | None:
    """What is wrong with a value by its space; None where nothing is.

    Args:
        space: what it should be of.
        value: an observation, or a part of one.
        place: which part, such as ``['speed']``.

    Returns:
        What the value is (`of shape (5,)`), which part, and what the space says (`(6,)`).
    """
    parts: list[tuple[gym.Space, Any, str]] = []
    if isinstance(space, spaces.Dict | spaces.Tuple):
        found, named = _of_several(space, value)
        parts = [(part, each, f"{place}[{name!r}]") for name, part, each in named]
    elif isinstance(space, spaces.Box):
        found = _of_box(space, value)
    else:
        found = None if _contains(space, value) else (f"of {shown(value)}", str(space))
    if found is not None:
        return found[0], f" in {place}" if place else "", found[1]
    return next(filter(None, (mismatch(*part) for part in parts)), None)


def _of_several(
    space: spaces.Dict | spaces.Tuple, value: Any
) -> tuple[tuple[str, str] | None, list[tuple[Any, gym.Space, Any]]]:
    """What is wrong with the whole of a Dict or Tuple, if anything is; else its parts, by name."""
    several, kind = len(space.spaces), "tuple"
    names: list[Any] = list(range(several))
    if isinstance(space, spaces.Dict):
        names, kind = list(space.spaces), "dict"
    if not isinstance(value, Mapping if kind == "dict" else tuple | list):
        return (f"of type {type(value).__name__}", f"a {kind} of {names}"), []
    if kind == "dict" and set(value) != set(names):
        return (f"with the keys {[*value]}", str(names)), []
    if len(value) != several:
        return (f"of {len(value)} parts", str(several)), []
    return None, [(name, space[name], value[name]) for name in names]


def _of_box(space: spaces.Box, value: Any) -> tuple[str, str] | None:
    """What a value is, and what its Box says, where these don't go together."""
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        return f"of {shown(value)}", f"shape {space.shape}"
    if array.dtype.kind not in "fiub":
        return f"of type {array.dtype if array.ndim else type(value).__name__}", str(space.dtype)
    if array.shape != space.shape:
        return f"of shape {array.shape}", str(space.shape)
    given, declared = array.dtype.kind == "f", space.dtype.kind == "f"
    # A number of Python's, or a list of them, is of no type of its own.
    typed = isinstance(value, np.ndarray | np.generic)
    cut_off = given and not declared
    if cut_off or (declared and not given and typed and not np.can_cast(array.dtype, space.dtype)):
        return f"of dtype {array.dtype}", str(space.dtype)
    return None


def _contains(space: gym.Space, value: Any) -> bool:
    try:
        if isinstance(space, spaces.Discrete):  # arrays of one number serve as well
            whole = np.asarray(value)
            inside = space.start <= whole.item() < space.start + space.n
            return bool(whole.dtype.kind in "iub" and inside)
        return bool(space.contains(value))
    except Exception:  # of what it can't even look at
        return False
