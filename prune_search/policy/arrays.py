"""Arrays of a description: float32, and nobody's to change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float32]
Shape: TypeAlias = tuple[int, ...]


def arrays_of(owner: Any) -> Iterator[tuple[str, Array]]:
    """The arrays of a dataclass, by the fields that hold them."""
    for each in fields(owner):
        value = getattr(owner, each.name)
        if isinstance(value, np.ndarray):
            yield each.name, value


def hold_arrays(owner: Any) -> None:
    """Makes arrays of a frozen dataclass float32 copies of its own, which nobody can write to."""
    for name, value in list(arrays_of(owner)):
        held = np.array(value, dtype=np.float32, order="C")
        held.flags.writeable = False
        object.__setattr__(owner, name, held)
