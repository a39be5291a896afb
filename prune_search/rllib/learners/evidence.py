"""What learners see of their own batches, for criteria that need more than weights.

Gradients are those of the algorithm's own loss at each optimizer step, of masked weights too, as
the papers of criteria and regrowth define them: averaged over learners, and before any clipping,
which belongs to the optimizer and leaves masked weights out. Statistics of a step are summed up,
each only where it is asked for; nothing is added to modules or optimizers that would end up in a
checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import LongTensor, Tensor, nn

from prune_search.sparsity.structure.coupling import Coupling

GRADIENT, SQUARE, MOVEMENT, ACTIVATION = "gradient", "square", "movement", "activation"
STATISTICS = (GRADIENT, SQUARE, MOVEMENT, ACTIVATION)

_CARRIED = 32
"""Optimizer steps that all which was seen under earlier masks counts for at most."""

Statistics = dict[str, dict[str, Tensor]]
"""By the statistic's name, then by the parameter's."""
Rows = Sequence[tuple[str, LongTensor]]
"""Layers' kernels, and which of their rows make each unit."""


class Collector:
    """One learner's statistics since `restart`.

    They outlast changes of masks, see `carry`, so that what prunes or grows after every iteration
    has as much to go by as what does so once.

    Args:
        parameters: by the names that statistics are given by.
        needs: of `STATISTICS`.

    Raises:
        ValueError: an unknown statistic.
    """

    def __init__(self, parameters: Mapping[str, Tensor], needs: Iterable[str]) -> None:
        self._needs = frozenset(needs)
        unknown = sorted(self._needs - set(STATISTICS))
        if unknown:
            raise ValueError(f"unknown statistics {unknown}; known: {', '.join(STATISTICS)}")
        self._parameters = dict(parameters)
        self._handles: list[Any] = []
        self.restart()

    @torch.no_grad()
    def see(self, gradients: Mapping[str, Tensor]) -> None:
        """Takes in the gradients of one step, by parameter name, before the weights change."""
        if not self._needs:
            return
        for name, gradient in gradients.items():
            self._steps[name] = self._steps.get(name, 0) + 1
            for statistic, formula in _OF_GRADIENT.items():
                if statistic in self._needs:
                    self._add(statistic, name, formula(self._parameters[name].detach(), gradient))

    def watch_units(self, units: Iterable[Coupling], layers: Mapping[str, nn.Module]) -> None:
        """Measures the units' outputs, after activation and normalisation, where they are read.

        Args:
            units: their producing layers are the names of the statistic; those that nothing
                reads have none.
            layers: modules by the names of their kernels.
        """
        if ACTIVATION not in self._needs:
            return
        for unit in units:
            # All readers get the same values; the first in the network's order is as good as any.
            read = next((part for part in unit.slices if part.dim == 1), None)
            if read is None:
                continue
            made = [
                (part.parameter, part.index)
                for part in unit.slices
                if part.dim == 0 and self._parameters[part.parameter].dim() >= 2
            ]
            hook = _ReaderHook(self._outputs, made, read.index)
            self._handles.append(layers[read.parameter].register_forward_pre_hook(hook))

    def restart(self) -> None:
        """Forgets what was collected so far."""
        self._sums: Statistics = {name: {} for name in STATISTICS if name in self._needs}
        self._steps: dict[str, float] = {}
        self._rows: dict[str, float] = {}

    @torch.no_grad()
    def carry(self, masks: Mapping[str, Tensor]) -> None:
        """Goes on after a change of masks, with less trust in what was seen before it.

        Means are those of the steps that follow and of `_CARRIED` before them at most. A gradient
        of the loss is an estimate for masked weights too, and a little change of masks leaves it
        one. Movement is a sum over the whole training (Sanh et al. 2020, Movement pruning, section
        4), in which a masked weight has no share: one that comes back starts anew.

        Args:
            masks: boolean, by parameter name, True where a weight is kept.
        """
        for name, steps in self._steps.items():
            if steps > _CARRIED:
                share = _CARRIED / steps
                self._steps[name] = _CARRIED
                if name in self._rows:
                    self._rows[name] *= share
                for statistic, sums in self._sums.items():
                    if statistic != MOVEMENT and name in sums:
                        sums[name] *= share
        for name, total in self._sums.get(MOVEMENT, {}).items():
            if name in masks:
                total.masked_fill_(~masks[name].to(total.device), 0.0)

    def result(self) -> Statistics | None:
        """The statistics as `sparsity.criteria.Evidence` has them; None before the first step.

        Masked weights have gradients too. Movement is a sum, all else are means.
        """
        if not self._steps:
            return None
        found: Statistics = {}
        for statistic, sums in self._sums.items():
            counts = self._rows if statistic == ACTIVATION else self._steps
            found[statistic] = {
                name: total if statistic == MOVEMENT else total / counts[name]
                for name, total in sums.items()
            }
        return found

    def remove(self) -> None:
        """Takes all hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def state_dict(self) -> dict[str, Any]:
        """What was collected, as tensors and numbers."""
        return {"sums": self._sums, "steps": self._steps, "rows": self._rows}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` gave; statistics that are not asked for here are left."""
        self.restart()
        self._steps, self._rows = dict(state["steps"]), dict(state["rows"])
        for statistic in self._sums:
            self._sums[statistic] = {
                name: value.to(self._parameters[name].device, copy=True)
                for name, value in state["sums"].get(statistic, {}).items()
            }

    def _outputs(self, made: Rows, index: LongTensor, inputs: Tensor) -> None:
        # [rows and positions, inputs] for linear layers, [rows, inputs, ...] for convolutions.
        values = inputs.abs()
        values = values.flatten(0, -2) if inputs.dim() < 4 else values.movedim(1, -1).flatten(0, -2)
        means = values[:, index.to(values.device)].mean(-1)
        for name, rows in made:
            units = means.sum(0).unsqueeze(1).expand(rows.shape)
            self._add(
                ACTIVATION,
                name,
                units.new_empty(rows.numel()).index_copy(
                    0, rows.flatten().to(units.device), units.flatten()
                ),
            )
            self._rows[name] = self._rows.get(name, 0) + len(means)

    def _add(self, statistic: str, name: str, value: Tensor) -> None:
        sums = self._sums[statistic]
        if name in sums:
            sums[name] += value
        else:
            sums[name] = value.clone()


_OF_GRADIENT: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    GRADIENT: lambda weight, gradient: gradient,
    SQUARE: lambda weight, gradient: gradient.square(),
    MOVEMENT: lambda weight, gradient: -weight * gradient,
}


def average(found: list[Statistics | None]) -> Statistics | None:
    """One for all learners: gradients are the same in each, activations are of their own batches.

    None where a learner has none.
    """
    known = [each for each in found if each is not None]
    if len(known) < len(found):
        return None
    return {
        statistic: {
            name: torch.stack([each[statistic][name].cpu() for each in known]).mean(0)
            if statistic == ACTIVATION
            else value.cpu()
            for name, value in sums.items()
        }
        for statistic, sums in known[0].items()
    }


class _ReaderHook:
    """Shows a layer's inputs to a collector. Copies of the layer show nothing to anyone."""

    def __init__(
        self,
        show: Callable[[Rows, LongTensor, Tensor], None],
        made: Rows,
        index: LongTensor,
    ) -> None:
        self._show, self._made, self._index = show, made, index

    @torch.no_grad()
    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._show(self._made, self._index, inputs[0].detach())

    def __deepcopy__(self, memo: Any) -> Callable[..., None]:
        return _nothing


def _nothing(*_: Any) -> None:
    pass
