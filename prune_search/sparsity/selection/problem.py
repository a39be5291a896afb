"""What a selection is made from: the weights, which of them may go, and what has gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prune_search.sparsity.structure.coupling import Coupling

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Problem:
    """One network's, for one granularity.

    Attributes:
        params: parameters by name; for units all that these reach into.
        layers: names of the prunable weight tensors, in the order of the forward pass.
        units: those of the granularity's kind that ``layers`` produce; none where it has no units.
        masks: the masks in force; a name that is absent is unmasked.
    """

    params: Mapping[str, Tensor]
    layers: Sequence[str]
    units: Sequence[Coupling]
    masks: Mapping[str, Tensor]
