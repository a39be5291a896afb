"""How large the pieces are that go: weights, n:m patterns, neurons, filters.

A pattern of one's own is one line:

>>> register_pattern(4, 8).name
'4:8'
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

from prune_search.registry import Registry
from prune_search.sparsity.allocation import Allocation
from prune_search.sparsity.named import Tensors
from prune_search.sparsity.selection.patterns import NOfM
from prune_search.sparsity.selection.problem import Problem
from prune_search.sparsity.structure.coupling import Coupling

if TYPE_CHECKING:
    from torch import Tensor

Layers: TypeAlias = "Sequence[str]"
Couplings: TypeAlias = "Sequence[Coupling]"


class Selection(Protocol):
    """What does the work of a granularity: a module, or an object."""

    def select(
        self, problem: Problem, scores: Tensors, allocation: Allocation, ratio: float
    ) -> dict[str, Tensor]:
        """What ``select`` calls, once it has checked its arguments; it returns the same."""


class ByValue(Selection, Protocol):
    """One that can cut at a value too."""

    def select_threshold(self, problem: Problem, cut: Mapping[str, float]) -> dict[str, Tensor]:
        """What ``select_threshold`` calls, once it has checked its arguments."""

    def sizes(self, problem: Problem) -> dict[str, Tensor]:
        """What a cut is compared with, by layer."""


@dataclass(frozen=True)
class Granularity:
    """How large the pieces are that go.

    Attributes:
        name: its name in ``GRANULARITIES``.
        selection: what does its work, or the dotted name of a module that does, which is imported
            when there is work to do.
        by_value: whether that is a ``ByValue``.
        produced_by: whether kernels of so many dimensions produce its units; None where the
            pieces are not units.
        pattern: the n:m pattern that it keeps, whose groups are ranked over all layers, so that no
            allocation divides its ratio.
    """

    name: str
    selection: Selection | str
    by_value: bool = False
    produced_by: Callable[[int], bool] | None = None
    pattern: NOfM | None = None

    @property
    def structured(self) -> bool:
        """Whether its pieces are whole units."""
        return self.produced_by is not None

    @property
    def allocated(self) -> bool:
        """Whether an allocation divides the ratio."""
        return self.pattern is None

    @property
    def working(self) -> ByValue:
        """What does its work, imported; only a ``Selection`` unless ``by_value``."""
        found = self.selection
        return cast("ByValue", importlib.import_module(found) if isinstance(found, str) else found)

    def problem(
        self, params: Tensors, layers: Layers, couplings: Couplings, masks: Tensors
    ) -> Problem:
        """What it selects from, with those of the couplings that are its own.

        Raises:
            ValueError: as ``units``.
        """
        return Problem(params, layers, self.units(params, layers, couplings), masks)

    def units(self, params: Tensors, layers: Layers, couplings: Couplings) -> list[Coupling]:
        """The couplings that are its own: produced in ``layers``, by kernels of its kind.

        Raises:
            ValueError: one reaches into a parameter that is not given.
        """
        if self.produced_by is None:
            return []
        own = [
            unit
            for unit in couplings
            if unit.layer in layers and self.produced_by(params[unit.layer].dim())
        ]
        reached = dict.fromkeys(part.parameter for unit in own for part in unit.slices)
        missing = [name for name in reached if name not in params]
        if missing:
            raise ValueError(f"parameters that units reach into are not given: {missing}")
        return own


GRANULARITIES: Registry[Granularity] = Registry("granularity")


def register_granularity(granularity: Granularity) -> Granularity:
    """Registers a granularity under its name.

    Raises:
        ValueError: the name is taken.
    """
    return GRANULARITIES.add(granularity.name, granularity)


def register_pattern(n: int, m: int) -> Granularity:
    """Registers the pattern that keeps n of every m inputs' weights: ``2:4``.

    Raises:
        ValueError: there is one already, or n is not below m.
    """
    pattern = NOfM(n, m)
    return register_granularity(Granularity(pattern.name, pattern, pattern=pattern))


_UNITS = "prune_search.sparsity.selection.units"

register_granularity(
    Granularity("weight", "prune_search.sparsity.selection.weights", by_value=True)
)
# Units of linear layers, and output channels of convolutions.
register_granularity(Granularity("neuron", _UNITS, True, lambda dims: dims == 2))
register_granularity(Granularity("filter", _UNITS, True, lambda dims: dims > 2))
register_pattern(2, 4)
register_pattern(1, 4)
GRANULARITIES.close()
