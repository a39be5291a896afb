"""CartPole whose physics change while a policy is trained on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.envs.classic_control import CartPoleEnv

NORMAL: dict[str, float] = {"force_mag": 10.0}
REVERSED: dict[str, float] = {"force_mag": -10.0}
"""The motor is connected the wrong way round: pushes go right for left. The task is the mirror
image of the normal one, so that a network of any size can return on it what it returned before,
but a policy that was trained before drops the pole at once."""


class Shifting(CartPoleEnv):
    """CartPole with the physics that a file gives at each reset: the world outside of the trial.

    Training and evaluation, in any process, are so always in the present physics, without a clock
    that they would have to share, or that a resumed trial would have to set. A round begins with
    a reset of every environment: with the file changed between two rounds, each round has one
    physics.

    Args:
        physics: path of a JSON object: attributes of Gymnasium's CartPoleEnv (force_mag,
            gravity, tau, length) and their values.
        settings: arguments of CartPoleEnv.
    """

    def __init__(self, physics: str, **settings: Any) -> None:
        super().__init__(**settings)
        self.physics = Path(physics)

    def reset(self, **options: Any) -> Any:
        for name, value in json.loads(self.physics.read_text()).items():
            setattr(self, name, value)
        self.polemass_length = self.masspole * self.length
        return super().reset(**options)


def set_physics(path: Path, physics: dict[str, float]) -> None:
    """Changes the world."""
    path.write_text(json.dumps(physics))


gym.register("Shifting-v0", entry_point=Shifting, max_episode_steps=500)
