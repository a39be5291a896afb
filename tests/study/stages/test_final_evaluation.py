"""The front's second measurement."""

from __future__ import annotations

import pytest

from prune_search.experiment.schema import Evaluation
from tests.studies import make_trial
from tuners.study.stages.final_evaluation import meters

pytestmark = pytest.mark.timeout(400)


@pytest.mark.parametrize(
    ("eval_s", "episodes", "cpus", "expected"),
    [
        (0.4, 100, 64, 1),  # 0.6 s in all: no process is worth its start
        (0.4, 2_000, 64, 3),  # 12 s in all
        (40.0, 100, 64, 4),
        (40.0, 100, 2, 2),
    ],
)
def test_a_front_is_measured_by_as_many_processes_as_are_worth_their_start(
    eval_s: float, episodes: int, cpus: int, expected: int
) -> None:
    points = [point.model_copy(update={"eval_s": eval_s}) for point in make_trial(0, 3).points]
    evaluation = Evaluation(episodes=100, final_episodes=episodes)
    assert meters(points, evaluation, cpus) == expected
