"""What each of Deep Compression's three stages leaves of a policy, in bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from prune_search.compression.coding.coders import CODERS
from prune_search.compression.coding.entropy import entropy
from prune_search.compression.coding.huffman import gaps_of, relative_indices
from prune_search.compression.coding.matrices import Matrix
from prune_search.packed.quantizing import QuantizedPolicy

_INDEX_BITS = 5


class Stages(NamedTuple):
    """Bytes of a policy's weights and biases."""

    pruned: int
    """Those that are left as float32, each behind a relative index of 5 bits."""
    quantized: int
    """Codes in place of float32, and the codebooks."""
    coded: dict[str, int]
    """By each of `compression.CODERS`, and the codebooks."""
    entropy: float
    """Of the codes and their places alone: what an ideal coder needs that is told frequencies."""


def stages(quantized: QuantizedPolicy) -> Stages:
    """The three stages of a policy (Han et al. 2016, Deep Compression, figure 1)."""
    matrices = quantized.matrices
    books = 2 * sum(len(group.floats) for group in quantized.groups)
    return Stages(
        pruned=_indexed(matrices, 32),
        quantized=_indexed(matrices, quantized.bits) + books,
        coded={name: len(coder.encode(matrices)) + books for name, coder in CODERS.items()},
        entropy=entropy(matrices).bits / 8,
    )


def _indexed(matrices: Sequence[Matrix], bits: int) -> int:
    """Bytes of values of so many bits, each behind a relative index, fillers too."""
    entries = sum(len(relative_indices(gaps_of(one.codes))) for one in matrices)
    return -(-entries * (_INDEX_BITS + bits) // 8)
