"""What RLlib's policy does: observations and actions of its episodes, to compare artifacts with."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from prune_search.errors import UserError, one_line
from prune_search.export.policy import Policy
from prune_search.export.surroundings import Surroundings, flat
from prune_search.policy.arrays import Array
from prune_search.rllib.randomness import random_state_kept, seed_process

_LANES = 32  # environments that a policy without a memory acts in at a time
_FIRST_SEED = 2**29  # above those of trainings, below those of evaluations


@dataclass(frozen=True, eq=False)
class Recorded:
    """Steps of episodes, one after another."""

    observations: Array
    """[steps, ...], as the policy's description takes them."""
    actions: NDArray[Any]
    """[steps, ...], as the environment takes them."""
    begins: NDArray[np.bool_]
    """[steps], where an episode begins."""
    ranges: NDArray[np.float64] | None = None
    """Of each number of an action, highest minus lowest, maybe infinite; None where actions are
    discrete."""


class Tap(gym.Wrapper[Any, Any, Any, Any]):
    """Keeps what the environment gave and took last."""

    observation: Any = None
    action: Any = None

    def reset(self, **given: Any) -> Any:
        self.observation, info = self.env.reset(**given)
        return self.observation, info

    def step(self, action: Any) -> Any:
        self.action = action
        self.observation, *rest = self.env.step(action)
        return self.observation, *rest


def recorded(
    algorithm: Path, around: Surroundings, steps: int, *, max_steps: int = 100_000
) -> Recorded:
    """Greedy episodes of RLlib's policy, by its own connectors and network.

    Args:
        algorithm: folder of the checkpoint.
        around: the environment; observations and actions are those within its absorbed wrappers.
        steps: how many to record; the last episodes may be cut.
        max_steps: an episode that has not ended after so many is cut there.

    Raises:
        UserError: the environment or the policy fails.
    """
    policy = Policy(algorithm)
    lanes = [_Lane(around) for _ in range(1 if policy.remembers else min(_LANES, steps))]
    try:
        with random_state_kept():
            seed_process(_FIRST_SEED)
            seeds = itertools.count(_FIRST_SEED)
            for step in range(-(-steps // len(lanes))):
                for lane in lanes:
                    if lane.over or lane.length >= max_steps:
                        lane.begin(next(seeds))
                        if policy.remembers:
                            policy.reset()
                given = [lane.given for lane in lanes]
                actions = [policy(given[0])] if policy.remembers else policy.several(given)
                for lane, action in zip(lanes[: steps - step * len(lanes)], actions, strict=False):
                    lane.step(action)
    except Exception as error:
        raise UserError(f"export: the policy cannot be played: {one_line(error)}") from None
    finally:
        for lane in lanes:
            lane.environment.close()
    return Recorded(
        np.stack([seen for lane in lanes for seen in lane.seen]),
        np.stack([action for lane in lanes for action in lane.taken]),
        np.array([begin for lane in lanes for begin in lane.begins]),
        _ranges(around.action_space),
    )


def _ranges(space: gym.Space[Any]) -> NDArray[np.float64] | None:
    if not isinstance(space, gym.spaces.Box):
        return None
    with np.errstate(over="ignore"):
        found: NDArray[np.float64] = space.high.astype(np.float64) - space.low.astype(np.float64)
    return found.reshape(-1)


class _Lane:
    """An environment, and what happened in it."""

    def __init__(self, around: Surroundings) -> None:
        self.environment = around.make_whole([{"name": f"{__name__}.Tap", "kwargs": {}}])
        self._space = around.observation_space
        tap = self.environment
        while not isinstance(tap, Tap):
            tap = tap.env
        self._tap = tap
        self.seen: list[Array] = []
        self.taken: list[Any] = []
        self.begins: list[bool] = []
        self.over, self.length = True, 0
        self.given: Any = None
        """What the policy is given next."""

    def begin(self, seed: int) -> None:
        self.given, _ = self.environment.reset(seed=seed)
        self.over, self.length = False, 0

    def step(self, action: Any) -> None:
        self.seen.append(flat(self._space, self._tap.observation))
        self.begins.append(self.length == 0)
        self.given, _, terminated, truncated, _ = self.environment.step(action)
        self.taken.append(np.asarray(self._tap.action))
        self.over, self.length = terminated or truncated, self.length + 1
