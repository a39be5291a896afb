"""Selection of whole hidden units: neurons or filters, as the caller's couplings are."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from prune_search.sparsity.allocation import Allocation, layer_ratios
from prune_search.sparsity.selection.problem import Problem
from prune_search.sparsity.structure.coupling import Coupling, Slice

_GRID = 2**20  # resolution of the share of units that bisection looks for

Levels = tuple[range, Callable[[int], list[int]]]
"""How far pruning can go, and how many units each coupling loses at each level."""


def select(
    problem: Problem, scores: Mapping[str, Tensor], allocation: Allocation, ratio: float
) -> dict[str, Tensor]:
    """Remove units until ``ratio`` of the weights is masked; see ``select``."""
    params, layers, considered = problem.params, problem.layers, problem.units
    kept = _start(problem)
    ranks = [_rank(unit, _unit_scores(unit, params, scores), kept) for unit in considered]
    orders = [torch.argsort(rank, stable=True) for rank in ranks]

    shapes = {coupling.layer: tuple(params[coupling.layer].shape) for coupling in considered}
    # Shares of units, not of weights: this only checks the arguments and asks who decides.
    if layer_ratios(allocation, shapes, ratio) is None:
        levels, counts_at = _ranked_together(ranks)
    else:
        levels, counts_at = _ranked_by_layer(considered, ranks, allocation, shapes)

    def masks_at(level: int) -> dict[str, Tensor]:
        result = {name: mask.clone() for name, mask in kept.items()}
        for coupling, order, count in zip(considered, orders, counts_at(level), strict=True):
            _remove(result, coupling, order[:count])
        return result

    def masked_at(level: int) -> int:
        found = masks_at(level)
        return sum(found[name].numel() - int(found[name].count_nonzero()) for name in layers)

    weights = sum(params[name].numel() for name in layers)
    target = math.ceil(ratio * weights - 1e-6)
    level = bisect_left(levels, target, key=masked_at)
    return masks_at(min(level, levels[-1]))


def select_threshold(problem: Problem, cut: Mapping[str, float]) -> dict[str, Tensor]:
    """Remove units whose fan-in weights' root mean square is below the cut."""
    kept = _start(problem)
    for coupling in problem.units:
        rank = _rank(coupling, _root_mean_square(coupling, problem.params), kept)
        below = int(torch.count_nonzero(rank < cut[coupling.layer]))
        count = max(_removed(rank), min(below, coupling.units - 1))
        _remove(kept, coupling, torch.argsort(rank, stable=True)[:count])
    return kept


def _ranked_together(ranks: list[Tensor]) -> Levels:
    """Units of all layers in one ranking, a unit a level; the best of each is out of reach."""
    owners = [torch.full(rank.shape, number) for number, rank in enumerate(ranks)]
    first = [_removed(rank) for rank in ranks]
    free = [
        torch.sort(rank, stable=True).values[start:-1].cpu()
        for rank, start in zip(ranks, first, strict=True)
    ]
    owners = [owner[: len(rest)] for owner, rest in zip(owners, free, strict=True)]
    if not free:
        return range(1), lambda level: []
    owner = torch.cat(owners)[torch.argsort(torch.cat(free), stable=True)]

    def counts_at(level: int) -> list[int]:
        more = torch.bincount(owner[:level], minlength=len(ranks)).tolist()
        return [start + extra for start, extra in zip(first, more, strict=True)]

    return range(len(owner) + 1), counts_at


def _ranked_by_layer(
    considered: Sequence[Coupling],
    ranks: list[Tensor],
    allocation: Allocation,
    shapes: dict[str, tuple[int, ...]],
) -> Levels:
    """Each layer loses its allocation's share of units, at the total share level / _GRID."""
    bounds = [
        (_removed(rank), max(_removed(rank), coupling.units - 1))
        for rank, coupling in zip(ranks, considered, strict=True)
    ]

    def counts_at(level: int) -> list[int]:
        shares = layer_ratios(allocation, shapes, level / _GRID) or {}
        return [
            min(max(math.floor(shares[coupling.layer] * coupling.units + 0.5), low), high)
            for coupling, (low, high) in zip(considered, bounds, strict=True)
        ]

    return range(_GRID), counts_at


def _start(problem: Problem) -> dict[str, Tensor]:
    """The masks in force, for every parameter that units of the couplings have a part in."""
    params, masks = problem.params, problem.masks
    names = dict.fromkeys(problem.layers)
    names.update(dict.fromkeys(part.parameter for unit in problem.units for part in unit.slices))
    return {
        name: masks[name].to(params[name].device, copy=True)
        if name in masks
        else torch.ones(params[name].shape, dtype=torch.bool, device=params[name].device)
        for name in names
    }


def sizes(problem: Problem) -> dict[str, Tensor]:
    """What a cut is compared with: the units' root mean squares, by producing layer."""
    return {unit.layer: _root_mean_square(unit, problem.params) for unit in problem.units}


def producers(coupling: Coupling, params: Mapping[str, Tensor]) -> list[Slice]:
    """The kernels whose rows are the units' incoming weights: one, or several added up."""
    return [part for part in coupling.slices if part.dim == 0 and params[part.parameter].dim() >= 2]


def _root_mean_square(coupling: Coupling, params: Mapping[str, Tensor]) -> Tensor:
    """Of each unit's incoming weights, shape (units,)."""
    rows = [_rows(part, params[part.parameter].detach()) for part in producers(coupling, params)]
    values = torch.cat(rows, dim=1)  # squares leave the range of half precision
    return values.to(torch.promote_types(values.dtype, torch.float32)).square().mean(1).sqrt()


def _unit_scores(
    coupling: Coupling, params: Mapping[str, Tensor], scores: Mapping[str, Tensor]
) -> Tensor:
    """One score a unit, shape (units,).

    The mean over its incoming weights' scores; where units are scored as such, the mean over the
    producing layers that have scores.
    """
    if scores[coupling.layer].dim() == 1:
        whole = [
            _rows(part, scores[part.parameter])
            for part in producers(coupling, params)
            if part.parameter in scores
        ]
    else:
        whole = [_rows(part, scores[part.parameter]) for part in producers(coupling, params)]
    return torch.cat(whole, dim=1).mean(1)


def _rows(part: Slice, values: Tensor) -> Tensor:
    """The values in the rows of each unit, shape (units, values)."""
    return values[part.index.to(values.device)].flatten(1)


def _rank(coupling: Coupling, score: Tensor, kept: Mapping[str, Tensor]) -> Tensor:
    """Units' scores, in which units without any entry left come first."""
    alive = torch.zeros(coupling.units, dtype=torch.bool, device=score.device)
    for part in coupling.slices:
        mask = kept[part.parameter]
        lines = mask.movedim(part.dim, 0).reshape(mask.shape[part.dim], -1).any(1)
        alive |= lines[part.index.to(mask.device)].any(1).to(alive.device)
    return score.masked_fill(~alive, -math.inf)


def _removed(rank: Tensor) -> int:
    return int(torch.count_nonzero(rank == -math.inf))


def _remove(masks: dict[str, Tensor], coupling: Coupling, units: Tensor) -> None:
    for part in coupling.slices:
        mask = masks[part.parameter]
        index = part.index[units.to(part.index.device)].flatten().to(mask.device)
        mask.index_fill_(part.dim, index, False)
