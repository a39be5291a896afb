"""The short way: one call from parameters to enforced masks."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import torch
from torch import Tensor

from prune_search.sparsity.allocation import Allocation
from prune_search.sparsity.criteria import CRITERIA, Evidence
from prune_search.sparsity.criteria import criterion as find_criterion
from prune_search.sparsity.masks import MaskSet, check_maskable
from prune_search.sparsity.selection.granularities import GRANULARITIES
from prune_search.sparsity.selection.select import select
from prune_search.sparsity.selection.strategy import check_strategy
from prune_search.sparsity.sizes import distinct

OfLayers = Mapping[str, Tensor] | None
"""A statistic by parameter name, where it is given."""


def prune(
    masks: MaskSet,
    params: Mapping[str, Tensor],
    ratio: float,
    *,
    granularity: str = "weight",
    criterion: str = "magnitude",
    allocation: str | Allocation | None = None,
    gradients: OfLayers = None,
    squares: OfLayers = None,
    movements: OfLayers = None,
    generator: torch.Generator | None = None,
) -> None:
    """Remove weights until ``ratio`` of them is zero, and update ``masks``.

    Every parameter of two or more dimensions is pruned; biases and whole numbers are not. A tensor
    under several names is, under the first. Whole units need ``couplings`` and ``select``.

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
        generator: for the criterion ``random``. By default it is seeded with the weights, so that
            processes that hold the same ones (DDP) prune the same, whatever their own seeds.

    Raises:
        ValueError: an unknown name, names that do not go together, a ratio out of range, a missing
            statistic, a NaN score, or parametrized weights (see ``MaskSet.update``).
    """
    entry = GRANULARITIES.get(granularity)
    if entry is not None and entry.structured:
        raise ValueError(f"prune takes granularity weight, 2:4 or 1:4, not {granularity!r}")
    if criterion in CRITERIA and CRITERIA[criterion].by_value:
        raise ValueError(f"prune takes a ratio; criterion {criterion!r} needs select_threshold")
    if entry is not None and entry.allocated and allocation is None:
        allocation = "global"
    check_strategy(granularity, criterion, allocation)
    chosen = find_criterion(criterion)
    check_maskable(params)
    once = distinct(params)
    weights = {
        name: param
        for name, param in params.items()
        if param.dim() >= 2 and param.is_floating_point() and name in once
    }
    if generator is None:
        generator = torch.Generator()
        if criterion == "random":
            generator.manual_seed(_fingerprint(weights))
    scores = {
        name: chosen.score(
            Evidence(
                weight,
                gradient=(gradients or {}).get(name),
                square=(squares or {}).get(name),
                movement=(movements or {}).get(name),
            ),
            generator,
        )
        for name, weight in weights.items()
    }
    masks.update(
        weights,
        select(granularity, weights, list(weights), [], scores, masks.masks, allocation, ratio),
    )


def _fingerprint(weights: Mapping[str, Tensor]) -> int:
    found = 0
    for weight in weights.values():
        values = weight.detach().cpu().contiguous().view(torch.uint8)
        found = zlib.crc32(values.numpy().tobytes(), found)
    return found
