"""How numbers lie in the flash of a machine: as C's constants, and of a matrix what is not zero."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_WIDTH = 96
LANES = 4
"""Rows of a matrix that are multiplied together."""
_ALLOWED = 1.05
"""Bytes of rows together to those of rows one by one, up to which they lie together."""


@dataclass(frozen=True, eq=False)
class Constant:
    """An array of numbers in flash."""

    name: str
    values: NDArray[Any]

    @property
    def kind(self) -> str:
        """C's type: `float`, `int8_t`, `uint16_t`, ..."""
        return "float" if self.values.dtype == np.float32 else f"{self.values.dtype.name}_t"

    @property
    def bytes(self) -> int:
        """What it takes."""
        return int(self.values.size * self.values.itemsize)

    def __str__(self) -> str:
        return self._defined("static const")

    @property
    def in_flash(self) -> str:
        """Its definition where a source says what `IN_FLASH` is."""
        return self._defined("static const IN_FLASH")

    def _defined(self, how: str) -> str:
        literal = number if self.kind == "float" else str
        text = ", ".join(literal(value) for value in self.values.reshape(-1).tolist())
        lines = textwrap.fill(text, _WIDTH, initial_indent="    ", subsequent_indent="    ")
        return f"{how} {self.kind} {self.name}[{self.values.size}] = {{\n{lines}\n}};"


@dataclass(frozen=True, eq=False)
class Requantization:
    """What becomes of a layer's sums in integers; see `policy.integers.Sums`."""

    name: str
    bias: Constant
    multiplier: Constant
    shift: Constant
    low: int
    high: int
    table: Constant | None
    """What is looked up then, from `low` on."""

    @property
    def bytes(self) -> int:
        """What it takes on a machine of 32 bits, the arrays not counted."""
        return 24

    @property
    def in_flash(self) -> str:
        """Its definition, see `Constant.in_flash`."""
        table = "0" if self.table is None else self.table.name
        arrays = f"{self.bias.name}, {self.multiplier.name}, {self.shift.name}"
        fields = f"{arrays}, {self.low}, {self.high}, {table}"
        return f"static const IN_FLASH struct requantization {self.name} = {{{fields}}};"


def number(value: float) -> str:
    """A float32 as C99 reads it back exactly: whole ones in digits, others in hexadecimal."""
    if np.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    if value == int(value) and abs(value) < 2**24:
        return f"{int(value)}.0f"
    mantissa, _, exponent = float(np.float32(value)).hex().partition("p")
    return f"{mantissa.rstrip('0')}p{exponent}f"


@dataclass(frozen=True, eq=False)
class Rows:
    """A matrix whose entries all lie there, row by row."""

    weight: Constant

    @property
    def constants(self) -> list[Constant]:
        return [self.weight]


@dataclass(frozen=True, eq=False)
class _Entries:
    """What forms have that leave zeros out: entries, the place of each, and how many there are."""

    value: Constant
    place: Constant
    count: Constant

    @property
    def constants(self) -> list[Constant]:
        return [self.value, self.place, self.count]


@dataclass(frozen=True, eq=False)
class SparseRows(_Entries):
    """A matrix of whose rows the entries that are not zero lie there, each with its place.

    A row's places are counted from its beginning, and behind each row comes the next; `count` is of
    each row.
    """


@dataclass(frozen=True, eq=False)
class GroupedRows(_Entries):
    """As `SparseRows`, but that each `LANES` rows lie together.

    The first entries of a group's rows lie side by side, then the second ones, and so on; zeros
    fill up what shorter rows lack; `count` is of each row of a group. So several sums grow at a
    time in one loop, and none of them waits for another.
    """


@dataclass(frozen=True, eq=False)
class LevelRows(_Entries):
    """As `SparseRows`, but that each row's entries lie in the order in which levels have them.

    A level uses the first of a row, the next level some more; `count` is of each row that a level
    uses, level after level.
    """


