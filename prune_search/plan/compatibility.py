"""What goes together, and which fields a choice leaves without a meaning: asked of the entries.

The rules are these alone: experiment files, plans, the search space and the pages of methods ask
here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from prune_search.plan.axes import NONE
from prune_search.sparsity.allocation import ALLOCATIONS, Allocation
from prune_search.sparsity.criteria import CRITERIA, Criterion
from prune_search.sparsity.gate import GATED
from prune_search.sparsity.regrowth import REGROWTHS, Regrowth
from prune_search.sparsity.rewinding import REWINDS, Rewind
from prune_search.sparsity.schedules import SCHEDULES, Schedule, in_steps
from prune_search.sparsity.selection.granularities import GRANULARITIES, Granularity
from prune_search.sparsity.selection.strategy import Clash, clash


def conflict(chosen: Mapping[str, Any]) -> str | None:
    """Why these values of `AXES` don't go together, or None; axes may be absent."""
    schedule = chosen.get("schedule", "")
    found = _clash(
        GRANULARITIES.get(chosen.get("granularity", "")),
        CRITERIA.get(chosen.get("criterion", "")),
        ALLOCATIONS.get(chosen.get("allocation") or ""),
        SCHEDULES.get(schedule),
        REWINDS.get(chosen.get("rewind", "")),
        REGROWTHS.get(chosen.get("regrowth", "")),
        gated=schedule == GATED,
        scratch=chosen.get("origin") == "scratch",
        quantizes=chosen.get("quantization", NONE) != NONE,
    )
    if found is None:
        return None
    why = found.why
    if why.endswith(": "):
        why += " or ".join(name for name, entry in SCHEDULES.items() if in_steps(entry))
    first, second = (f"{axis} {chosen[axis]}" for axis in (found.axis, found.other))
    return f"{first} does not go with {second}: {why}"


@lru_cache(maxsize=2**16)  # a search that proposes hundreds of plans asks thousands of times
def _clash(
    granularity: Granularity | None,
    criterion: Criterion | None,
    allocation: Allocation | None,
    schedule: type[Schedule] | None,
    rewind: Rewind | None,
    regrowth: Regrowth | None,
    *,
    gated: bool,
    scratch: bool,
    quantizes: bool,
) -> Clash | None:
    by_value = criterion is not None and criterion.by_value
    single = granularity is None or not (granularity.structured or granularity.pattern)
    all_the_time = gated or (schedule is not None and not in_steps(schedule))

    pattern = granularity is not None and granularity.pattern is not None
    measured = allocation is not None and allocation.fitted_to == "curves"
    permutes = rewind is not None and rewind.masks is not None
    ticket = rewind is not None and rewind.weights is not None
    rewinds, grows = rewind is not None, regrowth is not None
    rules = (
        (gated and pattern, "schedule", "granularity", "a pattern keeps a fixed share"),
        (gated and by_value, "schedule", "criterion", "the gate sets a ratio"),
        (measured and scratch, "allocation", "origin", "it is measured on the baseline"),
        (rewinds and scratch, "rewind", "origin", "it returns to the baseline's past"),
        (
            rewinds and all_the_time,
            "rewind",
            "schedule",
            "it follows each pruning, and there it must go in steps: ",
        ),
        (permutes and not single, "rewind", "granularity", "single weights change places"),
        (grows and not single, "regrowth", "granularity", "single weights are grown"),
        (grows and gated, "regrowth", "schedule", "the gate grows by itself"),
        (grows and ticket, "regrowth", "rewind", "tickets keep their masks"),
        (grows and by_value, "regrowth", "criterion", "grown weights start at zero"),
        (quantizes and gated, "quantization", "schedule", "it follows the last pruning"),
    )
    broken = (Clash(axis, other, why) for holds, axis, other, why in rules if holds)
    return clash(granularity, criterion, allocation) or next(broken, None)


CONDITIONAL = frozenset(
    {
        *("allocation", "densities", "ratio", "critic_ratio", "threshold", "threshold_unit"),
        *("start", "end", "drop_fraction", "regrow_every", "temperature"),
        *("bits", "quantized_from"),
    }
)
"""Fields of a plan that do not apply to every one."""


def applicable(chosen: Mapping[str, Any]) -> frozenset[str]:
    """Those of `CONDITIONAL` that apply to a choice of `AXES`, scope and distillation.

    Values that are absent count as their field's usual one; `distillation` may be any number.
    """
    granularity = GRANULARITIES.get(chosen.get("granularity", "weight"))
    criterion = CRITERIA.get(chosen.get("criterion", "magnitude"))
    allocation = ALLOCATIONS.get(chosen.get("allocation") or "")
    schedule = SCHEDULES.get(chosen.get("schedule", ""))
    gated = chosen.get("schedule") == GATED
    regrown = chosen.get("regrowth", NONE) != NONE
    quantized = chosen.get("quantization", NONE) != NONE
    by_value = criterion is not None and criterion.by_value
    by_ratio = not by_value and (granularity is None or granularity.allocated)
    gradual = schedule is not None and not schedule.at_once
    applies = {
        "allocation": by_ratio,
        "densities": allocation is not None and allocation.fitted_to == "densities",
        "ratio": by_ratio and not gated,
        "critic_ratio": by_ratio and not gated and chosen.get("scope") == "both",
        "threshold": by_value,
        "threshold_unit": by_value,
        "start": not gated,
        "end": gradual or regrown,
        "drop_fraction": regrown,
        "regrow_every": regrown,
        "temperature": bool(chosen.get("distillation")),
        "bits": quantized,
        "quantized_from": quantized,
    }
    return frozenset(name for name, does in applies.items() if does)
