"""Selection of single weights."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from prune_search.sparsity.allocation import Allocation, layer_ratios
from prune_search.sparsity.selection.problem import Problem


def select(
    problem: Problem, scores: Mapping[str, Tensor], allocation: Allocation, ratio: float
) -> dict[str, Tensor]:
    """Remove the lowest scores, exactly ``round(ratio * weights)`` in all; see ``select``."""
    ranks = {name: _rank(scores[name], problem.masks.get(name)) for name in problem.layers}
    if allocation.rescale is not None:
        ranks = {name: allocation.rescale(rank) for name, rank in ranks.items()}
    shapes = {name: tuple(scores[name].shape) for name in problem.layers}
    ratios = layer_ratios(allocation, shapes, ratio)
    target = round(ratio * sum(rank.numel() for rank in ranks.values()))
    if ratios is None:
        return _cut_together(ranks, shapes, target)
    counts = _counts(ranks, ratios, target)
    return {
        name: _without_lowest(rank, counts[name]).view(shapes[name]) for name, rank in ranks.items()
    }


def select_threshold(problem: Problem, cut: Mapping[str, float]) -> dict[str, Tensor]:
    """Remove weights of absolute value below the cut; see ``select_threshold``."""
    result = {}
    for name, size in sizes(problem).items():
        rank = _rank(size, problem.masks.get(name))
        below = int(torch.count_nonzero(rank < cut[name]))
        removed = int(torch.count_nonzero(rank == -math.inf))
        count = max(removed, min(below, rank.numel() - 1))
        result[name] = _without_lowest(rank, count).view(size.shape)
    return result


def sizes(problem: Problem) -> dict[str, Tensor]:
    """What a cut is compared with: the absolute values of each layer."""
    return {name: problem.params[name].detach().abs() for name in problem.layers}


def _rank(score: Tensor, mask: Tensor | None) -> Tensor:
    """Scores as a flat vector, in which what is removed already comes first."""
    flat = score.flatten()
    return flat if mask is None else flat.masked_fill(~mask.to(flat.device).flatten(), -math.inf)


def _without_lowest(rank: Tensor, count: int) -> Tensor:
    """A flat mask without the ``count`` lowest; of equal ones the first go first."""
    kept = torch.ones(rank.shape, dtype=torch.bool, device=rank.device)
    kept[torch.argsort(rank, stable=True)[:count]] = False
    return kept


def _cut_together(
    ranks: dict[str, Tensor], shapes: dict[str, tuple[int, ...]], target: int
) -> dict[str, Tensor]:
    """Rank all layers together; the best weight of each layer is out of reach."""
    removed = protected = 0
    flat = []
    for rank in ranks.values():
        guarded = rank.clone()
        gone = int(torch.count_nonzero(rank == -math.inf))
        removed += gone
        if gone < rank.numel():
            protected += 1
            guarded[torch.argsort(rank, stable=True)[-1]] = math.inf
        flat.append(guarded)
    everything = torch.cat(flat)
    count = max(removed, min(target, everything.numel() - protected))
    parts = torch.split(_without_lowest(everything, count), [rank.numel() for rank in flat])
    return {name: part.view(shapes[name]).clone() for name, part in zip(ranks, parts, strict=True)}


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
