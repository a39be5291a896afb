"""Trials that a study begins with to find out how far policies can be pruned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from prune_search.experiment.fields import Range, as_choices, highest, lowest
from prune_search.experiment.pruning import Pruning, options
from prune_search.records.models import TrialRecord

# Iterative magnitude pruning with ERK's densities (Frankle & Carbin 2019; Evci et al. 2020) and
# |w g| ranked over a whole network on GMP's schedule (Molchanov et al. 2019; Zhu & Gupta 2017);
# then the two criteria the other way round.
_PROVEN = (
    {"criterion": "magnitude", "schedule": "geometric", "allocation": "erk"},
    {"criterion": "saliency", "schedule": "cubic", "allocation": "global"},
    {"criterion": "saliency", "schedule": "geometric", "allocation": "erk"},
    {"criterion": "magnitude", "schedule": "cubic", "allocation": "global"},
)


def probe(
    number: int, trials: Sequence[TrialRecord], pruning: Pruning, retention: float
) -> dict[str, Any]:
    """A trial, by fields of `pruning`, that is to find out how far policies can be pruned.

    It takes each granularity in turn and, where they may be searched, a strategy that has done well
    in the literature; what it leaves out is the sampler's. It aims at the highest ratio or
    threshold that may be searched until a trial has gone so far. From then on, unless that held,
    it aims halfway between the highest that a point has held and the highest there is: a search by
    bisection, each time by other means.

    Args:
        number: of the probe, 0 for the first.
        trials: of the study so far.
        retention: that holds.
    """
    granularities = as_choices(pruning.granularity)
    chosen: dict[str, Any] = {"granularity": granularities[number % len(granularities)]}
    for name, value in _PROVEN[number % len(_PROVEN)].items():
        if value in options(pruning, name, chosen):
            chosen[name] = value
    return {**chosen, **{name: _aim(name, trials, pruning, retention) for name in _aims(pruning)}}


def _aims(pruning: Pruning) -> list[str]:
    fields = ("ratio", "threshold")
    return [
        name for name in fields if lowest(getattr(pruning, name)) < highest(getattr(pruning, name))
    ]


def _aim(name: str, trials: Sequence[TrialRecord], pruning: Pruning, retention: float) -> float:
    space = getattr(pruning, name)
    end = highest(space)
    asked = [
        trial
        for trial in trials
        if getattr(trial.plan, name) is not None and trial.plan.scope != "critic"
    ]
    points = [point for trial in asked for point in trial.points]
    held = [point.target for point in points if point.retention >= retention]
    best, far = max([lowest(space), *held]), end * (1 - 1e-9)
    arrived = any(point.target >= far for point in points)
    gave_up = any(
        trial.ended and not trial.cut_off and getattr(trial.plan, name) >= far for trial in asked
    )
    if best >= far or not (arrived or gave_up):
        return end
    # 97 % and 99 % are as far apart as 91 % and 97 %.
    middle = 1 - math.sqrt((1 - best) * (1 - end)) if name == "ratio" else (best + end) / 2
    if isinstance(space, Range):
        return middle
    return float(min(as_choices(space), key=lambda value: abs(value - middle)))
