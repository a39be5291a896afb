"""Where a smaller network's parameters lie in the dense one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import LongTensor, Tensor

Kept = tuple[LongTensor | None, ...]


@dataclass(frozen=True, eq=False)
class Layout:
    """Where a smaller network's parameters lie in the dense one.

    Attributes:
        dense: shapes of the dense network's parameters.
        kept: for each parameter and each of its dimensions the indices that are kept, int64,
            ascending, on the CPU; None where all are. A parameter that is absent is kept whole.

    Raises:
        ValueError: kept indices of a parameter that isn't in ``dense``, or for another number
            of dimensions.
    """

    dense: dict[str, tuple[int, ...]]
    kept: dict[str, Kept] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, kept in self.kept.items():
            if len(kept) != len(self._shape(name)):
                raise ValueError(
                    f"{name!r} has {len(self._shape(name))} dimensions, kept indices {len(kept)}"
                )

    @classmethod
    def full(cls, params: Mapping[str, Tensor]) -> Layout:
        """The layout of the dense network itself."""
        return cls({name: tuple(param.shape) for name, param in params.items()})

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the smaller network's parameters."""
        return {
            name: tuple(
                size if index is None else len(index)
                for size, index in zip(shape, self._kept(name), strict=True)
            )
            for name, shape in self.dense.items()
        }

    def take(self, name: str, tensor: Tensor) -> Tensor:
        """The kept entries of a tensor of the dense shape, copied.

        Weights, gradients, masks and optimizer moments alike.

        Raises:
            ValueError: an unknown name or another shape than the dense parameter's.
        """
        self._check(name, tensor, self._shape(name))
        taken = tensor.detach()
        selected = [(dim, i) for dim, i in enumerate(self._kept(name)) if i is not None]
        for dim, index in selected:
            taken = taken.index_select(dim, index.to(taken.device))
        return taken if selected else taken.clone()

    def put(self, name: str, small: Tensor, fill: Tensor | float = 0.0) -> Tensor:
        """A tensor of the dense shape that has ``small`` in the kept places.

        Args:
            name: the parameter's name.
            small: of the smaller network's shape.
            fill: what the entries that are not kept hold: one number, or a tensor of the dense
                shape (the baseline's values, say).

        Raises:
            ValueError: an unknown name, or ``small`` or ``fill`` of another shape.
        """
        shape = self._shape(name)
        self._check(name, small, self.shapes[name])
        if isinstance(fill, Tensor):
            self._check(name, fill, shape)
            laid = fill.detach().to(small, copy=True)
        else:
            laid = torch.full(shape, fill, dtype=small.dtype, device=small.device)
        places = [
            torch.arange(size) if index is None else index
            for size, index in zip(shape, self._kept(name), strict=True)
        ]
        grid = [
            index.to(laid.device).view([-1 if axis == dim else 1 for axis in range(len(shape))])
            for dim, index in enumerate(places)
        ]
        laid[tuple(grid)] = small.detach()
        return laid

    def then(self, step: Layout) -> Layout:
        """From this dense network to that of ``step``, whose dense network is this small one.

        Raises:
            ValueError: the shapes of the network in between differ.
        """
        if step.dense != self.shapes:
            raise ValueError("the second layout's dense shapes are not the first one's small ones")
        kept = {}
        for name in [name for name in self.dense if name in self.kept or name in step.kept]:
            pairs = zip(self._kept(name), step._kept(name), strict=True)
            kept[name] = tuple(_compose(first, second) for first, second in pairs)
        return Layout(dict(self.dense), kept)

    def step_to(self, further: Layout) -> Layout:
        """The step from this small network to that of ``further``: its inverse is ``then``.

        Args:
            further: of the same dense network, keeping no entry that this layout doesn't keep.

        Raises:
            ValueError: it is of another dense network, or keeps what is gone here.
        """
        if further.dense != self.dense:
            raise ValueError("the layouts are of different dense networks")
        kept = {}
        for name in self.kept.keys() | further.kept.keys():
            pairs = zip(self._kept(name), further._kept(name), strict=True)
            kept[name] = tuple(_difference(name, first, second) for first, second in pairs)
        changed = {
            name: dims for name, dims in kept.items() if any(index is not None for index in dims)
        }
        return Layout(self.shapes, changed)

    def state_dict(self) -> dict[str, Any]:
        """Lists and tensors alone, for ``torch.load(weights_only=True)``."""
        return {
            "dense": {name: list(shape) for name, shape in self.dense.items()},
            "kept": {name: list(kept) for name, kept in self.kept.items()},
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Layout:
        """The layout whose ``state_dict`` is given."""
        return cls(
            {name: tuple(shape) for name, shape in state["dense"].items()},
            {name: tuple(kept) for name, kept in state["kept"].items()},
        )

    def _shape(self, name: str) -> tuple[int, ...]:
        if name not in self.dense:
            raise ValueError(f"the layout has no parameter {name!r}")
        return self.dense[name]

    def _kept(self, name: str) -> Kept:
        return self.kept.get(name, (None,) * len(self._shape(name)))

    @staticmethod
    def _check(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name!r} must have shape {shape}, not {tuple(tensor.shape)}")


def _compose(first: LongTensor | None, second: LongTensor | None) -> LongTensor | None:
    if first is None or second is None:
        return second if first is None else first
    return first[second]  # type: ignore[return-value]


def _difference(
    name: str, first: LongTensor | None, second: LongTensor | None
) -> LongTensor | None:
    if first is None or second is None:
        if first is not None:
            raise ValueError(f"{name!r} has lost entries that the further layout keeps")
        return second
    if len(first) == len(second) and bool((first == second).all()):
        return None
    places = torch.searchsorted(first, second)
    inside = places < len(first)
    if not bool(inside.all()) or not bool((first[places] == second).all()):
        raise ValueError(f"{name!r} has lost entries that the further layout keeps")
    return places  # type: ignore[return-value]
