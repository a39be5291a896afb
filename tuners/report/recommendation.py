"""Which point of a study to take, and the commands that take it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prune_search.import_paths import page
from prune_search.records.fronts import delivered
from prune_search.records.models import Point
from tuners.commands import command
from tuners.words import count

if TYPE_CHECKING:
    from tuners.report.study_report import StudyReport


@dataclass(frozen=True)
class Recommendation:
    """A point of the front, and what it was chosen by."""

    point: Point
    retention: float
    """On the final seeds, once they are measured."""
    wished: float
    """The least that was to be kept, `search.retention`."""
    final: bool
    """Whether the retention is that on the final seeds, by which no point was chosen before."""

    @property
    def sparsity(self) -> float:
        return self.point.sparsity

    @property
    def holds(self) -> bool:
        """Whether it keeps as much; if not, no point does, and it is the one that keeps most."""
        return self.retention >= self.wished


def recommended(study: StudyReport) -> Recommendation | None:
    """The sparsest point of the front that holds the wished retention, else the best one.

    On the final seeds, once they are measured: the best of many points looks better than it is on
    the seeds that have chosen it. None where there is no front yet.
    """
    wished = study.retention
    known = [
        Recommendation(item.point, study.kept(item.point), wished, final=True)
        for item in study.front
        if item.final is not None
    ] or [Recommendation(i.point, i.point.retention, wished, final=False) for i in study.front]
    return delivered(known, wished) if known else None


def lines(study: StudyReport) -> list[str]:
    """What a study's report ends with: the point, why it, and what can be done with it."""
    found = recommended(study)
    if found is None:
        return []
    point, folder, using = found.point, study.folder, page("using.md")
    seeds = "the final seeds" if found.final else "the search's seeds, not yet on the final ones"
    least = f"at least {found.wished:.0%}"
    why = (
        f"the sparsest of the front that keeps {least}"
        if found.holds
        else f"no point of the front keeps {least}; this one keeps the most"
    )
    return [
        f"recommended: {point.name}, {point.sparsity:.2%} sparse, retention"
        f" {_against(found.retention, found.wished)} on {seeds}: {why}",
        *_sizes(point),
        f"  take it     {command('restore', folder, point.name)}",
        f"  play it     {command('evaluate', folder, point.name)}",
        *(
            []
            if point.compact_bytes is None
            else [f"  compact it  {command('compact', folder, point.name)}"]
        ),
        *([] if using is None else [f"  act with it: {using}, with RLlib and without"]),
    ]


def _against(retention: float, wished: float) -> str:
    """A retention with as many digits as tell it from the wished one: `94.97%` of 95 %."""
    digits = 1
    while digits < 6 and retention < wished <= round(retention, digits + 2):
        digits += 1
    return f"{retention:.{digits}%}"


def _sizes(point: Point) -> list[str]:
    if point.stored_bytes is None or point.compact_bytes is None:
        return []
    return [
        f"  its file has {point.stored_bytes:,} bytes; compact {point.compact_bytes:,}, with"
        f" {count(point.compact or 0, 'parameter')}"
    ]
