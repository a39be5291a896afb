"""An environment of pictures, of other height than width."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Pictures(gym.Env[Any, Any]):  # type: ignore[misc]
    """Random bytes, [40, 44, 3]: what Stable-Baselines3's NatureCNN takes, and little more."""

    observation_space = spaces.Box(0, 255, (40, 44, 3), np.uint8)
    action_space = spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self._picture(), {}

    def step(self, action: Any) -> Any:
        return self._picture(), 1.0, bool(self.np_random.random() < 0.1), False, {}

    def _picture(self) -> Any:
        return self.np_random.integers(0, 256, (40, 44, 3), np.uint8)


if "Pictures-v0" not in gym.registry:
    gym.register("Pictures-v0", Pictures)
