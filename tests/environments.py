"""Environments that misbehave on request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
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


class Pixels(gym.Env):
    """Images that show which of two actions is rewarded; floats, as RLlib's networks need them."""

    observation_space = gym.spaces.Box(0, 1, (12, 12, 3), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._steps = 0
        return self._image(), {}

    def step(self, action: int) -> Any:
        reward = float(action == self._side)
        self._steps += 1
        return self._image(), reward, self._steps >= 16, False, {}

    def _image(self) -> Any:
        self._side = int(self.np_random.integers(2))
        image = self.np_random.random((12, 12, 3), dtype=np.float32) / 2
        image[:, 6 * self._side : 6 * (self._side + 1)] += 0.5
        return image


gym.register("Pixels-v0", entry_point=Pixels)
