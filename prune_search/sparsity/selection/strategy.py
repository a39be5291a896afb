"""Which granularity, criterion and allocation go together: asked of the entries, not of names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from prune_search.sparsity.allocation import ALLOCATIONS, Allocation, find_allocation
from prune_search.sparsity.criteria import CRITERIA, Criterion
from prune_search.sparsity.selection.granularities import GRANULARITIES, Granularity
from prune_search.sparsity.sensitivity import by_sensitivity  # noqa: F401 - it is registered


class Clash(NamedTuple):
    """Two axes whose choices don't go together."""

    axis: str
    other: str
    why: str


def clash(
    granularity: Granularity | None, criterion: Criterion | None, allocation: Allocation | None
) -> Clash | None:
    """The first two that don't go together, or None. Entries that are None are left out."""
    if granularity and criterion:
        if criterion.per_unit and not granularity.structured:
            return Clash("criterion", "granularity", "it scores whole units")
        if criterion.by_value and not granularity.by_value:
            return Clash("criterion", "granularity", "it is not cut at a value")
    single = granularity is None or not (granularity.structured or granularity.pattern)
    if allocation and allocation.rescale is not None and not single:
        return Clash("allocation", "granularity", "it ranks single weights")
    return None


def check_strategy(granularity: str, criterion: str, allocation: str | Allocation | None) -> None:
    """Refuse what does not go together, before anything is trained for it.

    Args:
        granularity: a key of ``GRANULARITIES``.
        criterion: a key of ``CRITERIA``.
        allocation: a key of ``ALLOCATIONS``, an allocation, or None.

    Raises:
        ValueError: an unknown name, or two that do not go together: the line names both, and
            what is allowed.
    """
    size, score = GRANULARITIES.find(granularity), CRITERIA.find(criterion)
    divide = None if allocation is None else find_allocation(allocation)
    names = {"granularity": granularity, "criterion": criterion}
    if divide is not None:
        names["allocation"] = divide.name
    found = clash(size, score, None)
    if found is None and divide is not None:
        if score.by_value:
            found = Clash("criterion", "allocation", "each layer is cut at its value")
        elif not size.allocated:
            found = Clash("allocation", "granularity", "its groups are ranked over all layers")
        else:
            found = clash(size, None, divide)
    if found is not None:
        raise ValueError(
            f"{found.axis} {names[found.axis]!r} does not go with {found.other}"
            f" {names[found.other]!r}: {found.why}; {_allowed(found, names, score, divide)}"
        )
    if divide is None and size.allocated and not score.by_value:
        raise ValueError(
            f"granularity {granularity!r} needs an allocation; known are: {', '.join(ALLOCATIONS)}"
        )


def _allowed(
    found: Clash, names: Mapping[str, str], score: Criterion, divide: Allocation | None
) -> str:
    """What goes with the axis that clashes: `allowed are neuron, filter`."""

    def which(fits: Callable[[Granularity], bool]) -> str:
        fitting = [name for name, entry in GRANULARITIES.items() if fits(entry)]
        return f"allowed {'are' if len(fitting) > 1 else 'is'} {', '.join(fitting)}"

    if found == Clash("criterion", "granularity", found.why):
        return which(lambda entry: clash(entry, score, None) is None)
    if found.other == "granularity" and GRANULARITIES[names["granularity"]].allocated:
        return which(lambda entry: entry.allocated and clash(entry, None, divide) is None)
    return "allowed is none"
