"""What belongs to a network's parameters, by their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

Tensors: TypeAlias = "Mapping[str, Tensor]"
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
