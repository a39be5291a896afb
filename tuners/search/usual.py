"""Which sampler a search has, and how many probes, where its file leaves that open.

Without Optuna: pages and records ask here too.
"""

from __future__ import annotations

from prune_search.experiment.search_section import AUTO, Constraints, Search

CURVES, TPE = "curves", "tpe"
PROBES = 4
"""How many, where a file gives no number and the sampler knows nothing before its first trial."""
SERVED = frozenset(
    {
        *("retention", "return", "return_low", "sparsity", "compression"),
        *("hypervolume", "log_hypervolume"),
        *("sparsity_at_retention", "sparsity_95", "sparsity_99"),
    }
)
"""Objectives that a front of sparsity and retention speaks of."""


def sampler_of(search: Search) -> str:
    """The name of its sampler: what `search.sampler` says, or what `auto` stands for.

    On every recorded task, left out of what it learned from, `curves` reaches what TPE ends
    with in a fraction of the env steps (docs/replay.md).
    """
    if search.sampler != AUTO:
        return search.sampler
    return TPE if fallen_back(search) else CURVES


def fallen_back(search: Search) -> str | None:
    """Why `auto` stands for TPE here, in one line; None where it doesn't."""
    return refused_by_curves(search) if search.sampler == AUTO else None


def probes_of(search: Search) -> int:
    """How many probes it begins with: what `search.probes` says, or its sampler's usual number."""
    if search.probes is not None:
        return search.probes
    return 0 if sampler_of(search) == CURVES else PROBES


def refused_by_curves(search: Search) -> str | None:
    """What a search asks for that `curves` would pass over, in one line; None for nothing."""
    if search.warm_start:
        return "search.warm_start: the sampler curves learns from the study's own trials alone"
    if search.constraints != Constraints():
        return "search.constraints: the sampler curves does not heed any; tpe and nsga2 do"
    for name in search.objectives:
        if name not in SERVED:
            allowed = ", ".join(sorted(SERVED))
            return (
                f"search.objectives: the sampler curves looks at the front of sparsity and"
                f" retention, and not at {name!r}; with it, objectives are of {allowed}"
            )
    return None
