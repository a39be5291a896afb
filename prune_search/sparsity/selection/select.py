"""Scores, couplings and a ratio (or a cut) become masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from prune_search.sparsity.allocation import ALLOCATIONS, Allocation, check_ratio, find_allocation
from prune_search.sparsity.named import Tensors
from prune_search.sparsity.selection.granularities import (
    GRANULARITIES,
    Couplings,
    Granularity,
    Layers,
)
from prune_search.sparsity.selection.strategy import clash
from prune_search.sparsity.selection.units import producers


def select(
    granularity: str,
    network_params: Tensors,
    layers: Layers,
    couplings: Couplings,
    scores: Tensors,
    masks: Tensors,
    allocation: str | Allocation | None,
    ratio: float,
) -> dict[str, Tensor]:
    """New masks under which ``ratio`` of the network's prunable weights is zero.

    Masks only shrink: what is removed stays removed.

    ``weight`` removes exactly ``round(ratio * N)`` of the N weights in ``layers``, unless more
    than that are removed already; of equal scores the first go first, and every layer keeps at
    least one. A layer that has lost more than the allocation asks for keeps its mask, and the
    others make up for it.

    ``neuron`` removes whole units of linear layers: incoming weights, bias and outgoing weights;
    ``filter`` the same of convolutions' output channels. A unit's score is the mean score of its
    incoming weights, or its own where units are scored (several producing layers: the mean over
    those that have scores). The allocation's ratios are here shares of units (``erk`` by the
    shapes of the producing layers), at the smallest total that masks at least ``ratio`` of the
    weights; every layer keeps at least one unit. Where the ratio is out of reach, all goes that
    can.

    ``2:4`` and ``1:4`` (n:m) keep, of every m consecutive weights along dimension 1, the n of
    highest score (of equal ones the last), in ``round(ratio / (1 - n/m) * G)`` of the G groups
    of all layers, in all of them above ``ratio`` = 1 - n/m. The groups whose lost scores add up
    to least go first, and those that have n or fewer weights left already count as done.

    Args:
        granularity: a key of ``GRANULARITIES``.
        network_params: parameters by name; for units all that the couplings reach into.
        layers: names of the prunable weight tensors, in the order of the forward pass.
        couplings: units, of any kind; ``neuron`` and ``filter`` take their own of those whose
            producing layer is in ``layers``.
        scores: higher = keep; for each of ``layers`` a tensor of its shape. For units those of
            producing layers are enough, and may be of shape (units,).
        masks: the masks in force; a name that is absent is unmasked.
        allocation: a key of ``ALLOCATIONS`` or an allocation; for n:m None.
        ratio: share of the entries of ``layers`` that shall be zero, in [0, 1).

    Returns:
        A mask for each of ``layers``; for units also for biases and all else that they have a
        part in.

    Raises:
        ValueError: an unknown name, a ratio out of range, a score that is missing, has another
            shape or is NaN, a coupling into a parameter that is not given, an allocation that
            does not go with the granularity, a layer whose inputs n:m does not divide, or a ratio
            above zero where there are no units at all.
    """
    chosen = GRANULARITIES.find(granularity)
    problem = chosen.problem(network_params, layers, couplings, masks)
    if chosen.produced_by is None:
        _check_scores(network_params, layers, scores, whole=False)
    for unit in problem.units:
        names = [part.parameter for part in producers(unit, network_params)]
        whole = unit.layer in scores and scores[unit.layer].dim() == 1
        if whole:
            names = [name for name in names if name in scores]
        _check_scores(network_params, names, scores, whole=whole)
    check_ratio(ratio)
    _check_allocation(chosen, allocation)
    if chosen.produced_by is not None and not problem.units and ratio > 0:
        raise ValueError(
            f"granularity {granularity!r} can't come near the ratio {ratio}: no units of its kind"
            f" were found in {', '.join(layers) or 'no layers'}; granularity weight needs none"
        )
    divide = find_allocation("global" if allocation is None else allocation)
    return chosen.working.select(problem, scores, divide, ratio)


def select_threshold(
    granularity: str,
    params: Tensors,
    layers: Layers,
    couplings: Couplings,
    masks: Tensors,
    cut: Mapping[str, float],
) -> dict[str, Tensor]:
    """New masks without what is smaller than a cut. Masks only shrink.

    ``weight`` removes weights w with |w| < cut, ``neuron`` and ``filter`` units whose incoming
    weights have a root mean square below the cut of the producing layer. Every layer keeps at
    least one (the largest); ``emptied`` names those that would not otherwise.

    Args:
        granularity: a key of ``GRANULARITIES``, but not n:m.
        params, layers, couplings, masks: as in ``select``.
        cut: for each of ``layers``, in units of its weights.

    Returns:
        Masks as ``select`` gives them.

    Raises:
        ValueError: an unknown granularity or one of n:m, a layer without cut or with NaN weights,
            or a coupling into a parameter that is not given.
    """
    chosen = GRANULARITIES.find(granularity)
    if not chosen.by_value:
        raise ValueError(_not_by_value(chosen))
    _check_cut(params, layers, cut)
    problem = chosen.problem(params, layers, couplings, masks)
    return chosen.working.select_threshold(problem, cut)


def emptied(
    params: Tensors,
    layers: Layers,
    cut: Mapping[str, float],
    granularity: str = "weight",
    couplings: Couplings = (),
) -> list[str]:
    """The layers in which everything lies below the cut, in the order of ``layers``.

    Args:
        params, layers, cut, granularity, couplings: as in ``select_threshold``. For ``neuron`` and
            ``filter`` only layers that produce such units can be named.

    Raises:
        ValueError: as ``select_threshold``.
    """
    chosen = GRANULARITIES.find(granularity)
    if not chosen.by_value:
        raise ValueError(_not_by_value(chosen))
    _check_cut(params, layers, cut)
    sizes = chosen.working.sizes(chosen.problem(params, layers, couplings, {}))
    return [name for name in layers if name in sizes and bool((sizes[name] < cut[name]).all())]


def _check_allocation(granularity: Granularity, allocation: str | Allocation | None) -> None:
    """That of the granularity alone; the criterion has given its scores."""
    if allocation is None:
        if granularity.allocated:
            raise ValueError(
                f"granularity {granularity.name!r} needs an allocation; known are:"
                f" {', '.join(ALLOCATIONS)}"
            )
        return
    divide = find_allocation(allocation)
    pair = f"allocation {_name(allocation)!r} does not go with granularity {granularity.name!r}"
    if not granularity.allocated:
        raise ValueError(f"{pair}: its groups are ranked over all layers; allowed is none")
    if clash(granularity, None, divide) is not None:
        raise ValueError(f"{pair}: it ranks single weights; allowed is granularity weight")


def _check_scores(params: Tensors, names: Layers, scores: Tensors, *, whole: bool) -> None:
    for name in names:
        shape = params[name].shape[:1] if whole else params[name].shape
        if name not in scores or scores[name].shape != shape:
            raise ValueError(f"{name!r} has no scores of its shape")
        if bool(torch.isnan(scores[name]).any()):
            raise ValueError(f"the scores of {name!r} hold NaN")


def _check_cut(params: Tensors, layers: Layers, cut: Mapping[str, float]) -> None:
    for name in layers:
        if name not in cut:
            raise ValueError(f"{name!r} has no cut")
        if bool(torch.isnan(params[name]).any()):
            raise ValueError(f"the weights of {name!r} hold NaN")


def _not_by_value(granularity: Granularity) -> str:
    return (
        f"criterion 'threshold' does not go with granularity {granularity.name!r}: it is not cut"
        f" at a value; allowed are {_names(lambda entry: entry.by_value)}"
    )


def _names(which: Callable[[Granularity], bool]) -> str:
    return ", ".join(entry.name for entry in GRANULARITIES.values() if which(entry))


def _name(allocation: str | Allocation) -> str:
    return allocation if isinstance(allocation, str) else allocation.name
