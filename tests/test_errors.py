"""What messages say."""

from __future__ import annotations

import gymnasium as gym

from prune_search.errors import unknown

FEW = ["cubic", "linear"]


def test_few_known_names_are_all_listed() -> None:
    assert str(unknown("pruning.schedule", "steps", FEW)) == (
        "pruning.schedule: unknown 'steps'; known are: cubic, linear"
    )


def test_of_many_known_names_those_that_are_near_are_listed() -> None:
    message = str(unknown("environment.id", "LunarLandr-v3", gym.registry))
    assert message.startswith("environment.id: unknown 'LunarLandr-v3'; near names: LunarLander")
    assert len(message) < 200
    assert "CartPole-v1" in str(unknown("environment.id", "cartpole", gym.registry))
    assert "CartPole-v1" in str(unknown("environment.id", "KartPole-v1", gym.registry))
    message = str(unknown("environment.id", "ZZZ", gym.registry))
    assert message.endswith(f"none of the {len(gym.registry)} known names is near")
