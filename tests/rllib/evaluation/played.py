"""What was played in an evaluation, seen by the environments themselves."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import tree


def bits(value: Any) -> tuple[Any, ...]:
    """Types and bytes of all that an observation or action is made of."""
    leaves = [np.asarray(leaf) for leaf in tree.flatten(value)]
    return tuple((leaf.dtype.str, leaf.tobytes()) for leaf in leaves)


class Played(gym.Wrapper):
    """Keeps what was played of each seed's first episode, and lets episodes differ in length.

    Args:
        shortest: steps after which an episode is cut, at the least.
        spread: how many lengths there are from there on; the seed decides.
        at: the step in which something is wrong; none if 0.
        wrong: what is NaN then, `observation` or `reward`.
    """

    episodes: ClassVar[dict[int, list[tuple[Any, ...]]]] = {}

    def __init__(
        self,
        env: gym.Env,
        shortest: int = 3,
        spread: int = 5,
        at: int = 0,
        wrong: str = "",
    ) -> None:
        super().__init__(env)
        self._shortest, self._spread, self._at, self._wrong = shortest, spread, at, wrong

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        observation, info = super().reset(seed=seed, options=options)
        self._steps = 0
        self._length = self._shortest + (seed or 0) * 7 % self._spread
        self._kept: list[tuple[Any, ...]] | None = None
        if seed is not None and seed not in self.episodes:  # not the last block's filling
            self._kept = self.episodes[seed] = [bits(observation)]
        return observation, info

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = super().step(action)
        self._steps += 1
        truncated = truncated or self._steps >= self._length
        if self._steps == self._at:
            if self._wrong == "reward":
                reward = float("nan")
            else:
                observation = np.full_like(observation, np.nan)
        if self._kept is not None:
            self._kept.append((*bits(action), *bits(observation), float(reward)))
        return observation, reward, terminated, truncated, info


class Global(gym.Wrapper):
    """Rewards that come from NumPy's global generator."""

    def step(self, action: Any) -> Any:
        observation, _, *ended = super().step(action)
        return observation, float(np.random.random()), *ended
