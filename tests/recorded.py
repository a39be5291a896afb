"""Episodes of random actions, recorded as RLlib records them."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import pandas as pd


def record(environment: str, episodes: int, path: Path) -> Path:
    """Writes columns of single steps, which RLlib reads without further packages.

    Args:
        environment: Gymnasium's id.
        episodes: how many.
        path: folder of the file.
    """
    env = gym.make(environment)
    env.action_space.seed(0)
    rows = []
    for number in range(episodes):
        observation, _ = env.reset(seed=number)
        ended = False
        while not ended:
            action = env.action_space.sample()
            following, reward, terminated, truncated, _ = env.step(action)
            rows.append(
                {
                    "eps_id": str(number),
                    "obs": observation.tolist(),
                    "actions": action.tolist() if hasattr(action, "tolist") else action,
                    "rewards": float(reward),
                    "new_obs": following.tolist(),
                    "terminateds": terminated,
                    "truncateds": truncated,
                }
            )
            observation, ended = following, terminated or truncated
    path.mkdir(parents=True)
    pd.DataFrame(rows).to_parquet(path / "steps.parquet")
    return path
