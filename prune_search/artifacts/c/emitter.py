"""What a policy's steps become in C: statements, and the constants, functions and buffers of them.

Arrays go from one of two buffers to the other; what changes each number by itself stays where it
is. Images are [rows][columns][channels].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_search.artifacts.c.storage import (
    Constant,
    GroupedRows,
    LevelRows,
    Requantization,
    Rows,
    SparseRows,
    stored,
    stored_levels,
)
from prune_search.policy.arrays import Array, Shape
from prune_search.policy.layers import Flatten, Layer

_BYTES_OF_LEVEL = 4
"""An `int`, of machines of 32 bits."""
_BYTES = {"float": 4, "int16_t": 2, "int8_t": 1, "uint8_t": 1}


class Emitter:
    """Statements, constants and functions as steps add them.

    Args:
        levels: how many the device may choose among; 0 where there is nothing to choose.
        entries: of matrices that levels differ in, by their `id`: the level at which each entry
            comes in.
    """

    def __init__(self, levels: int = 0, entries: Mapping[int, NDArray[np.uint8]] = {}) -> None:
        self.levels, self._entries = levels, entries
        self.lines: list[str] = []
        self.constants: list[Constant | Requantization] = []
        self.types: dict[str, str] = {}
        self.functions: dict[str, str] = {}
        """Definitions by name, in the order in which they stand."""
        self.x, self.kind = "observation", "float"
        """Where the numbers are that the next statement reads, and of which type they are."""
        self._sizes: dict[tuple[str, str], int] = {}
        """Numbers that each buffer must hold, by its name and their type."""
        self._second = False
        """Whether what is read lies in the second buffer of its type."""
        self._count = 0

    @property
    def flash(self) -> int:
        """Bytes of the constants."""
        return sum(constant.bytes for constant in self.constants)

    @property
    def ram(self) -> int:
        """Bytes of the buffers, and of the level that is chosen."""
        buffers = sum(_BYTES[kind] * size for (_, kind), size in self._sizes.items())
        return buffers + _BYTES_OF_LEVEL * bool(self.levels)

    @property
    def buffers(self) -> str:
        """Their definitions."""
        return "\n".join(
            f"static {kind} {name}[{size}];" for (name, kind), size in self._sizes.items()
        )

    def name(self, of: str) -> str:
        """A name that no constant has yet."""
        self._count += 1
        return f"{of}{self._count}"

    def constant(self, of: str, values: Array) -> str:
        """The name of numbers in flash."""
        self.constants.append(Constant(self.name(of), values))
        return self.constants[-1].name

    def optional(self, of: str, values: Array | None) -> str:
        """The name of numbers that may be missing; 0, no place, where they are."""
        return "0" if values is None else self.constant(of, values)

    def matrix(
        self,
        of: str,
        weight: NDArray[Any],
        lay: Callable[[NDArray[Any]], NDArray[Any]] = lambda weight: weight,
        places: NDArray[np.int64] | None = None,
    ) -> Rows | SparseRows | GroupedRows | LevelRows:
        """How a layer's matrix lies in flash.

        Args:
            of: in front of its constants' names.
            weight: the layer's, of any shape.
            lay: makes (outputs, inputs) of it.
            places: (inputs,), where each input lies; 0, 1, ... if None.
        """
        entry = self._entries.get(id(weight))
        if entry is None:
            return stored(self.name(of), lay(weight), places)
        return stored_levels(self.name(of), lay(weight), lay(entry), self.levels, places)

    def moved(self, size: int, *lines: str, kind: str = "float") -> None:
        """Adds statements that fill the other buffer, `{y}`, from what is read, `{x}`.

        Args:
            size: numbers that there are then.
            lines: the statements.
            kind: the numbers' type.
        """
        self._second = not self._second and self.x != "observation"
        letter = "b" if self._second else "a"
        y = letter if kind == "float" else f"{letter}_{kind.removesuffix('_t')}"
        self._sizes[y, kind] = max(self._sizes.get((y, kind), 0), size)
        self.lines += [line.replace("{x}", self.x).replace("{y}", y) for line in lines]
        self.x, self.kind = y, kind

    def each(self, size: int, expression: str) -> None:
        """Replaces each number, `{x}`, whose place is `i`; not what the caller has given."""
        loop, value = f"for (i = 0; i < {size}; i++)", expression.replace("{x}", f"{self.x}[i]")
        if self.x == "observation":
            self.moved(size, loop, f"    {{y}}[i] = {value};")
        else:
            self.lines += [loop, f"    {self.x}[i] = {value};"]


@singledispatch
def emit(layer: Layer, to: Emitter, shape: Shape, state: int) -> None:
    """Adds what a layer does, in floats, to an array of this shape.

    Args:
        layer: the layer.
        to: what is added to.
        shape: of what it reads.
        state: where in the state its own begins.

    Raises:
        TypeError: it has no place in C.
    """
    raise TypeError(f"there is no C for {type(layer).__name__}")


@emit.register
def _flatten(layer: Flatten, to: Emitter, shape: Shape, state: int) -> None:
    pass  # it lies that way already
