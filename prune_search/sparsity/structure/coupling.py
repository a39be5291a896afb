"""Which entries of which parameters belong to one hidden unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import LongTensor


@dataclass(frozen=True, eq=False)
class Slice:
    """The indices of a parameter that belong to each unit.

    Attributes:
        parameter: the parameter's name in the traced module.
        dim: the dimension that ``index`` refers to.
        index: shape (units, k), int64, on the CPU; row u holds the indices along ``dim`` that
            belong to unit u. k is above 1 where a convolution's channels are flattened, or where
            a unit takes several rows of a layer, as a gated one does.
    """

    parameter: str
    dim: int
    index: LongTensor


@dataclass(frozen=True, eq=False)
class Coupling:
    """Hidden units that can be removed one by one.

    Attributes:
        layer: name of the weight parameter that produces the units (the first one, if several
            layers' outputs are added up).
        units: how many there are.
        slices: everything that belongs to them: along dimension 0 the rows of producing layers
            (all of them), their biases and normalisation parameters; along dimension 1 the
            columns of the layers that read the units.
        removable: whether taking units out of the network computes what masking them computes.
            False behind a normalisation over units, such as LayerNorm, which has other statistics
            when masked units are gone: such units can be masked, but not taken out.
    """

    layer: str
    units: int
    slices: tuple[Slice, ...]
    removable: bool = True
