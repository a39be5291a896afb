"""Grey images of one channel, to be stacked."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np


class Film(gym.Env):
    """Noise, eight images of it."""

    observation_space = gym.spaces.Box(0.0, 1.0, (8, 8, 1), np.float32)
    action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._steps = 0
        return self._image(), {}

    def step(self, action: Any) -> Any:
        self._steps += 1
        return self._image(), float(action), self._steps >= 8, False, {}

    def _image(self) -> Any:
        return self.np_random.random((8, 8, 1), dtype=np.float32)


gym.register("Film-v0", entry_point=Film)
