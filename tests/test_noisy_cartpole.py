"""The environment of the preset `noisy-cartpole`."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils.env_checker import check_env

from prune_search.presets.noisy_cartpole import NoisyCartPole


def played(name: str, seed: int, **settings: Any) -> list[np.ndarray[Any, Any]]:
    environment = gym.make(name, **settings)
    seen = [environment.reset(seed=seed)[0]]
    for number in range(8):
        seen.append(environment.step(number % 2)[0])
    return seen


def test_it_is_what_gymnasium_asks_for() -> None:
    check_env(NoisyCartPole(), skip_render_check=True)


def test_without_noise_it_is_cartpole() -> None:
    still = played("NoisyCartPole-v0", 3, sensor=0.0, gusts=0.0)
    assert np.allclose(still, played("CartPole-v1", 3))


def test_noise_is_of_the_seed_and_of_each_kind() -> None:
    noisy = played("NoisyCartPole-v0", 3)
    assert np.array_equal(noisy, played("NoisyCartPole-v0", 3))
    assert not np.allclose(noisy, played("NoisyCartPole-v0", 4))
    blown = played("NoisyCartPole-v0", 3, sensor=0.0)
    still = played("CartPole-v1", 3)
    assert np.allclose(blown[:2], still[:2])  # a gust shows in the step after it
    assert not np.allclose(blown[2:], still[2:])
