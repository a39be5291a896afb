"""What a search can be for: figures of a trial, by name; open to figures of one's own.

>>> @register_objective("worst_retention", falls=True)
... def worst_retention(trial, retention):
...     return min(point.retention for point in trial.points)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import nan
from typing import TypeAlias

from prune_search.records.fronts import delivered, hypervolume, log_hypervolume, sparsest
from prune_search.records.models import Point, TrialRecord
from prune_search.registry import Registry

Figure: TypeAlias = "Callable[[TrialRecord, float], float]"
"""Of a trial with at least one point, and the retention that a point must hold; NaN where it is
not known."""


@dataclass(frozen=True)
class Objective:
    """A figure that a search makes as large, or as small, as it can.

    Attributes:
        name: its name in ``OBJECTIVES``.
        figure: gives it.
        minimised: whether less is better.
        falls: whether it falls as a trial is pruned on; the others only get better.
    """

    name: str
    figure: Figure
    minimised: bool = False
    falls: bool = False


OBJECTIVES: Registry[Objective] = Registry("objective")


def register_objective(
    name: str, *, minimised: bool = False, falls: bool = False
) -> Callable[[Figure], Figure]:
    """Registers a figure of trials, under a name for `search.objectives`.

    Args:
        name: the name.
        minimised, falls: as `Objective` has them.

    Raises:
        ValueError: the name is taken.
    """

    return OBJECTIVES.registering(name, lambda figure: Objective(name, figure, minimised, falls))


def objectives(trial: TrialRecord, retention: float) -> dict[str, float]:
    """The values of all objectives; NaN for a cost that is not known."""
    return {name: entry.figure(trial, retention) for name, entry in OBJECTIVES.items()}


def _of_delivered(
    name: str, figure: Callable[[Point], float | None], minimised: bool = False, falls: bool = False
) -> None:
    """Registers a figure of the point that one would take of a trial."""

    def of(trial: TrialRecord, retention: float) -> float:
        found = figure(delivered(trial.points, retention))
        return nan if found is None else found

    register_objective(name, minimised=minimised, falls=falls)(of)


def _packed_bytes(trial: TrialRecord, retention: float) -> float:
    """Of the point that one would take among those whose weights are quantized."""
    found = [point for point in trial.points if point.packed_bytes is not None]
    return float(delivered(found, retention).packed_bytes or nan) if found else nan


def _sparsity_at(retention: float | None) -> Figure:
    def of(trial: TrialRecord, wished: float) -> float:
        held = sparsest(trial.points, wished if retention is None else retention)
        return held.sparsity if held else 0.0

    return of


_of_delivered("return", lambda point: point.returned.value, falls=True)
_of_delivered("return_low", lambda point: point.returned.low, falls=True)
_of_delivered("retention", lambda point: point.retention, falls=True)
_of_delivered("sparsity", lambda point: point.sparsity)
_of_delivered("compression", lambda point: point.compression)
_of_delivered("macs", lambda point: point.macs, minimised=True)
_of_delivered("bytes", lambda point: point.bytes, minimised=True)
_of_delivered("latency_us", lambda point: point.latency_us, minimised=True)
register_objective("packed_bytes", minimised=True)(_packed_bytes)
register_objective("hypervolume")(lambda trial, retention: hypervolume(trial.points))
register_objective("log_hypervolume")(lambda trial, retention: log_hypervolume(trial.points))
register_objective("sparsity_at_retention")(_sparsity_at(None))
register_objective("sparsity_95")(_sparsity_at(0.95))
register_objective("sparsity_99")(_sparsity_at(0.99))
OBJECTIVES.close()
