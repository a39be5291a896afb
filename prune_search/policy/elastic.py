"""Nested masks over one policy's weights: levels, of which each has all weights of the one before.

Which weights a level has follows from the weights themselves, so that a level is one number. They
are ranked by LAMP's score (Lee et al. 2021, Layer-adaptive sparsity for the magnitude-based
pruning, equation 3): a weight's square over the sum of those of its matrix that are no smaller. It
divides a number of weights over matrices, and leaves each one at least.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from prune_search.policy.arrays import Array
from prune_search.policy.description import PolicyDescription
from prune_search.policy.layers import LSTM, Convolution, Dense, Layer

_KERNELS: dict[type[Layer], tuple[str, ...]] = {
    Dense: ("weight",),
    Convolution: ("weight",),
    LSTM: ("input_weight", "recurrent_weight"),
}
"""The matrices of a layer; biases and whatever else there is belong to all levels."""
_SPREAD = 2654435761
"""Knuth's multiplier, odd: equal weights go in an order that is spread over their matrix."""
_MOST = 255


class Kernel(NamedTuple):
    """A matrix of a policy."""

    layer: int
    """Its layer's number in `PolicyDescription.layers`."""
    field: str
    values: Array


def kernels(policy: PolicyDescription) -> Iterator[Kernel]:
    """The matrices that levels differ in, in order."""
    for number, layer in enumerate(policy.layers):
        for field in _KERNELS.get(type(layer), ()):
            yield Kernel(number, field, getattr(layer, field))


def kept(policy: PolicyDescription) -> int:
    """How many entries of its matrices are not zero."""
    return sum(int(np.count_nonzero(kernel.values)) for kernel in kernels(policy))


def fewest(policy: PolicyDescription) -> int:
    """How many entries a level has at least: one of each matrix that has any."""
    return sum(bool(kernel.values.any()) for kernel in kernels(policy))


def entries(policy: PolicyDescription, levels: Sequence[int]) -> list[NDArray[np.uint8]]:
    """The level at which each entry of each matrix comes in; as many as there are levels: never.

    Args:
        policy: that of the densest level.
        levels: how many entries of all matrices each level has, rising: the first as many as
            there are matrices or more, the last all.

    Raises:
        ValueError: numbers of which that is not true, fewer than two of them, or more than 255.
    """
    fine = all(type(count) is int for count in levels) and 1 < len(levels) <= _MOST
    least, most = fewest(policy), kept(policy)
    if not fine or levels[0] < least or levels[-1] != most or np.min(np.diff(levels)) < 1:
        raise ValueError(
            f"levels must be 2 to {_MOST} rising numbers of weights, from {least:,} or more to the"
            f" {most:,} that there are, got {list(levels)!r:.80}"
        )
    return [
        np.searchsorted(levels, rank, side="right").astype(np.uint8)
        for rank in ranks([kernel.values for kernel in kernels(policy)])
    ]


def ranks(matrices: Sequence[Array]) -> list[NDArray[np.int64]]:
    """The rank of each entry of matrices among those of all, of their shapes; 0 is kept longest."""
    scores = np.concatenate([_scores(matrix) for matrix in matrices])
    found = np.empty(len(scores), np.int64)
    found[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    parts = np.split(found, np.cumsum([matrix.size for matrix in matrices])[:-1])
    return [part.reshape(matrix.shape) for part, matrix in zip(parts, matrices, strict=True)]


def at_level(policy: PolicyDescription, levels: Sequence[int], level: int) -> PolicyDescription:
    """The policy with the weights that a level has.

    Args:
        policy: that of the densest level.
        levels: see `entries`.
        level: 0, the sparsest, to `len(levels) - 1`, the densest.

    Raises:
        ValueError: as `entries`.
    """
    layers = list(policy.layers)
    for kernel, entry in zip(kernels(policy), entries(policy, levels), strict=True):
        left = np.where(entry <= level, kernel.values, np.float32(0))
        layers[kernel.layer] = replace(layers[kernel.layer], **{kernel.field: left})
    return replace(policy, layers=tuple(layers))


def _scores(matrix: Array) -> NDArray[np.float64]:
    """LAMP's, in (0, 1]; 0 for what is zero."""
    values = np.square(matrix.reshape(-1).astype(np.float64))
    places = np.arange(len(values)) * _SPREAD % 2**32
    order = np.lexsort((places, values))[::-1]  # the largest first
    found = np.zeros(len(values))
    found[order] = values[order] / np.maximum(np.cumsum(values[order]), np.finfo(float).tiny)
    return found
