"""Environments that misbehave on request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.envs.classic_control import CartPoleEnv


class Brittle(CartPoleEnv):
    """CartPole that cannot be reset while its mark, a file, says broken."""

    def __init__(self, mark: str, **settings: Any) -> None:
        super().__init__(**settings)
        self.mark = Path(mark)

    def reset(self, **options: Any) -> Any:
        if self.mark.read_text() == "broken":
            raise RuntimeError("the gearbox broke")
        return super().reset(**options)


gym.register("Brittle-v0", entry_point=Brittle, max_episode_steps=500)
