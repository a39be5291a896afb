"""Fronts: which points no other dominates, and how much a front is worth.

Dominance and hypervolume are moocore's (Fonseca, Paquete & López-Ibáñez 2006). Both axes are
maximised: sparsity, and return or retention.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

import moocore
import numpy as np

from prune_search.records.models import BaselineRecord, Point, TrialRecord

Curve = list[tuple[int, float]]
"""(env steps, hypervolume), by rising env steps."""


def front(points: Iterable[Point]) -> list[Point]:
    """The points that no other has both more sparsity and more return than, by rising sparsity.

    Of points that are equal on both axes the earliest stays.
    """
    pool = sorted(points, key=lambda p: (p.sparsity, p.returned.value, -p.trial, -p.round))
    if not pool:
        return []
    axes = np.array([[p.sparsity, p.returned.value] for p in pool])
    # keep_weakly=False keeps the first of equals, and the earliest trial is last in the pool.
    kept = moocore.is_nondominated(axes[::-1], maximise=True, keep_weakly=False)[::-1]
    return [point for point, keep in zip(pool, kept, strict=True) if keep]


def hypervolume(points: Sequence[Point]) -> float:
    """Area that the points dominate above (sparsity 0, retention 0).

    0 for no points. Retention may exceed 1, and so may the area, where pruning improved a policy.
    """
    return area([(point.sparsity, point.retention) for point in points])


def log_hypervolume(points: Sequence[Point]) -> float:
    """The share that the points dominate of (log of compression, retention), retention cut at 1.

    From 95 to 99 % sparsity counts as much as from 75 to 95 %, and a front that loses nothing is
    told from another by how far it goes. 1 is a policy of one parameter that loses nothing, 0 no
    points.
    """
    if not points:
        return 0.0
    axes = [(point.sparsity, point.retention) for point in points]
    return log_area(axes, points[0].parameters)


def log_area(axes: Iterable[tuple[float, float]], parameters: int) -> float:
    """The `log_hypervolume` of pairs of sparsity and retention, which may come from elsewhere.

    Args:
        axes: (sparsity, retention); a retention above 1 counts as 1.
        parameters: of the baseline's inference network, 2 or more.
    """
    return area((log_compression(zeros, parameters), min(kept, 1.0)) for zeros, kept in axes)


def log_compression(sparsity: float, parameters: int) -> float:
    """Logarithm of the compression, over that of the largest, at which one parameter is left.

    Args:
        sparsity: in [0, 1].
        parameters: of the baseline's inference network, 2 or more.
    """
    left = max(1.0, parameters * (1.0 - sparsity))
    return 1.0 - math.log(left) / math.log(parameters)


def area(axes: Iterable[tuple[float, float]]) -> float:
    """The hypervolume above (0, 0) of pairs, which may come from elsewhere than a point."""
    above = np.array([pair for pair in axes if pair[1] > 0])
    if not len(above):
        return 0.0
    return float(moocore.hypervolume(above, ref=[0.0, 0.0], maximise=True))


def hypervolume_curve(
    trials: Iterable[TrialRecord], worth: Callable[[Sequence[Point]], float] = hypervolume
) -> Curve:
    """How the front of all trials grew: (env steps of all trials, hypervolume), by rising steps.

    One item for each point that improved the front, and one at the end.

    Args:
        trials: of a study.
        worth: of a front; `log_hypervolume` for its curve.
    """
    found = list(trials)
    curve: Curve = []
    value = 0.0
    for steps, best in front_history(found):
        grown = worth(best)
        if grown > value:
            value = grown
            curve.append((steps, value))
    total = sum(trial.env_steps for trial in found)
    return curve if not total or (curve and curve[-1][0] == total) else [*curve, (total, value)]


def front_history(trials: Iterable[TrialRecord]) -> list[tuple[int, list[Point]]]:
    """The front of all trials as it changed: (env steps of all trials, front), by rising steps."""
    points = [point for trial in trials for point in trial.points]
    best: list[Point] = []
    history: list[tuple[int, list[Point]]] = []
    spent: dict[int, int] = {}
    total = 0
    for point in sorted(points, key=lambda p: (p.time, p.trial, p.round)):
        total += point.env_steps - spent.get(point.trial, 0)
        spent[point.trial] = point.env_steps
        if any(p.sparsity >= point.sparsity and p.retention >= point.retention for p in best):
            continue
        best = front([*best, point])
        history.append((total, best))
    return history


class Measured(Protocol):
    """What has a sparsity and the retention that it was measured to keep."""

    @property
    def sparsity(self) -> float: ...

    @property
    def retention(self) -> float: ...


M = TypeVar("M", bound=Measured)


def sparsest(points: Iterable[M], retention: float) -> M | None:
    """The sparsest point that keeps at least this retention."""
    held = [point for point in points if point.retention >= retention]
    return max(held, key=lambda p: (p.sparsity, p.retention), default=None)


def delivered(points: Sequence[M], retention: float) -> M:
    """What one would take of a trial or plan: its sparsest point at this retention, else its best.

    Raises:
        ValueError: there are no points.
    """
    point = sparsest(points, retention)
    return point or max(points, key=lambda p: (p.retention, p.sparsity))


def summary(trial: TrialRecord, retention: float) -> dict[str, float]:
    """The scalars that tell trials apart."""
    best = delivered(trial.points, retention)
    at_95, at_99 = sparsest(trial.points, 0.95), sparsest(trial.points, 0.99)
    return {
        "return": best.returned.value,
        "retention": best.retention,
        "sparsity": best.sparsity,
        "compression": best.compression,
        "hypervolume": hypervolume(trial.points),
        "log_hypervolume": log_hypervolume(trial.points),
        "sparsity_95": at_95.sparsity if at_95 else 0.0,
        "sparsity_99": at_99.sparsity if at_99 else 0.0,
        "compression_95": at_95.compression if at_95 else 1.0,
        "compression_99": at_99.compression if at_99 else 1.0,
    }


def best_returns(
    points: Iterable[Point], levels: Sequence[float] = (0.5, 0.9, 0.95, 0.98, 0.99)
) -> dict[float, Point]:
    """For each weight sparsity, the point of best return among those at least that sparse."""
    pool = list(points)
    found = {}
    for level in levels:
        enough = [point for point in pool if point.weight_sparsity >= level]
        if enough:
            found[level] = max(enough, key=lambda p: p.returned.value)
    return found


def well_posed(baseline: BaselineRecord) -> bool:
    """Whether retention means something: the baseline is better than random actions."""
    return baseline.returned.value > baseline.random.value


def noise(baseline: BaselineRecord) -> list[str]:
    """A line for its notes where it is better than random actions, but by no more than chance is.

    That is where the intervals of the two overlap: retention divides by their difference.
    """
    dense, random = baseline.returned, baseline.random
    if not well_posed(baseline) or dense.low > random.high:
        return []
    longer = (
        "train it longer: baseline.env_steps"
        if baseline.env_steps
        else "take a policy that was trained longer: baseline.checkpoint"
    )
    return [
        f"baseline: its return, {dense.value:.1f} [{dense.low:.1f}, {dense.high:.1f}], can hardly"
        f" be told from that of random actions, {random.value:.1f} [{random.low:.1f},"
        f" {random.high:.1f}]: retention is mostly noise; {longer}"
    ]
