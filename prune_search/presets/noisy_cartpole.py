"""The environment of the preset `noisy-cartpole`: a cart that is pushed about and sees badly."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control import CartPoleEnv
from numpy.typing import NDArray

_SPREAD = np.array([0.1, 0.5, 0.05, 0.5], np.float32)


class NoisyCartPole(CartPoleEnv):
    """CartPole with normal noise on what is observed, and on the pole's speed itself.

    Two weights balance CartPole as it is; here that takes a policy that bears noise, so that
    returns tell policies apart which CartPole would all give 500.

    Args:
        sensor: scale of the noise on observations; at 1 its standard deviations are 0.1 m,
            0.5 m/s, 0.05 rad and 0.5 rad/s.
        gusts: standard deviation of what a step adds to the pole's speed, in rad/s.
        settings: CartPole's own.
    """

    def __init__(self, sensor: float = 0.3, gusts: float = 0.1, **settings: Any) -> None:
        super().__init__(**settings)
        self._sensor, self._gusts = sensor, gusts

    def step(self, action: Any) -> tuple[NDArray[np.float32], Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        state: list[float] = list(self.state)  # type: ignore[has-type]
        state[3] += self.np_random.normal(0.0, self._gusts)
        self.state = state
        return self._seen(observation), reward, terminated, truncated, info

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        observation, info = super().reset(seed=seed, options=options)
        return self._seen(observation), info

    def _seen(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        noise = self.np_random.normal(0.0, self._sensor, 4).astype(np.float32)
        seen: NDArray[np.float32] = observation + noise * _SPREAD
        return seen


gym.register("NoisyCartPole-v0", entry_point=NoisyCartPole, max_episode_steps=500)
