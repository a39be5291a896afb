"""What reaches what inside a network, measured: outputs are replaced, inputs are looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from prune_search.sparsity.structure.hollow import uncomputed
from prune_search.sparsity.structure.layers import feature_dim, is_kernel_layer, is_parametrized
from prune_search.sparsity.structure.layout import Layout
from prune_search.sparsity.structure.perturbing import Forward, outputs

Rows = Mapping[str, Tensor]
"""Values of layers' outputs, one a unit or channel, by the names of the layers' weights."""


@dataclass
class Seen:
    """What one forward pass showed.

    Attributes:
        inputs: by weight, the layers' inputs, shape (rows and positions, columns); and those of
            normalisations and other layers with one parameter a channel.
        called: the layers by weight, in the order of their first calls.
        others: inputs of layers whose parameters aren't known to go with single units.
        outputs: what ``forward`` returned.
    """

    inputs: dict[str, Tensor] = field(default_factory=dict)
    called: list[str] = field(default_factory=list)
    others: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)


class Probe:
    """A network that can be called with its layers' outputs replaced.

    As every layer's output is a given constant, what changes with one of them has come straight
    from there, through activations, normalisations and reshapes alone. What the layers would put
    out is not computed, so that kernels need no values (see ``hollowed``).

    Args:
        module: the network. Hooks are put on it while it is called, and taken off again.
        example: a batch of inputs, given to ``forward``.
        forward: calls the module on the example and returns all of its outputs.
        kept: where the network is a smaller one, its layout: its layers put out what is kept of the
            dense network's outputs.

    Attributes:
        layers: linear layers and convolutions by the names of their weights, in the module's
            order; several layers may share one.
        channels: normalisations and other layers with one parameter a channel, likewise.
    """

    def __init__(
        self, module: nn.Module, example: Any, forward: Forward, kept: Layout | None = None
    ) -> None:
        self.module, self.example, self._forward = module, example, forward
        self._kept = kept
        self.layers: dict[str, list[Any]] = {}
        self.channels: dict[str, list[Any]] = {}
        self._others: list[nn.Module] = []
        self._patterns: dict[tuple[int, torch.Size], Tensor] = {}
        names = {id(param): name for name, param in module.named_parameters()}
        for layer in module.modules():
            own = dict(layer.named_parameters(recurse=False))
            name = names.get(id(own.get("weight")), "")
            if name and is_kernel_layer(layer):
                self.layers.setdefault(name, []).append(layer)
            elif (
                name and feature_dim(layer) is not None and getattr(layer, "num_parameters", 0) != 1
            ):
                self.channels.setdefault(name, []).append(layer)
            elif any(param.dim() >= 2 for param in own.values()) or is_parametrized(layer):
                self._others.append(layer)

    def run(self, rows: Rows, default: float = 0.0, example: Any = None) -> Seen:
        """One forward pass.

        Args:
            rows: what the units of these layers put out, times a fixed random pattern over batch
                and positions; all other layers put out ``default`` times their pattern.
            default: see ``rows``.
            example: instead of the probe's own.
        """
        seen = Seen()
        inputs: dict[str, list[Tensor]] = {}
        calls = 0

        def look(name: str) -> Callable[..., None]:
            def hook(layer: nn.Module, args: Any, kwargs: Any) -> None:
                inputs.setdefault(name, []).append(_columns(layer, next(_tensors([args, kwargs]))))

            return hook

        def look_aside(layer: nn.Module, args: Any, kwargs: Any) -> None:
            seen.others += [tensor.detach().clone() for tensor in _tensors([args, kwargs])]

        def replace(name: str) -> Callable[..., Tensor]:
            def hook(layer: nn.Module, _: Any, output: Tensor) -> Tensor:
                nonlocal calls
                calls += 1
                if name not in seen.called:
                    seen.called.append(name)
                return self._output(calls, name, rows.get(name), default, output)

            return hook

        hooks = [
            layer.register_forward_pre_hook(look(name), with_kwargs=True)
            for name, layers in [*self.layers.items(), *self.channels.items()]
            for layer in layers
        ]
        hooks += [
            layer.register_forward_hook(replace(name))
            for name, layers in self.layers.items()
            for layer in layers
        ]
        hooks += [
            layer.register_forward_pre_hook(look_aside, with_kwargs=True) for layer in self._others
        ]
        try:
            batch = self.example if example is None else example
            with uncomputed(self.module):
                seen.outputs = outputs(self.module, batch, self._forward)
        finally:
            for handle in hooks:
                handle.remove()
        seen.inputs = {name: torch.cat(parts) for name, parts in inputs.items()}
        return seen

    def of(self, module: nn.Module, kept: Layout) -> Probe:
        """The same of the smaller network that a layout leaves."""
        return Probe(module, self.example, self._forward, kept)

    def _output(
        self, call: int, name: str, row: Tensor | None, default: float, computed: Tensor
    ) -> Tensor:
        """What a layer puts out instead of what it has computed."""
        dim = feature_dim(self.layers[name][0])
        assert dim is not None
        shape, kept = list(computed.shape), None
        if self._kept is not None and name in self._kept.kept:
            shape[dim], kept = self._kept.dense[name][0], self._kept.kept[name][0]
        values = self._pattern(call, torch.Size(shape)).to(computed)
        if row is None:
            values = values * default
        else:
            values = (values.movedim(dim, -1) * row.to(computed)).movedim(-1, dim)
        return values if kept is None else values.index_select(dim, kept.to(values.device))

    def _pattern(self, call: int, shape: torch.Size) -> Tensor:
        """Positive and different at each place, the same in every pass."""
        if (call, shape) not in self._patterns:
            generator = torch.Generator().manual_seed(call)
            pattern = 0.5 + torch.rand(shape, generator=generator, dtype=torch.float64)
            self._patterns[call, shape] = pattern
        return self._patterns[call, shape]


def groups(units: int) -> Iterator[Tensor]:
    """Sets of units (boolean) by which each is told from each other: by the bits of its number.

    For each bit, from the lowest on, those in whose number it is set, and those where it is not.
    """
    number = torch.arange(units)
    for bit in range(max(1, (units - 1).bit_length())):
        is_set = (number >> bit) % 2 == 1
        yield is_set
        yield ~is_set


def differing(first: Tensor, second: Tensor) -> Tensor:
    """The columns in which two inputs of a layer differ by more than rounding, shape (columns,)."""
    if first.shape != second.shape:  # their number depends on values: all of them do
        return torch.ones(second.shape[-1], dtype=torch.bool)
    if torch.equal(first, second):
        return torch.zeros(second.shape[-1], dtype=torch.bool)
    tolerance = 64 * torch.finfo(first.dtype).eps * first.abs() if first.is_floating_point() else 0
    same = (first == second) | ((first - second).abs() <= tolerance)
    return ~(same | (first.isnan() & second.isnan())).all(0).cpu()


def aside(first: Seen, second: Seen) -> bool:
    """Whether anything else differs: outputs, or inputs of layers that are not followed."""
    pairs = [(first.outputs, second.outputs), (first.others, second.others)]
    return any(
        len(have) != len(want)
        or any(
            bool(differing(a.reshape(1, -1), b.reshape(1, -1)).any())
            for a, b in zip(have, want, strict=True)
        )
        for have, want in pairs
    )


def check_traceable(module: nn.Module) -> None:
    """Raise for networks that can't be copied and called.

    Raises:
        ValueError: parameters without a shape yet, or weights that hooks compute.
    """
    for prefix, layer in module.named_modules():
        own = dict(layer.named_parameters(recurse=False))
        if any(is_lazy(param) for param in own.values()):
            raise ValueError(
                f"{type(layer).__name__} {prefix!r} has no shape yet: call the module once before"
            )
        if {"weight_g", "weight_v"} <= own.keys():
            raise ValueError(
                f"{type(layer).__name__} {prefix!r} has weight normalisation, which can't be"
                " traced; take it off first (torch.nn.utils.remove_weight_norm)"
            )


def _columns(layer: nn.Module, values: Tensor) -> Tensor:
    dim = feature_dim(layer)
    assert dim is not None
    values = values.detach()
    return values.movedim(dim, -1).reshape(-1, values.shape[dim]).clone()


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for entry in value.values():
            yield from _tensors(entry)
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from _tensors(entry)
