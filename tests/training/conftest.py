"""What the tests of training share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig


@pytest.fixture
def built(local_ray: None) -> Iterator[Callable[[AlgorithmConfig], Algorithm]]:
    """Builds algorithms, and stops them at the end."""
    made: list[Algorithm] = []

    def build(config: AlgorithmConfig) -> Algorithm:
        made.append(config.build_algo())
        return made[-1]

    yield build
    for algorithm in made:
        algorithm.stop()
