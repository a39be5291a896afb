"""The short way: one call from parameters to enforced masks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from prune_search.sparsity.criteria import criterion as find_criterion
from prune_search.sparsity.masks import MaskSet
from prune_search.sparsity.selection import select


def prune(
    masks: MaskSet,
    params: Mapping[str, Tensor],
    ratio: float,
    *,
    criterion: str = "magnitude",
    allocation: str = "global",
    gradients: Mapping[str, Tensor] | None = None,
    generator: torch.Generator | None = None,
) -> None:
    """Remove single weights until ``ratio`` of them is zero, and update ``masks``.

    Every parameter of two or more dimensions is pruned; biases are not.

    Args:
        masks: receives the new masks; what it has removed stays removed.
        params: parameters by name, zeroed in place.
        ratio: share of the weights that shall be zero, in [0, 1).
        criterion: a key of ``CRITERIA``.
        allocation: a key of ``ALLOCATIONS``.
        gradients: gradients by parameter name, for criteria that need them.
        generator: for the criterion ``random``; torch's own by default.

    Raises:
        ValueError: an unknown name, a ratio out of range, a missing gradient or a NaN score.
    """
    score = find_criterion(criterion).score
    source = torch.default_generator if generator is None else generator
    weights = {name: param for name, param in params.items() if param.dim() >= 2}
    scores = {
        name: score(weight, (gradients or {}).get(name), source) for name, weight in weights.items()
    }
    masks.update(
        weights,
        select("weight", weights, list(weights), [], scores, masks.masks, allocation, ratio),
    )
