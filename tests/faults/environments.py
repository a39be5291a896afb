"""CartPole with one fault at a time, which another process asks for by a file."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control import CartPoleEnv

EVALUATION = 2**30
"""Seeds from here on are those of evaluations."""


class Faulty(CartPoleEnv):
    """CartPole that misbehaves once when its mark, a file, says how: `KIND PHASE`.

    Kinds: raise, nan_observation, nan_reward, hang (sleeps), spin (in C, and lets no other thread
    run), leak (holds `LEAK_GB` more). Phases: training, evaluation. The environment that meets the
    mark first takes it away.
    """

    LEAK_GB = 2.5

    def __init__(self, mark: str, **settings: Any) -> None:
        super().__init__(**settings)
        self._mark, self._phase, self._held = Path(mark), "training", []

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        if seed is not None:
            self._phase = "evaluation" if seed >= EVALUATION else "training"
        elif self._phase == "evaluation":
            self._phase = "over"  # only the first episode counts, and no harm in others is told
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        observation, reward, *ended = super().step(action)
        kind = self._taken()
        if kind == "raise":
            raise RuntimeError("the gearbox broke")
        if kind == "nan_observation":
            observation = np.full_like(observation, np.nan)
        if kind == "nan_reward":
            reward = float("nan")
        if kind == "hang":
            time.sleep(1e6)
        if kind == "spin":
            sum(range(10**15))
        if kind == "leak":
            self._held.append(np.ones(int(self.LEAK_GB * 1e9 / 8)))
        return observation, reward, *ended

    def _taken(self) -> str:
        if not self._mark.exists():
            return ""
        with suppress(OSError, ValueError):
            kind, phase = self._mark.read_text(encoding="utf-8").split()
            if phase == self._phase:
                self._mark.unlink()
                return kind
        return ""


gym.register("Faulty-v0", entry_point=Faulty, max_episode_steps=200)


def faulty(mark: Path) -> tuple[str, ...]:
    """What an experiment is changed by to have that environment, and its mark."""
    return (
        "environment.id=Faulty-v0",
        "environment.modules=[tests.faults.environments]",
        f"environment.config.mark={mark}",
    )
