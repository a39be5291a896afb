"""What a study's front is worth once its plans are trained anew: what a user gets of them.

The best of many noisy trials are partly the luckiest. A search that repeats one plan with other
seeds has much of that luck, and delivers no plan that another seed would make as good.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prune_search.records.fronts import front, log_area
from prune_search.records.models import TrialRecord
from tuners.benchmarks.recorded.world import World

SEEDS = 10
"""With which each plan is trained anew."""


def retrained(world: World, seed: int, trials: Sequence[TrialRecord]) -> float:
    """Mean log-hypervolume of a study's front when its plans are trained with ten other seeds.

    Of each plan on the front those rounds count that were on it.

    Args:
        world: that the study was replayed in.
        seed: of the study.
        trials: all of it.
    """
    best = front(point for trial in trials for point in trial.points)
    plans = {trial.number: trial.plan for trial in trials}
    worth = []
    for again in range(SEEDS):
        curves = {
            number: world.curve(plans[number], _seed(seed, number, again), seed)
            for number in {point.trial for point in best}
        }
        found = [curves[point.trial][point.round] for point in best]
        axes = [(each.sparsity, each.retention) for each in found]
        worth.append(log_area(axes, world.task.parameters))
    return float(np.mean(worth))


def _seed(*of: int) -> int:
    """None of those that `replay` trains with, which are small numbers."""
    return int(np.random.SeedSequence(of).generate_state(1, np.uint64)[0])
