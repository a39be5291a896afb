"""CartPole that fails in its first step, and keeps count of how often it has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.envs.classic_control import CartPoleEnv


class Failing(CartPoleEnv):
    """Appends a line to its mark, a file, as it fails."""

    def __init__(self, mark: str, kind: str, **settings: Any) -> None:
        super().__init__(**settings)
        self._mark, self._kind = Path(mark), kind

    def step(self, action: Any) -> Any:
        observation, _, *ended = super().step(action)
        with self._mark.open("a", encoding="utf-8") as file:
            file.write("once\n")
        if self._kind == "raise":
            raise OSError("the robot fell")
        return observation, float("nan"), *ended


gym.register("Failing-v0", entry_point=Failing, max_episode_steps=200)