def stored_levels(
    name: str,
    matrix: NDArray[Any],
    entry: NDArray[np.uint8],
    levels: int,
    places: NDArray[np.int64] | None = None,
) -> Rows | SparseRows | GroupedRows | LevelRows:
    """A matrix of which levels have more and more entries; one that is the same to all: `stored`.

    Args:
        name: in front of the constants' names.
        matrix: (outputs, inputs), of any type.
        entry: (outputs, inputs), the level at which each comes in; `levels` for what is zero.
        levels: how many there are.
        places: (inputs,), where each input lies; 0, 1, ... if None.
    """
    there = matrix != 0
    if not entry[there].any():
        return stored(name, matrix, places)
    places = np.arange(matrix.shape[1]) if places is None else places
    rows, columns = np.nonzero(there)
    order = np.lexsort((columns, entry[rows, columns], rows))
    rows, columns = rows[order], columns[order]
    counts = np.stack([(there & (entry <= level)).sum(axis=1) for level in range(levels)])
    return LevelRows(
        Constant(f"{name}_value", matrix[rows, columns]),
        _unsigned(f"{name}_place", places[columns]),
        _unsigned(f"{name}_count", counts),
    )


def stored(
    name: str, matrix: NDArray[Any], places: NDArray[np.int64] | None = None
) -> Rows | SparseRows | GroupedRows:
    """A matrix in the form that takes the fewest bytes; rows lie together for a few more.

    Args:
        name: in front of the constants' names.
        matrix: (outputs, inputs), of any type.
        places: (inputs,), where each input lies; 0, 1, ... if None.
    """
    places = np.arange(matrix.shape[1]) if places is None else places
    rows, columns = np.nonzero(matrix)
    counts = np.bincount(rows, minlength=len(matrix))
    whole = Rows(Constant(f"{name}_weight", matrix))
    sparse = SparseRows(
        Constant(f"{name}_value", _some(matrix[rows, columns])),
        _unsigned(f"{name}_place", _some(places[columns])),
        _unsigned(f"{name}_count", counts),
    )
    if _bytes(whole) <= _bytes(sparse):
        return whole
    # Rows of integers are in no order that suits groups; see `layout`.
    if matrix.dtype != np.float32 or len(matrix) % LANES:
        return sparse
    grouped = _grouped(name, matrix, places)
    return grouped if _bytes(grouped) <= _ALLOWED * _bytes(sparse) else sparse


def _grouped(name: str, matrix: NDArray[Any], places: NDArray[np.int64]) -> GroupedRows:
    groups = matrix.reshape(-1, LANES, matrix.shape[1])
    counts = np.count_nonzero(groups, axis=2).max(axis=1)
    # Of each row what is not zero comes first, in its order, and then zeros.
    first = np.argsort(groups == 0, axis=2, kind="stable")
    values = np.take_along_axis(groups, first, axis=2)
    held = np.where(values != 0, places[first], 0)
    return GroupedRows(
        Constant(f"{name}_value", _side_by_side(values, counts)),
        _unsigned(f"{name}_place", _side_by_side(held, counts)),
        _unsigned(f"{name}_count", counts),
    )


def _side_by_side(rows: NDArray[Any], counts: NDArray[np.int64]) -> NDArray[Any]:
    """Of [groups, `LANES`, entries] the first `counts` of each group, the lanes' in turn."""
    parts = [group.T[:count].reshape(-1) for group, count in zip(rows, counts, strict=True)]
    return _some(np.concatenate(parts))


def _bytes(form: Rows | SparseRows | GroupedRows) -> int:
    return sum(constant.bytes for constant in form.constants)


def _unsigned(name: str, values: NDArray[Any]) -> Constant:
    """In the smallest type that holds the numbers."""
    for bits in (8, 16, 32):
        if values.max(initial=0) < 2**bits:
            return Constant(name, values.astype(f"uint{bits}"))
    raise ValueError(f"{name} is larger than 32 bits hold")


def _some(values: NDArray[Any]) -> NDArray[Any]:
    """C has no array of nothing."""
    return values if values.size else np.zeros(1, values.dtype)
