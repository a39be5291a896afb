"""What a front is worth once its plans are trained anew: what a user gets of them.

The best of many noisy trials are partly the luckiest, most of all where one plan is repeated with
other seeds. What is left of a front with new seeds owes nothing to luck.
"""

from __future__ import annotations

from typing import NamedTuple

from prune_search.experiment.schema import Experiment
from prune_search.records.folder import StudyFolder
from prune_search.records.fronts import front, log_area
from tuners.benchmarks.search.studies import finished, only
from tuners.search.space import given

_APART = 500_009
"""Between the seeds of a study and of its plans trained anew; larger than seeds of studies are."""


class Anew(NamedTuple):
    """What a front is worth once its plans are trained anew."""

    worth: list[float]
    """Its log-hypervolume with each training seed; [] where none was asked for."""
    wall_s: float
    """That it took."""


def retrained(folder: StudyFolder, experiment: Experiment, seeds: int) -> Anew:
    """A study's front with so many other training seeds.

    Each plan on the front is trained to its end in a study of its own, `NAME-anew-SEEDS`, which is
    found again; of it those rounds count that were on the front. Nothing is chosen by what they
    return, so that the search's env seeds tell it as well as others would.

    Args:
        folder: of a study that has ended.
        experiment: the study's; allocation is none that draws layers' densities, which no study can
            be given.
        seeds: of each plan.

    Raises:
        UserError: as `finished`.
    """
    trials = folder.trials()
    best = front(point for trial in trials for point in trial.points)
    plans = {trial.number: trial.plan for trial in trials}
    numbers = sorted({point.trial for point in best})
    if not numbers or not seeds:
        return Anew([0.0] * seeds, 0.0)
    first = [given(plans[number]) for number in numbers] * seeds
    seeded = experiment.search.model_copy(update={"seed": experiment.search.seed + _APART})
    search = only(seeded, first, seeds=1)
    baseline = experiment.baseline.model_copy(update={"control": False})  # there is one already
    changed = experiment.model_copy(update={"search": search, "baseline": baseline})
    again = finished(changed, f"{folder.name}-anew-{seeds}")
    anew = {trial.number: trial.points for trial in again.trials()}
    worth = []
    for seed in range(seeds):
        of = {number: seed * len(numbers) + place for place, number in enumerate(numbers)}
        # A trial that failed has fewer points, or none.
        found = [
            anew[of[point.trial]][point.round]
            for point in best
            if point.round < len(anew.get(of[point.trial], ()))
        ]
        axes = [(point.sparsity, point.retention) for point in found]
        worth.append(log_area(axes, best[0].parameters))
    record = again.study()
    return Anew(worth, record.wall_s if record else 0.0)
