"""Selection of single weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from prune_search.sparsity.allocation import Allocation, layer_ratios
from prune_search.sparsity.ranking import ascending, lowest
from prune_search.sparsity.selection.problem import Problem


def select(
    problem: Problem, scores: Mapping[str, Tensor], allocation: Allocation, ratio: float
) -> dict[str, Tensor]:
    """Remove the lowest scores, exactly ``round(ratio * weights)`` in all; see ``select``."""
    ranks = {name: _rank(scores[name], problem.masks.get(name)) for name in problem.layers}
    shapes = {name: tuple(scores[name].shape) for name in problem.layers}
    ratios = layer_ratios(allocation, shapes, ratio)
    target = round(ratio * sum(rank.numel() for rank in ranks.values()))
    if ratios is None:
        kept = _cut_together(ranks, allocation.rescale, target)
    else:
        counts = _counts(ranks, ratios, target)
        kept = {name: ~lowest(rank, counts[name]) for name, rank in ranks.items()}
    return {name: mask.view(shapes[name]) for name, mask in kept.items()}


def select_threshold(problem: Problem, cut: Mapping[str, float]) -> dict[str, Tensor]:
    """Remove weights of absolute value below the cut; see ``select_threshold``."""
    result = {}
    for name, size in sizes(problem).items():
        rank = _rank(size, problem.masks.get(name))
        below = int(torch.count_nonzero(rank < cut[name]))
        removed = int(torch.count_nonzero(rank == -math.inf))
        count = max(removed, min(below, rank.numel() - 1))
        result[name] = ~lowest(rank, count).view(size.shape)
    return result


def sizes(problem: Problem) -> dict[str, Tensor]:
    """What a cut is compared with: the absolute values of each layer."""
    return {name: problem.params[name].detach().abs() for name in problem.layers}


def _rank(score: Tensor, mask: Tensor | None) -> Tensor:
    """Scores as a flat vector, in which what is removed already comes first."""
    flat = score.flatten()
    return flat if mask is None else flat.masked_fill(~mask.to(flat.device).flatten(), -math.inf)


def _cut_together(
    ranks: dict[str, Tensor], rescale: Callable[[Tensor], Tensor] | None, target: int
) -> dict[str, Tensor]:
    """Rank all layers together; the best weight of each layer is out of reach."""
    removed = protected = 0
    flat = []
    for rank in ranks.values():
        guarded = rank.clone() if rescale is None else rescale(ascending(rank))
        gone = int(torch.count_nonzero(guarded == -math.inf))
        removed += gone
        if gone < rank.numel():
            protected += 1
            best = -1 if rescale else int((rank == rank.max()).nonzero()[-1])
            guarded[best] = math.inf
        flat.append(guarded)
    everything = torch.cat(flat)
    count = max(removed, min(target, everything.numel() - protected))
    kept = torch.split(~lowest(everything, count), [rank.numel() for rank in flat])
    if rescale is not None:  # which of those in order is known; which they are, the ranks tell
        kept = tuple(
            ~lowest(rank, int(torch.count_nonzero(~part)))
            for rank, part in zip(ranks.values(), kept, strict=True)
        )
    return dict(zip(ranks, (part.clone() for part in kept), strict=True))


def _counts(ranks: dict[str, Tensor], ratios: dict[str, float], target: int) -> dict[str, int]:
    """How many weights each layer loses: ``target`` in all, as near to the ratios as can be.

    A layer loses at least what it has lost already, and keeps at least one weight. What it
    loses more or less for that, the other layers lose less or more, in proportion to the room
    that they have.
    """
    low = {name: int(torch.count_nonzero(rank == -math.inf)) for name, rank in ranks.items()}
    high = {name: max(low[name], rank.numel() - 1) for name, rank in ranks.items()}
    ideal = _apportion({name: ratios[name] * ranks[name].numel() for name in ranks}, target)
    counts = {name: min(max(ideal[name], low[name]), high[name]) for name in ranks}
    missing = min(target, sum(high.values())) - sum(counts.values())
    if missing >= 0:
        room = {name: high[name] - counts[name] for name in ranks}
    else:
        room = {name: counts[name] - low[name] for name in ranks}
    available = sum(room.values())
    step = min(abs(missing), available)
    if step:
        moved = _apportion({name: step * room[name] / available for name in ranks}, step)
        sign = 1 if missing > 0 else -1
        counts = {name: counts[name] + sign * moved[name] for name in ranks}
    return counts


def _apportion(shares: dict[str, float], total: int) -> dict[str, int]:
    """Whole numbers near ``shares`` that add up to ``total``: the largest remainders go up."""
    whole = {name: math.floor(share) for name, share in shares.items()}
    by_remainder = sorted(shares, key=lambda name: whole[name] - shares[name])
    for name in by_remainder[: max(0, total - sum(whole.values()))]:
        whole[name] += 1
    return whole
