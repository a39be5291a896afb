"""Lossless compaction: units that zeros have made superfluous are taken out.

Single weights that are zero leave the shapes as they are. But a unit that nobody reads any more
can go, and one that reads nothing any more is a constant, which the biases of its readers can
hold. Each removal may leave other units without readers or inputs, so it goes on until nothing
changes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from prune_search.sparsity.sizes import Size, size
from prune_search.sparsity.structure.coupling import Coupling, Slice
from prune_search.sparsity.structure.layers import feature_dim
from prune_search.sparsity.structure.layout import Layout
from prune_search.sparsity.structure.perturbing import Forward, difference, outputs, randomized
from prune_search.sparsity.structure.resizing import kept_without, remove_units, shrink_
from prune_search.sparsity.structure.tracing import couplings

_TOLERANCE = 1e-5  # of outputs, relative to the largest
_SCALES = (0.1, 1.0, 1.0, 10.0)  # of the random inputs that are tried beside the example


@dataclass(frozen=True, eq=False)
class Compaction:
    """A smaller network that computes the same.

    Attributes:
        module: the smaller network: the same classes and ``state_dict`` keys, other shapes.
        layout: where its parameters lie in the network that was given. Biases that hold folded
            constants differ from the ones there.
        before: size of the network that was given.
        after: size of the smaller one.
        removed: how many units have gone, by the producing layer's weight (``Coupling.layer``).
        folded: how many of them were constants other than zero, now in their readers' biases.
        refused: layers whose units all stay, as the outputs changed without those that seemed
            superfluous.
        error: the largest difference of outputs that was seen, relative to the largest output.
    """

    module: nn.Module
    layout: Layout
    before: Size
    after: Size
    removed: dict[str, int]
    folded: dict[str, int]
    refused: tuple[str, ...]
    error: float


def compact(
    module: nn.Module,
    example: Any,
    forward: Forward,
    units: Sequence[Coupling] | None = None,
    *,
    fold: bool = True,
) -> Compaction:
    """Take out units that zero weights have made superfluous, without changing the function.

    Of each coupling that is ``removable``, these units go: those that no reader has a non-zero
    weight for; and those whose incoming weights are all zero, after their constant value, as it
    is measured at the readers' inputs, has been added to the readers' biases. Constants that
    can't be added stay: those other than zero that are read by a layer without bias, or by a
    convolution that pads with zeros. A layer that would lose all units keeps one, all of whose
    weights are zero. Units that ``couplings`` does not find stay (those of output and recurrent
    layers, for instance), and so does everything in front of a LayerNorm.

    The function is that of evaluation mode (dropout off, batch normalisation by its running
    statistics). The smaller network is for inference: masks, and further training of the network
    that was given, do not know about folded constants.

    Args:
        module: the network; it is copied.
        example: a batch of inputs, given to ``forward``: a tensor, or mappings and sequences of
            tensors. Random numbers are also added to those of floating point.
        forward: calls the module on the example and returns all of its outputs, with the
            gradients' graph; see ``couplings``.
        units: the network's couplings, where they are known already.
        fold: False to keep units that are constants other than zero: added to biases, these take
            values that a quantized network has no codes for.

    Where the outputs differ by more than 1e-5 of the largest one without a coupling's units, that
    coupling stays whole; it is named in ``refused``.

    Raises:
        ValueError: as ``couplings`` does.
        RuntimeError: the network's outputs differ from call to call, so that nothing can be shown.
    """
    original = copy.deepcopy(module).eval()
    inputs = [example, *(randomized(example, scale, seed) for seed, scale in enumerate(_SCALES))]
    found = [
        coupling
        for coupling in (couplings(original, example, forward) if units is None else units)
        if coupling.removable and any(part.dim == 1 for part in coupling.slices)
    ]
    expected = [outputs(original, batch, forward) for batch in inputs]

    def without(chosen: Sequence[Coupling]) -> tuple[_Work, Layout, float]:
        work = _Work(copy.deepcopy(original), inputs, forward, chosen, fold)
        while work.remove_unread() | work.fold_constants():
            pass
        step = work.layout()
        shrink_(work.module, step)
        errors = [
            difference(want, outputs(work.module, batch, forward))
            for want, batch in zip(expected, inputs, strict=True)
        ]
        return work, step, max(errors)

    work, step, error = without(found)
    refused: list[Coupling] = []
    while not error <= _TOLERANCE and found:
        # Those that change something by themselves; if there are none, it is their company.
        changing = [each for each in found if not without([each])[2] <= _TOLERANCE] or found[-1:]
        refused += changing
        found = [each for each in found if each not in changing]
        work, step, error = without(found)
    if not error <= _TOLERANCE:
        raise RuntimeError(
            f"the network's outputs differ from call to call by {error:.1e} of the largest one, "
            f"more than {_TOLERANCE:.0e}"
        )
    smaller = work.module
    for new, old in zip(smaller.modules(), module.modules(), strict=True):
        new.training = old.training
    kept = {coupling.layer: 0 for coupling in refused}
    return Compaction(
        module=smaller,
        layout=step,
        before=size(dict(module.named_parameters())),
        after=size(dict(smaller.named_parameters())),
        removed=work.removed() | kept,
        folded=work.folded | kept,
        refused=tuple(kept),
        error=error,
    )


class _Work:
    """The network while it loses units: they are zeroed here, and taken out at the end."""

    def __init__(
        self,
        module: nn.Module,
        inputs: Sequence[Any],
        forward: Forward,
        units: Sequence[Coupling],
        fold: bool,
    ) -> None:
        self.module, self._inputs, self._forward = module, inputs, forward
        self._folds = fold
        self._params = dict(module.named_parameters())
        self._couplings = units
        self._gone = [torch.zeros(coupling.units, dtype=torch.bool) for coupling in self._couplings]
        self.folded = {coupling.layer: 0 for coupling in self._couplings}

    def removed(self) -> dict[str, int]:
        """Units taken out, by layer; where all would go, one is left."""
        return {
            coupling.layer: min(int(gone.count_nonzero()), coupling.units - 1)
            for coupling, gone in zip(self._couplings, self._gone, strict=True)
        }

    def layout(self) -> Layout:
        marks: dict[str, list[Tensor]] = {}
        for coupling, gone in zip(self._couplings, self._gone, strict=True):
            taken = gone.clone()
            if bool(taken.all()):
                taken[0] = False
            remove_units(marks, self._params, coupling, taken)
        return kept_without(self._params, marks)

    @torch.no_grad()
    def remove_unread(self) -> bool:
        """Units without outgoing weights go, those folded among them; whether there were any."""
        found = False
        for coupling, gone in zip(self._couplings, self._gone, strict=True):
            unread = ~_any_weight(self._params, coupling, dim=1)
            found |= bool((unread & ~gone).any())
            gone.logical_or_(unread)
            for part in coupling.slices:
                param = self._params[part.parameter]
                index = part.index[gone].flatten().to(param.device)
                param.index_fill_(part.dim, index, 0.0)
        return found

    @torch.no_grad()
    def fold_constants(self) -> bool:
        """Constants go into the biases of their readers; whether there were any."""
        found = False
        candidates = [
            ~gone & ~_any_weight(self._params, coupling, dim=0)
            for coupling, gone in zip(self._couplings, self._gone, strict=True)
        ]
        if not any(bool(units.any()) for units in candidates):
            return False
        readers = {
            part.parameter
            for coupling in self._couplings
            for part in coupling.slices
            if part.dim == 1
        }
        ranges = self._input_ranges(readers)
        # All ranges were measured before the first fold, which changes the readers' own outputs
        # by rounding only.
        for coupling, units in zip(self._couplings, candidates, strict=True):
            parts = [part for part in coupling.slices if part.dim == 1]
            folded = units.clone()
            nonzero = torch.zeros_like(units)
            for part in parts:
                folded &= self._foldable(part, ranges[part.parameter])
                nonzero |= (ranges[part.parameter][0][part.index] != 0).any(1)
            for part in parts:
                self._fold(part, folded, ranges[part.parameter])
            self.folded[coupling.layer] += int((folded & nonzero).count_nonzero())
            found |= bool(folded.any())
        return found

    def _input_ranges(self, weights: set[str]) -> dict[str, tuple[Tensor, Tensor]]:
        """The least and the largest value of each input of the layers with these weights."""
        low: dict[str, Tensor] = {}
        high: dict[str, Tensor] = {}

        def catch(name: str) -> Callable[[nn.Module, Any], None]:
            def hook(layer: nn.Module, args: Any) -> None:
                values = args[0].movedim(feature_dim(layer), -1)
                values = values.reshape(-1, values.shape[-1]).cpu()
                least, largest = values.amin(0), values.amax(0)
                low[name] = torch.minimum(low.get(name, least), least)
                high[name] = torch.maximum(high.get(name, largest), largest)

            return hook

        hooks = [
            layer.register_forward_pre_hook(catch(name))
            for name in weights
            for layer in self._readers(name)
        ]
        try:
            for batch in self._inputs:
                outputs(self.module, batch, self._forward)
        finally:
            for handle in hooks:
                handle.remove()
        return {name: (low[name], high[name]) for name in weights}

    def _readers(self, weight: str) -> list[Any]:
        param = self._params[weight]
        return [layer for layer in self.module.modules() if getattr(layer, "weight", None) is param]

    def _foldable(self, part: Slice, measured: tuple[Tensor, Tensor]) -> Tensor:
        """Which units of a coupling are constants that their reader can do without."""
        low, high = (bound[part.index] for bound in measured)
        readers = self._readers(part.parameter)
        zero = (low == 0) & (high == 0)
        takes = len(readers) == 1 and readers[0].bias is not None
        if not self._folds or not takes or _pads_with_zeros(readers[0]):
            return zero.all(1)
        # Vectorised and scalar versions of an activation function may round differently.
        constant = high.isfinite() & (high - low <= 1e-6 * high.abs().clamp_min(1e-3))
        return (zero | constant).all(1)

    def _fold(self, part: Slice, units: Tensor, measured: tuple[Tensor, Tensor]) -> None:
        columns = part.index[units].flatten()
        weight = self._params[part.parameter]
        values = measured[0][columns].to(weight.device)
        index = columns.to(weight.device)
        if bool((values != 0).any()):
            chosen = weight.index_select(1, index).double()
            sums = chosen.flatten(2).sum(2) if chosen.dim() > 2 else chosen
            bias = self._readers(part.parameter)[0].bias
            bias.add_((sums @ values.double()).to(bias))
        weight.index_fill_(1, index, 0.0)


def _any_weight(params: Mapping[str, Tensor], coupling: Coupling, dim: int) -> Tensor:
    """Whether units have a non-zero incoming (dim 0) or outgoing (1) weight, shape (units,)."""
    found = torch.zeros(coupling.units, dtype=torch.bool)
    for part in coupling.slices:
        param = params[part.parameter]
        if part.dim == dim and param.dim() >= 2:
            lines = (param != 0).movedim(dim, 0).flatten(1).any(1).cpu()
            found |= lines[part.index].any(1)
    return found


def _pads_with_zeros(layer: nn.Module) -> bool:
    """Whether the layer puts zeros beside its input, which a constant would not be."""
    if not isinstance(layer, _ConvNd) or layer.padding_mode != "zeros":
        return False
    if isinstance(layer.padding, str):
        return layer.padding != "valid"
    return any(layer.padding)
