"""Which entries of which parameters belong to one hidden unit.

Removing a unit means removing its incoming weights, its bias and its outgoing weights together,
in every layer that reads it. Which ones these are is found by tracing (Fang et al. 2023, DepGraph:
Towards any structural pruning), with torch-pruning's dependency graph.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import LongTensor, Tensor, nn

from prune_search.sparsity._removable import is_removable

Forward = Callable[[nn.Module, Any], Tensor | Sequence[Tensor]]


@dataclass(frozen=True, eq=False)
class Slice:
    """The indices of a parameter that belong to each unit.

    Attributes:
        parameter: the parameter's name in the traced module.
        dim: the dimension that ``index`` refers to.
        index: shape (units, k), int64, on the CPU; row u holds the indices along ``dim`` that
            belong to unit u. k is above 1 where a convolution's channels are flattened.
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


def couplings(
    module: nn.Module, example: Any, forward: Forward, heads: Collection[str]
) -> list[Coupling]:
    """Find the hidden units of a module's linear layers and convolutions (their filters).

    The module is copied, so neither its parameters nor their ``requires_grad`` change. Left out
    are units that can't be removed on their own: those of heads, of anything else that reaches an
    output, of recurrent layers (and what these read), grouped convolutions and bare parameters,
    those of a flattened convolution and of the linear layer that is added to it, and those whose
    way through a reshape can't be followed. Units behind a LayerNorm are found,
    but not ``removable``.

    Args:
        module: the network; everything that is trained together, so that no reader is missed.
        example: a batch of inputs, given to ``forward``.
        forward: calls the module on the example and returns all of its outputs, with the
            gradients' graph. Called once for the graph, and some more times for units that are
            flattened or concatenated, and to see which can be removed. An output that it splits
            and feeds to another network (actions sampled for SAC's critics) must be detached:
            torch-pruning can't follow it.
        heads: names of the weight parameters of output layers.

    Returns:
        One coupling for each set of units, in the order in which the module defines its layers.

    Raises:
        ValueError: a head isn't a parameter of the module, or no output depends on parameters.
    """
    names = dict(module.named_parameters())
    unknown = sorted(set(heads) - names.keys())
    if unknown:
        raise ValueError(f"heads that are not parameters of the module: {unknown}")
    traced = copy.deepcopy(module).requires_grad_(True)
    graph = _dependency_graph(traced, example, forward)
    return _Translation(traced, example, forward, graph).couplings(frozenset(heads))


def _dependency_graph(module: nn.Module, example: Any, forward: Forward) -> Any:
    import torch_pruning  # slow to import

    def outputs(module: nn.Module, example: Any) -> list[Tensor]:
        out = forward(module, example)
        tensors = [out] if isinstance(out, Tensor) else list(out)
        # A layer whose output is returned as it is gets no output node; one more operation
        # makes every way out of the network visible.
        marked = [tensor * 1.0 for tensor in tensors if tensor.requires_grad]
        if not marked:
            raise ValueError("no output of forward depends on a parameter of the module")
        return marked

    with torch.enable_grad():
        return torch_pruning.DependencyGraph().build_dependency(
            module, example_inputs=example, forward_fn=outputs, verbose=False
        )


class _Untranslatable(Exception):
    """The units can't be removed on their own."""


