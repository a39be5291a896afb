"""The environment of the preset `rendezvous`: agents of two kinds that have to meet.

An example of an RLlib `MultiAgentEnv` under `environment.modules`. All agents act together, as in
PettingZoo's parallel environments, which RLlib's `ParallelPettingZooEnv` makes one of.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from ray.rllib.env.multi_agent_env import MultiAgentEnv
from ray.tune.registry import register_env

_SPEED = {"scout": 0.2, "carrier_1": 0.1, "carrier_2": 0.1}
_MOVES = np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]], np.float32)


class Rendezvous(MultiAgentEnv):
    """A fast scout sees a place on the plane; two slow carriers see only where the others are.

    Everyone is paid the same at every step, minus the mean distance to the place: the scout has
    to go there, and the carriers have to follow it.

    Args:
        config: `steps`, the length of an episode, 40 by default.
    """

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__()
        self._length = int((config or {}).get("steps", 40))
        self.agents = self.possible_agents = list(_SPEED)
        others = 2 * (len(_SPEED) - 1)
        self.observation_spaces = {
            agent: gym.spaces.Box(-np.inf, np.inf, (others + 2 * (agent == "scout"),), np.float32)
            for agent in _SPEED
        }
        self.action_spaces = {agent: gym.spaces.Discrete(len(_MOVES)) for agent in _SPEED}
        self._random = np.random.default_rng()

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, Any]:
        if seed is not None:
            self._random = np.random.default_rng(seed)
        self._goal = self._random.uniform(-1, 1, 2).astype(np.float32)
        self._at = {agent: self._random.uniform(-1, 1, 2).astype(np.float32) for agent in _SPEED}
        self._steps = 0
        return self._seen(), {}

    def step(self, actions: dict[str, int]) -> tuple[Any, ...]:
        for agent, action in actions.items():
            self._at[agent] = self._at[agent] + _SPEED[agent] * _MOVES[action]
        self._steps += 1
        away = [float(np.linalg.norm(place - self._goal)) for place in self._at.values()]
        rewards = dict.fromkeys(_SPEED, -float(np.mean(away)))
        over = self._steps >= self._length
        return self._seen(), rewards, {"__all__": False}, {"__all__": over}, {}

    def _seen(self) -> dict[str, NDArray[np.float32]]:
        seen = {}
        for agent, place in self._at.items():
            parts = [self._at[other] - place for other in _SPEED if other != agent]
            parts += [self._goal - place] if agent == "scout" else []
            seen[agent] = np.concatenate(parts).astype(np.float32)
        return seen


register_env("rendezvous", Rendezvous)
