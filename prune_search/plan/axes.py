"""The axes of a strategy: which names each has, by its registry, and a field's type of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Literal, TypeAlias, get_args

from prune_search.compression.methods import METHODS
from prune_search.plan.names import Named
from prune_search.sparsity.allocation import ALLOCATIONS
from prune_search.sparsity.criteria import CRITERIA
from prune_search.sparsity.gate import GATED
from prune_search.sparsity.regrowth import REGROWTHS
from prune_search.sparsity.rewinding import REWINDS
from prune_search.sparsity.schedules import SCHEDULES
from prune_search.sparsity.selection.granularities import GRANULARITIES
from prune_search.sparsity.sensitivity import by_sensitivity  # noqa: F401 - it is registered

NONE = "none"
Scope: TypeAlias = Literal["actor", "critic", "both"]
Origin: TypeAlias = Literal["baseline", "scratch"]

AXES: dict[str, Callable[[], Iterable[str]]] = {
    "granularity": lambda: GRANULARITIES,
    "criterion": lambda: CRITERIA,
    "schedule": lambda: [*SCHEDULES, GATED],
    "allocation": lambda: ALLOCATIONS,
    "origin": lambda: get_args(Origin),
    "rewind": lambda: [NONE, *REWINDS],
    "regrowth": lambda: [NONE, *REGROWTHS],
    "quantization": lambda: [NONE, *METHODS],
}
"""The fields of `pruning` that limit each other, in the order in which they are chosen, and what
each may be now: entries of one's own are among them once their module is imported."""


def names(axis: str) -> tuple[str, ...]:
    """What an axis may be, in the order of registration."""
    return tuple(AXES[axis]())


GranularityName: TypeAlias = Annotated[str, Named(AXES["granularity"])]
CriterionName: TypeAlias = Annotated[str, Named(AXES["criterion"])]
ScheduleName: TypeAlias = Annotated[str, Named(AXES["schedule"])]
AllocationName: TypeAlias = Annotated[str, Named(AXES["allocation"])]
RewindName: TypeAlias = Annotated[str, Named(AXES["rewind"])]
RegrowthName: TypeAlias = Annotated[str, Named(AXES["regrowth"])]
QuantizationName: TypeAlias = Annotated[str, Named(AXES["quantization"])]
