"""What goes: scores, couplings and a ratio (or a cut) become masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from prune_search.sparsity._neurons import select_neurons, threshold_neurons
from prune_search.sparsity._weights import select_weights, threshold_weights
from prune_search.sparsity.coupling import Coupling

Masks = Mapping[str, Tensor]


@dataclass(frozen=True)
class Granularity:
    """How large the pieces are that go.

    Attributes:
        name: its name in ``GRANULARITIES``.
        select: what ``select`` calls, with the same arguments but the granularity.
        select_threshold: what ``select_threshold`` calls, likewise.
    """

    name: str
    select: Callable[
        [
            Mapping[str, Tensor],
            Sequence[str],
            Sequence[Coupling],
            Mapping[str, Tensor],
            Masks,
            str,
            float,
        ],
        dict[str, Tensor],
    ]
    select_threshold: Callable[
        [
            Mapping[str, Tensor],
            Sequence[str],
            Sequence[Coupling],
            Masks,
            Mapping[str, float],
        ],
        dict[str, Tensor],
    ]


GRANULARITIES: dict[str, Granularity] = {
    "weight": Granularity("weight", select_weights, threshold_weights),
    "neuron": Granularity("neuron", select_neurons, threshold_neurons),
}


def select(
    granularity: str,
    network_params: Mapping[str, Tensor],
    layers: Sequence[str],
    couplings: Sequence[Coupling],
    scores: Mapping[str, Tensor],
    masks: Masks,
    allocation: str,
    ratio: float,
) -> dict[str, Tensor]:
    """New masks under which ``ratio`` of the network's prunable weights is zero.

    Masks only shrink: what is removed stays removed.

    ``weight`` removes exactly ``round(ratio * N)`` of the N weights in ``layers``, unless more
    than that are removed already; of equal scores the first go first, and every layer keeps at
    least one. A layer that has lost more than the allocation asks for keeps its mask, and the
    others make up for it.

    ``neuron`` removes whole units: incoming weights, bias and outgoing weights. A unit's score is
    the mean score of its incoming weights. The allocation's ratios are here shares of
    units (``erk`` by the shapes of the producing layers), at the smallest total that masks at
    least ``ratio`` of the weights; every layer keeps at least one unit. Where the ratio is
    out of reach, all goes that can.

    Args:
        granularity: a key of ``GRANULARITIES``.
        network_params: parameters by name; for ``neuron`` all that the couplings reach into.
        layers: names of the prunable weight tensors, in the order of the forward pass.
        couplings: units; read by ``neuron``, which takes those whose producing layer is in
            ``layers``.
        scores: for each of ``layers`` a tensor of its shape, higher = keep.
        masks: the masks in force; a name that is absent is unmasked.
        allocation: a key of ``ALLOCATIONS``.
        ratio: share of the entries of ``layers`` that shall be zero, in [0, 1).

    Returns:
        A mask for each of ``layers``; for ``neuron`` also for biases and all else that
        units have a part in.

    Raises:
        ValueError: an unknown name, a ratio out of range, a score that is missing, has another
            shape or is NaN, or a coupling into a parameter that is not given.
    """
    chosen = _granularity(granularity)
    for name in layers:
        if name not in scores or scores[name].shape != network_params[name].shape:
            raise ValueError(f"{name!r} has no scores of its shape")
        if bool(torch.isnan(scores[name]).any()):
            raise ValueError(f"the scores of {name!r} hold NaN")
    return chosen.select(network_params, layers, couplings, scores, masks, allocation, ratio)


def select_threshold(
    granularity: str,
    params: Mapping[str, Tensor],
    layers: Sequence[str],
    couplings: Sequence[Coupling],
    masks: Masks,
    cut: Mapping[str, float],
) -> dict[str, Tensor]:
    """New masks without what is smaller than a cut. Masks only shrink.

    ``weight`` removes weights w with |w| < cut, ``neuron`` units whose incoming weights have a
    root mean square below the cut of the producing layer. Every layer keeps at least one (the
    largest).

    Args:
        granularity: a key of ``GRANULARITIES``.
        params, layers, couplings, masks: as in ``select``.
        cut: for each of ``layers``, in units of its weights.

    Returns:
        Masks as ``select`` gives them.

    Raises:
        ValueError: an unknown granularity, a layer without cut or with NaN weights, or a
            coupling into a parameter that is not given.
    """
    chosen = _granularity(granularity)
    for name in layers:
        if name not in cut:
            raise ValueError(f"{name!r} has no cut")
        if bool(torch.isnan(params[name]).any()):
            raise ValueError(f"the weights of {name!r} hold NaN")
    return chosen.select_threshold(params, layers, couplings, masks, cut)


def _granularity(name: str) -> Granularity:
    if name not in GRANULARITIES:
        raise ValueError(f"unknown granularity {name!r}; known: {', '.join(GRANULARITIES)}")
    return GRANULARITIES[name]
