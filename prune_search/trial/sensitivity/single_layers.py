"""The masks that prune one layer alone, at each of some ratios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from prune_search.rllib.networks.roles import Network
from prune_search.sparsity.criteria import CRITERIA, Evidence
from prune_search.sparsity.criteria import criterion as find_criterion
from prune_search.sparsity.named import Tensors
from prune_search.sparsity.selection.granularities import GRANULARITIES
from prune_search.sparsity.selection.select import select
from prune_search.sparsity.selection.strategy import check_strategy


@dataclass(frozen=True)
class Cut:
    """What one point of a layer's curve removes."""

    layer: str
    asked: float
    """The ratio that was asked for."""
    ratio: float
    """Share of the layer's weights (of its units) that is removed, counted from its mask."""
    masks: dict[str, Tensor]
    """Of the layer and, where units go, of their biases and of all that reads them."""


def check_measurable(granularity: str, criterion: str) -> None:
    """Refuses what has no sensitivity, before anything is trained or built for it.

    Raises:
        ValueError: an unknown name, two that do not go together, or criterion threshold.
    """
    if criterion in CRITERIA and CRITERIA[criterion].by_value:
        raise ValueError(
            f"criterion {criterion!r} cuts at a value, and sensitivity is measured at ratios;"
            " magnitude ranks weights as it does"
        )
    chosen = GRANULARITIES.get(granularity)
    check_strategy(granularity, criterion, _allocation(chosen is None or chosen.allocated))


def cuts(
    network: Network,
    layers: Sequence[str],
    weights: Tensors,
    granularity: str,
    criterion: str,
    evidence: Mapping[str, Tensors],
    seed: int,
    ratios: Sequence[float],
) -> list[Cut]:
    """Masks for each layer at each ratio, layer by layer.

    Args:
        network: with its units, where the granularity removes units.
        layers: its kernels that may be pruned. With units those that produce none are left out.
        weights: dense, by parameter name.
        granularity: a key of `GRANULARITIES`.
        criterion: a key of `CRITERIA`, other than threshold.
        evidence: by statistic and layer, what the criterion needs beside the weights.
        seed: of the random criterion.
        ratios: in [0, 1), of each layer's weights (units).

    Raises:
        ValueError: a statistic is missing, or n:m does not divide a layer's inputs.
    """
    chosen, score = GRANULARITIES[granularity], find_criterion(criterion)
    own = {unit.layer for unit in chosen.units(weights, layers, network.units)}
    generator = torch.Generator().manual_seed(seed)
    # Of all the network's kernels: units that several layers produce are scored by all of them.
    scores = {}
    for layer in network.layers:
        known = {name: found[layer] for name, found in evidence.items() if layer in found}
        if score.needs <= known.keys():
            scores[layer] = score.score(Evidence(weights[layer], **known), generator)
    found = []
    for layer in layers:
        if chosen.structured and layer not in own:
            continue
        for asked in ratios:
            masks = select(
                granularity,
                weights,
                (layer,),
                network.units,
                scores,
                {},
                _allocation(chosen.allocated),
                asked,
            )
            left = int(masks[layer].count_nonzero()) / masks[layer].numel()
            found.append(Cut(layer, asked, 1.0 - left, masks))
    return found


def _allocation(allocated: bool) -> str | None:
    """Of a single layer: any would do the same."""
    return "uniform" if allocated else None