class _Translation:
    """From torch-pruning's groups to names, dimensions and indices of parameters."""

    def __init__(self, module: nn.Module, example: Any, forward: Forward, graph: Any) -> None:
        self._module, self._example, self._forward, self._graph = module, example, forward, graph
        self._names = {id(param): name for name, param in module.named_parameters()}

    def couplings(self, heads: frozenset[str]) -> list[Coupling]:
        found = []
        seen: set[nn.Module] = set()
        for layer in self._module.modules():
            if layer in seen or layer not in self._graph.module2node or not _produces(layer):
                continue
            pruner = self._graph.get_pruner_of_module(layer)
            units = pruner.get_out_channels(layer)
            group = self._graph.get_pruning_group(
                layer, pruner.prune_out_channels, list(range(units))
            )
            seen.update(dep.target.module for dep, _ in group if self._prunes_outputs(dep.handler))
            try:
                slices = self._slices(layer, units, group, heads)
            except _Untranslatable:
                continue
            coupling = Coupling(self._names[id(layer.weight)], units, slices)
            removable = is_removable(self._module, self._example, self._forward, coupling)
            found.append(replace(coupling, removable=removable))
        return found

    def _slices(
        self, root: nn.Module, units: int, group: Any, heads: frozenset[str]
    ) -> tuple[Slice, ...]:
        slices = []
        for item in group:
            target, node = item.dep.target.module, item.dep.target
            if node.type == self._graph.ops.OPTYPE.OUTPUT:
                raise _Untranslatable
            if not isinstance(target, (nn.Module, nn.Parameter)):
                continue
            if not isinstance(target, nn.Module) or _is_opaque(target):
                raise _Untranslatable
            weight, bias = getattr(target, "weight", None), getattr(target, "bias", None)
            if weight is None:  # an activation, a pooling, a normalisation without parameters
                continue
            if _produces(target) and not self._prunes_outputs(item.dep.handler):
                if weight.shape[1] == units:
                    index = _rows(units, item.idxs, item.root_idxs)
                else:  # flattened, or concatenated with something else
                    index = self._trace_columns(root, units, target)
                slices.append(Slice(self._names[id(weight)], 1, index))
            else:
                if self._names[id(weight)] in heads:
                    raise _Untranslatable
                index = _rows(units, item.idxs, item.root_idxs)
                if index.shape[1] > 1:  # a linear layer is added to flattened filters, whose order
                    raise _Untranslatable  # torch-pruning guesses
                slices += [
                    Slice(self._names[id(param)], 0, index)
                    for param in (weight, bias)
                    if param is not None
                ]
        return tuple(slices)

    def _prunes_outputs(self, handler: Callable[..., Any]) -> bool:
        return bool(self._graph.is_out_channel_pruning_fn(handler))

    def _trace_columns(self, producer: nn.Module, units: int, reader: nn.Module) -> LongTensor:
        """Which columns of ``reader`` carry each unit of ``producer``, shape (units, k).

        The dependency graph takes it that a flattened unit's entries lie side by side, and that
        nothing but units is concatenated. That is wrong where channels come last, as in
        RLlib's convolutional encoders, or where observations or actions are put beside
        features. So it is measured: the outputs of all layers are replaced by constants, which
        in the producer tell the units apart by the bits of their number, and the columns that
        change are noted.
        """

        def inputs(chosen: Tensor) -> Tensor:
            caught: list[Tensor] = []

            def constant(layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
                # Small and positive: inside the range where the usual activations rise.
                if layer is not producer:  # other ways to the reader mix the units
                    return torch.full_like(output, 0.25)
                values = torch.where(chosen, 0.5, 0.25).to(output)
                dim = _feature_dim(layer)
                return values.expand_as(output.movedim(dim, -1)).movedim(-1, dim)

            hooks = [reader.register_forward_pre_hook(lambda _, args: caught.append(args[0]))]
            hooks += [
                layer.register_forward_hook(constant)
                for layer in self._module.modules()
                if _produces(layer)
            ]
            try:
                with torch.no_grad():
                    self._forward(self._module, self._example)
            finally:
                for hook in hooks:
                    hook.remove()
            return caught[0].movedim(_feature_dim(reader), -1).flatten(0, -2).cpu()

        number = torch.arange(units)
        base = inputs(number < 0)
        owner = torch.zeros(base.shape[1], dtype=torch.long)
        fed = torch.ones(base.shape[1], dtype=torch.bool)
        for bit in range(units.bit_length()):
            is_set = (number >> bit) % 2 == 1
            if_set = (inputs(is_set) != base).any(0)
            if_clear = (inputs(~is_set) != base).any(0)
            if bool((if_set & if_clear).any()):  # several units mixed in one column
                raise _Untranslatable
            fed &= if_set | if_clear
            owner += if_set.long() << bit
        columns = fed.nonzero().squeeze(1).tolist()
        return _rows(units, columns, owner[fed].tolist())


def _produces(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)


def _feature_dim(layer: nn.Module) -> int:
    return -1 if isinstance(layer, nn.Linear) else -3


def _is_opaque(layer: nn.Module) -> bool:
    """Whether the layer has parameters whose entries aren't known to go with single units."""
    if _produces(layer):
        return False
    weight = getattr(layer, "weight", None)
    vectors = isinstance(weight, Tensor) and weight.dim() == 1 and weight.numel() > 1
    return not vectors and any(True for _ in layer.parameters())


def _rows(units: int, indices: Sequence[int], owners: Sequence[int]) -> LongTensor:
    """The indices of each unit, shape (units, k), from pairs of an index and its unit."""
    if len(set(indices)) < len(indices):  # one that several units share can't go with any of them
        raise _Untranslatable
    rows: list[list[int]] = [[] for _ in range(units)]
    for index, owner in zip(indices, owners, strict=True):
        if owner is None:
            raise _Untranslatable
        rows[owner].append(index)
    if len({len(row) for row in rows}) != 1 or not rows[0]:
        raise _Untranslatable
    return torch.tensor(rows)  # type: ignore[return-value]
