"""What pruning costs where networks are large: cuts over all weights, and finding units."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from prune_search.sparsity import couplings, select
from tuners.benchmarks.training.paired import Ratios, paired

_RATIO = 0.9
_WIDE = 8  # times the units of the narrow network


def cuts(weights: int, pairs: int) -> dict[str, Ratios]:
    """Time of a cut over a whole network, over that of torch's k-th value of the same scores.

    Args:
        weights: of four equal layers together, 16 or more.
        pairs: measurements of each, 1 or more.

    Returns:
        Ratios by allocation, at a ratio of 90 %.
    """
    side = max(2, round((weights / 4) ** 0.5))
    source = torch.Generator().manual_seed(0)
    scores = {str(n): torch.rand(side, side, generator=source) for n in range(4)}
    everything = torch.cat([score.flatten() for score in scores.values()])
    place = round(_RATIO * everything.numel())

    def cut(allocation: str) -> Callable[[], dict[str, Tensor]]:
        return lambda: select("weight", scores, list(scores), [], scores, {}, allocation, _RATIO)

    def plain() -> Tensor:
        return everything.kthvalue(place).values

    names = ("global", "erk", "lamp")
    return {name: paired(cut(name), plain, pairs, time.thread_time) for name in names}


def unit_finding(width: int, pairs: int) -> Ratios:
    """Time of finding the units of three hidden layers, over that in a network 8 times narrower.

    It has 8 times as many units and index lists, and 64 times as many weights.

    Args:
        width: units of each hidden layer, 8 or more.
        pairs: measurements of each, 1 or more.
    """
    example = torch.zeros(4, 64)

    def found(width: int) -> Callable[[], object]:
        sizes = (64, width, width, width)
        hidden = [part for pair in pairwise(sizes) for part in (nn.Linear(*pair), nn.Tanh())]
        network = nn.Sequential(*hidden, nn.Linear(width, 8))
        return lambda: couplings(network, example, lambda module, batch: module(batch))

    return paired(found(width), found(width // _WIDE), pairs, time.thread_time)
