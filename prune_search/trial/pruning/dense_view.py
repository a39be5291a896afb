"""Between the dense networks and what is left of them physically, by parameter name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from prune_search.rllib.networks.roles import by_module
from prune_search.sparsity.named import Tensors
from prune_search.sparsity.structure.coupling import Coupling
from prune_search.sparsity.structure.resizing import Layout, layout


class Removal:
    """What has been taken out of an algorithm's networks so far.

    Args:
        weights: the dense networks' parameters.
    """

    def __init__(self, weights: Tensors) -> None:
        self._layout = Layout.full(weights)

    def take(self, tensors: Tensors) -> dict[str, Tensor]:
        """Dense tensors (weights, masks) in the shapes that the networks have now."""
        return {name: self._layout.take(name, value) for name, value in tensors.items()}

    def put(self, tensors: Tensors) -> dict[str, Tensor]:
        """Tensors of the present shapes in the dense ones; what is gone is zero."""
        return {name: self._layout.put(name, value) for name, value in tensors.items()}

    def put_masks(self, masks: Tensors) -> dict[str, Tensor]:
        """The masks over the dense networks, in which what is gone is masked."""
        gone = {
            name: torch.ones(self._layout.shapes[name], dtype=torch.bool)
            for name in self._layout.kept
        }
        return self.put({**gone, **{name: mask.cpu() for name, mask in masks.items()}})

    def put_one(self, name: str, value: Tensor, *, rows: bool) -> Tensor:
        """One layer's statistic, of its shape or (`rows`) one figure a unit, over all units."""
        if not rows:
            return self._layout.put(name, value)
        kept = self._layout.kept.get(name)
        if kept is None or kept[0] is None:
            return value
        laid = torch.zeros(self._layout.dense[name][0], dtype=value.dtype)
        laid[kept[0]] = value
        return laid

    def take_one(self, name: str, value: Tensor, *, rows: bool) -> Tensor:
        """What is left of one layer's statistic over all units, as `put_one` lays it."""
        if not rows:
            return self._layout.take(name, value)
        kept = self._layout.kept.get(name)
        return value.clone() if kept is None or kept[0] is None else value[kept[0]]

    def remove(self, units: Sequence[Coupling], masks: Tensors) -> dict[str, Layout]:
        """Notes that units which are masked altogether go: the steps from here, by ModuleID.

        Args:
            units: of the dense networks.
            masks: over the dense networks.
        """
        params = {name: torch.empty(shape) for name, shape in self._layout.dense.items()}
        return self._go_to(layout(params, units, masks))

    def state_dict(self) -> dict[str, Any]:
        """For `load_state_dict`, here or in another process."""
        return self._layout.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> dict[str, Layout]:
        """Takes over a `state_dict`: the steps that bring the networks there, by ModuleID."""
        return self._go_to(Layout.from_state_dict(state))

    def _go_to(self, target: Layout) -> dict[str, Layout]:
        step = self._layout.step_to(target)
        self._layout = target
        return {name: part for name, part in by_module(step).items() if part.kept}
