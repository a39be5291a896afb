"""Environments that misbehave on request."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control import CartPoleEnv
from ray.rllib.env.multi_agent_env import MultiAgentEnv
from ray.tune.registry import register_env


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


class Pursuit(MultiAgentEnv):
    """One runner and two chasers on a line; they act together, and a chaser may retire.

    The runner is paid for distance, chasers for nearness. Episodes end at a time that the seed
    decides, and chaser 2 stops at half of it.
    """

    def __init__(self, config: Any = None) -> None:
        super().__init__()
        self.possible_agents = ["runner", "chaser_1", "chaser_2"]
        self.agents = list(self.possible_agents)
        line, push = gym.spaces.Box(-50, 50, (3,), np.float32), gym.spaces.Discrete(3)
        self.observation_spaces = dict.fromkeys(self.possible_agents, line)
        self.action_spaces = dict.fromkeys(self.possible_agents, push)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        if seed is not None or not hasattr(self, "_random"):
            self._random = np.random.default_rng(seed)
        self.agents = list(self.possible_agents)
        self._place = {agent: float(self._random.normal()) for agent in self.agents}
        self._steps, self._end = 0, int(self._random.integers(8, 20))
        return self._see(), {}

    def step(self, actions: dict[str, int]) -> Any:
        for agent, action in actions.items():
            self._place[agent] += (action - 1) * (1.0 if agent == "runner" else 0.8)
        self._steps += 1
        rewards = {agent: self._reward(agent) for agent in actions}
        over = self._steps >= self._end
        ended = dict.fromkeys(actions, over)
        seen = self._see()
        if self._steps == self._end // 2:
            ended["chaser_2"] = True
            self.agents.remove("chaser_2")
        return seen, rewards, {**ended, "__all__": over}, {"__all__": False}, {}

    def _see(self) -> dict[str, Any]:
        places = np.array([self._place[agent] for agent in self.possible_agents], np.float32)
        return {
            agent: np.clip(places - self._place[agent], -50, 50).astype(np.float32)
            for agent in self.agents
        }

    def _reward(self, agent: str) -> float:
        away = [abs(self._place["runner"] - self._place[f"chaser_{n}"]) for n in (1, 2)]
        return min(away) if agent == "runner" else -away[int(agent[-1]) - 1]


register_env("pursuit", Pursuit)


class Crashing(CartPoleEnv):
    """CartPole whose steps fail alike for as long as its mark, a file or folder, exists."""

    def __init__(self, mark: str, **settings: Any) -> None:
        super().__init__(**settings)
        self.mark = Path(mark)

    def step(self, action: Any) -> Any:
        if self.mark.exists():
            raise ValueError("the gripper is stuck:\n  close it first")
        return super().step(action)


gym.register("Crashing-v0", entry_point=Crashing, max_episode_steps=500)


KINDS: dict[str, gym.Space] = {
    "bytes": gym.spaces.Box(0, 255, (12, 12, 3), np.uint8),
    "grey": gym.spaces.Box(0, 255, (4, 12, 12), np.uint8),  # four frames
    "frames": gym.spaces.Box(0, 255, (2, 12, 12, 3), np.uint8),
    "planes": gym.spaces.Box(0, 1, (12, 12, 3), bool),
    "codes": gym.spaces.Box(0, 10, (12, 12, 3), np.uint8),
    "byte_vector": gym.spaces.Box(0, 255, (5,), np.uint8),
    "counts": gym.spaces.Box(-9, 9, (5,), np.int64),
    "double": gym.spaces.Box(-1, 1, (5,), np.float64),
    "half": gym.spaces.Box(-1, 1, (5,), np.float16),
    "number": gym.spaces.Box(-1, 1, (), np.float32),
    "matrix": gym.spaces.Box(-1, 1, (5, 4), np.float32),
    "one_of": gym.spaces.Discrete(6, start=1),
    "bits": gym.spaces.MultiBinary(5),
    "several": gym.spaces.MultiDiscrete([3, 4]),
    "dict": gym.spaces.Dict(
        place=gym.spaces.Box(-1, 1, (2, 2), np.float32),
        rest=gym.spaces.Tuple((gym.spaces.Discrete(3), gym.spaces.MultiBinary(2))),
    ),
    "text": gym.spaces.Dict(word=gym.spaces.Text(3), place=gym.spaces.Box(-1, 1, (2,))),
    "picture": gym.spaces.Dict(
        image=gym.spaces.Box(0, 255, (12, 12, 3), np.uint8), speed=gym.spaces.Box(-1, 1, (1,))
    ),
}
ACTIONS: dict[str, gym.Space] = {
    "two": gym.spaces.Discrete(2),
    "from_one": gym.spaces.Discrete(2, start=1),
    "pair_from_one": gym.spaces.MultiDiscrete([2, 3], start=[1, 5]),
    "push": gym.spaces.Box(np.array([-2, 0], np.float32), np.array([3, 9], np.float32)),
    "table": gym.spaces.Box(-1, 1, (2, 2), np.float32),
    "steps": gym.spaces.Box(0, 3, (2,), np.int64),
}


class AnyKind(gym.Env):
    """Random observations of any kind; the first action of the space is paid.

    An action that is not in the space is an error.
    """

    def __init__(self, sees: str = "double", does: str = "two") -> None:
        self.observation_space, self.action_space = copy.deepcopy((KINDS[sees], ACTIONS[does]))

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self._steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        if not self.action_space.contains(action):
            raise ValueError(f"{action!r} is not in {self.action_space}")
        self._steps += 1
        reward = float(np.all(action == getattr(self.action_space, "start", 0)))
        return self.observation_space.sample(), reward, self._steps >= 8, False, {}


gym.register("AnyKind-v0", entry_point=AnyKind, disable_env_checker=True)


class Thrifty(gym.Wrapper):
    """A task of continuous actions in which the least of them is best."""

    def step(self, action: Any) -> Any:
        observation, _, *ended = super().step(action)
        return observation, -float(np.square(action).sum()), *ended
