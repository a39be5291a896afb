"""What goes: scores, couplings and a ratio (or a cut) become masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from prune_search.errors import unknown_name
from prune_search.sparsity._n_of_m import NOfM
from prune_search.sparsity._units import producers, select_units, threshold_units, unit_sizes
from prune_search.sparsity._weights import select_weights, threshold_weights, weight_sizes
from prune_search.sparsity.allocation import ALLOCATIONS, Allocation, check_ratio, find_allocation
from prune_search.sparsity.coupling import Coupling
from prune_search.sparsity.criteria import criterion as find_criterion
from prune_search.sparsity.sensitivity import FITTED_ALLOCATIONS

Tensors = Mapping[str, Tensor]
Layers = Sequence[str]
Couplings = Sequence[Coupling]


@dataclass(frozen=True)
class Granularity:
    """How large the pieces are that go.

    Attributes:
        name: its name in ``GRANULARITIES``.
        select: what ``select`` calls, with the same arguments but the granularity.
        select_threshold: what ``select_threshold`` calls, likewise; None where pieces are not
            cut at a value, as is ``sizes``.
        sizes: what a cut is compared with, by layer.
        produced_by: whether kernels of so many dimensions produce its units; None where the
            pieces are not units.
        allocated: whether an allocation divides the ratio.
    """

    name: str
    select: Callable[
        [Tensors, Layers, Couplings, Tensors, Tensors, Allocation, float], dict[str, Tensor]
    ]
    select_threshold: (
        Callable[[Tensors, Layers, Couplings, Tensors, Mapping[str, float]], dict[str, Tensor]]
        | None
    ) = None
    sizes: Callable[[Tensors, Layers, Couplings], dict[str, Tensor]] | None = None
    produced_by: Callable[[int], bool] | None = None
    allocated: bool = True

    def units(self, params: Tensors, layers: Layers, couplings: Couplings) -> list[Coupling]:
        """The couplings that are its own: produced in ``layers``, by kernels of its kind.

        Raises:
            ValueError: one reaches into a parameter that is not given.
        """
        if self.produced_by is None:
            return []
        own = [
            unit
            for unit in couplings
            if unit.layer in layers and self.produced_by(params[unit.layer].dim())
        ]
        reached = dict.fromkeys(part.parameter for unit in own for part in unit.slices)
        missing = [name for name in reached if name not in params]
        if missing:
            raise ValueError(f"parameters that units reach into are not given: {missing}")
        return own


GRANULARITIES: dict[str, Granularity] = {
    entry.name: entry
    for entry in (
        Granularity("weight", select_weights, threshold_weights, weight_sizes),
        # Units of linear layers, and output channels of convolutions.
        Granularity("neuron", select_units, threshold_units, unit_sizes, lambda dims: dims == 2),
        Granularity("filter", select_units, threshold_units, unit_sizes, lambda dims: dims > 2),
        *(
            Granularity(pattern.name, pattern.select, allocated=False)
            for pattern in (NOfM(2, 4), NOfM(1, 4))
        ),
    )
}


def check_strategy(granularity: str, criterion: str, allocation: str | Allocation | None) -> None:
    """Refuse what does not go together, before anything is trained for it.

    Args:
        granularity: a key of ``GRANULARITIES``.
        criterion: a key of ``CRITERIA``.
        allocation: a key of ``ALLOCATIONS`` or ``FITTED_ALLOCATIONS``, an allocation, or None.

    Raises:
        ValueError: an unknown name, or two that do not go together: the line names both, and
            what is allowed.
    """
    chosen = _granularity(granularity)
    if find_criterion(criterion).per_unit and chosen.produced_by is None:
        raise ValueError(
            f"criterion {criterion!r} does not go with granularity {granularity!r}: it scores whole"
            f" units; allowed are {_names(lambda entry: entry.produced_by is not None)}"
        )
    if criterion != "threshold":
        _check_allocation(chosen, allocation)
        return
    if chosen.select_threshold is None:
        raise ValueError(_not_by_value(chosen))
    if allocation is not None:
        raise ValueError(
            f"criterion 'threshold' does not go with allocation {_name(allocation)!r}: each layer"
            " is cut at its value; allowed is none"
        )


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
    chosen = _granularity(granularity)
    units = chosen.units(network_params, layers, couplings)
    if chosen.produced_by is None:
        _check_scores(network_params, layers, scores, whole=False)
    for unit in units:
        names = [part.parameter for part in producers(unit, network_params)]
        whole = unit.layer in scores and scores[unit.layer].dim() == 1
        if whole:
            names = [name for name in names if name in scores]
        _check_scores(network_params, names, scores, whole=whole)
    check_ratio(ratio)
    _check_allocation(chosen, allocation)
    if chosen.produced_by is not None and not units and ratio > 0:
        raise ValueError(
            f"granularity {granularity!r} can't come near the ratio {ratio}: no units of its kind"
            f" were found in {', '.join(layers) or 'no layers'}; granularity weight needs none"
        )
    divide = find_allocation("global" if allocation is None else allocation)
    return chosen.select(network_params, layers, units, scores, masks, divide, ratio)


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
    chosen = _granularity(granularity)
    if chosen.select_threshold is None:
        raise ValueError(_not_by_value(chosen))
    _check_cut(params, layers, cut)
    units = chosen.units(params, layers, couplings)
    return chosen.select_threshold(params, layers, units, masks, cut)


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
    chosen = _granularity(granularity)
    if chosen.sizes is None:
        raise ValueError(_not_by_value(chosen))
    _check_cut(params, layers, cut)
    sizes = chosen.sizes(params, layers, chosen.units(params, layers, couplings))
    return [name for name in layers if name in sizes and bool((sizes[name] < cut[name]).all())]


def _granularity(name: str) -> Granularity:
    if name not in GRANULARITIES:
        raise ValueError(unknown_name("granularity", name, GRANULARITIES))
    return GRANULARITIES[name]


def _check_allocation(granularity: Granularity, allocation: str | Allocation | None) -> None:
    if allocation is None:
        if granularity.allocated:
            known = ", ".join([*ALLOCATIONS, *FITTED_ALLOCATIONS])
            raise ValueError(
                f"granularity {granularity.name!r} needs an allocation; known: {known}"
            )
        return
    fitted = isinstance(allocation, str) and allocation in FITTED_ALLOCATIONS
    rescales = not fitted and find_allocation(allocation).rescale is not None
    pair = f"allocation {_name(allocation)!r} does not go with granularity {granularity.name!r}"
    if not granularity.allocated:
        raise ValueError(f"{pair}: its groups are ranked over all layers; allowed is none")
    if rescales and granularity.produced_by is not None:
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
        f" at a value; allowed are {_names(lambda entry: entry.select_threshold is not None)}"
    )


def _names(which: Callable[[Granularity], bool]) -> str:
    return ", ".join(entry.name for entry in GRANULARITIES.values() if which(entry))


def _name(allocation: str | Allocation) -> str:
    return allocation if isinstance(allocation, str) else allocation.name
