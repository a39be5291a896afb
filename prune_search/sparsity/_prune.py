"""The short way: one call from parameters to enforced masks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from prune_search.sparsity.allocation import Allocation
from prune_search.sparsity.criteria import Evidence
from prune_search.sparsity.criteria import criterion as find_criterion
from prune_search.sparsity.masks import MaskSet
from prune_search.sparsity.selection import GRANULARITIES, check_strategy, select

Statistics = Mapping[str, Tensor] | None


def prune(
    masks: MaskSet,
    params: Mapping[str, Tensor],
    ratio: float,
    *,
    granularity: str = "weight",
    criterion: str = "magnitude",
    allocation: str | Allocation | None = None,
    gradients: Statistics = None,
    squares: Statistics = None,
    movements: Statistics = None,
    generator: torch.Generator | None = None,
) -> None:
    """Remove weights until ``ratio`` of them is zero, and update ``masks``.

    Every parameter of two or more dimensions is pruned; biases are not. Whole units need
    ``couplings`` and ``select``.

    Args:
        masks: receives the new masks; what it has removed stays removed.
        params: parameters by name, zeroed in place.
        ratio: share of the weights that shall be zero, in [0, 1).
        granularity: "weight", "2:4" or "1:4"; the last two go up to a ratio of 1/2 and 3/4.
        criterion: a key of ``CRITERIA`` that scores weights.
        allocation: a key of ``ALLOCATIONS`` or an allocation; by default ``global`` for
            granularity weight. The others take none.
        gradients, squares, movements: ``gradient``, ``square`` and ``movement`` of ``Evidence``
            by parameter name, for criteria that need them.
        generator: for the criterion ``random``; torch's own by default.

    Raises:
        ValueError: an unknown name, names that do not go together, a ratio out of range, a missing
            statistic or a NaN score.
    """
    entry = GRANULARITIES.get(granularity)
    if entry is not None and entry.produced_by is not None:
        raise ValueError(f"prune takes granularity weight, 2:4 or 1:4, not {granularity!r}")
    if criterion == "threshold":
        raise ValueError("prune takes a ratio; criterion 'threshold' needs select_threshold")
    if entry is not None and entry.allocated and allocation is None:
        allocation = "global"
    check_strategy(granularity, criterion, allocation)
    chosen = find_criterion(criterion)
    source = torch.default_generator if generator is None else generator
    weights = {name: param for name, param in params.items() if param.dim() >= 2}
    scores = {
        name: chosen.score(
            Evidence(
                weight,
                gradient=(gradients or {}).get(name),
                square=(squares or {}).get(name),
                movement=(movements or {}).get(name),
            ),
            source,
        )
        for name, weight in weights.items()
    }
    masks.update(
        weights,
        select(granularity, weights, list(weights), [], scores, masks.masks, allocation, ratio),
    )
