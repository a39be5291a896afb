"""What coders write: matrices of codes, most of them zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Form(NamedTuple):
    """What a reader knows of a matrix before it reads."""

    rows: int
    columns: int
    sorted: bool = False
    """Whether the rows' order means nothing: they are in the order of ``row_order``."""


@dataclass(frozen=True, eq=False)
class Matrix:
    """Codes of 0, for a zero, to 255, shape (rows, columns)."""

    codes: NDArray[np.int32]
    sorted: bool = False
    """As of ``Form``."""

    @property
    def form(self) -> Form:
        """What a reader must know."""
        return Form(self.codes.shape[0], self.codes.shape[1], self.sorted)

    @property
    def highest(self) -> int:
        """The highest code."""
        return int(self.codes.max(initial=0))


def row_order(codes: NDArray[np.int32]) -> NDArray[np.intp]:
    """The order that coders want rows in that may be permuted.

    By their masks, from the first column on, kept before removed; equal ones by their codes.

    Args:
        codes: shape (rows, columns), 0 for a zero.
    """
    # lexsort's last key is the first to count.
    keys = np.concatenate([codes == 0, codes], axis=1)
    return np.lexsort(keys.T[::-1]) if codes.shape[1] else np.arange(len(codes))
