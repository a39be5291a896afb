"""What counts as an improvement of a front, and whether trials that were stopped had one left.

In area over the log of compression, as `log_hypervolume` has it; but what is kept above 1 counts
too, since a policy that pruning improves is worth having.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from typing import NamedTuple

from prune_search.records.fronts import area, front, log_compression
from prune_search.records.models import Point


class Stops(NamedTuple):
    """Trials that a rule has stopped."""

    stopped: int
    wrong: int
    """Of these, such as would still have improved the front, had they run on."""


def improves(later: Iterable[Point], seen: Iterable[Point], gain: float) -> bool:
    """Whether a trial's later rounds add something that counts to a front.

    Args:
        later: of a trial that has run on.
        seen: all that had been measured when it was stopped, one point or more.
        gain: the least improvement that counts, as a share of the front's area.
    """
    before = front(seen)
    return front_area(front([*before, *later])) > (1 + gain) * front_area(before)


def front_area(points: Sequence[Point]) -> float:
    """Area that points dominate of (log of compression, retention), retention not cut at 1."""
    return area([(log_compression(p.sparsity, p.parameters), p.retention) for p in points])


def needed_retention(best: Sequence[Point], sparsity: float, gain: float) -> float:
    """The retention with which a point at this sparsity adds just this gain to a front's area.

    Args:
        best: the front, by rising sparsity, one point or more.
        sparsity: of the point, in [0, 1].
        gain: of its `front_area`, 0 or more.
    """
    # The front's edge from the sparsity to the left, each step higher than the one before. The
    # new point fills it up like water.
    parameters = best[0].parameters
    edges = [
        (log_compression(p.sparsity, parameters), max(p.retention, 0.0)) for p in reversed(best)
    ]
    at = log_compression(sparsity, parameters)
    level = max((height for end, height in edges if end >= at), default=0.0)
    for end, height in edges:
        if end >= at or height <= level:
            continue
        step = (at - end) * (height - level)
        if step > gain:
            return level + gain / (at - end)
        gain, level = gain - step, height
    return level + gain / at if at > 0 else inf
