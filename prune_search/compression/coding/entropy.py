"""What codes and their places hold in information: the bound for a coder without tables."""

from __future__ import annotations

from collections.abc import Sequence
from math import lgamma, log
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from prune_search.compression.coding.matrices import Matrix


class Entropy(NamedTuple):
    """Bits of matrices of codes, each with weights, and codes, as frequent as they are in it."""

    mask: float
    """Which weights are kept."""
    values: float
    """The kept weights' codes."""
    order: float
    """Of these, the ones that say in which order rows come that may come in any."""

    @property
    def bits(self) -> float:
        """All that has to be told."""
        return self.mask + self.values - self.order


def entropy(matrices: Sequence[Matrix]) -> Entropy:
    """The empirical entropy, of order zero, of each matrix' mask and codes.

    That is what an ideal coder needs which knows the frequencies already, and which nobody tells:
    tables are not in it. A coder that learns more than frequencies can fall below it.
    """
    mask = values = order = 0.0
    for matrix in matrices:
        codes = matrix.codes
        kept = int(np.count_nonzero(codes))
        mask += _information([kept, codes.size - kept])
        values += _information(np.bincount(codes[codes > 0]))
        if matrix.form.sorted and codes.size:
            _, equal = np.unique(codes, axis=0, return_counts=True)
            orders = lgamma(len(codes) + 1) - sum(lgamma(count + 1) for count in equal)
            order += orders / log(2)
    return Entropy(mask, values, order)


def _information(counts: ArrayLike) -> float:
    """Bits of a sequence whose symbols have these counts, at their own frequencies."""
    found = np.asarray(counts, np.float64)
    found = found[found > 0]
    return float((found * np.log2(found.sum() / found)).sum()) if len(found) else 0.0
