"""The benchmark of evaluation plays both ways, and refuses what has but one."""

from __future__ import annotations

from typing import Any

import pytest

from prune_search.errors import UserError
from tests.algorithms import experiment
from tuners.benchmarks.training.evaluation import evaluation_gain


@pytest.mark.slow
def test_the_lean_loop_is_compared_on_the_same_episodes(tiny: Any, local_ray: None) -> None:
    found = evaluation_gain(tiny(), pairs=2, steps=0)
    assert 0 < found.low <= found.median <= found.high
    assert found.seconds > 0 and 8 <= found.returned <= 500


@pytest.mark.slow
def test_a_recurrent_network_is_refused(local_ray: None) -> None:
    with pytest.raises(UserError, match="only RLlib's env runner plays: the network has a state"):
        evaluation_gain(experiment("ppo-lstm"), pairs=1, steps=0)
