"""Which of a network's parameters are quantized together: what its layers compute with."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import NamedTuple

from torch import nn


class HeldLayers(NamedTuple):
    """What ``Holding`` takes."""

    layers: list[list[str]]
    """The names of each layer's parameters, kernels before biases."""
    added: dict[str, str]
    """Names of second biases, and of those that they are added to."""


def held_layers(
    kernels: Iterable[str], parameters: Container[str], modules: Mapping[str, nn.Module]
) -> HeldLayers:
    """Kernels beside their biases, layer by layer.

    A cell of a recurrent network is one layer, its input's and its state's kernels together. Of
    torch's two biases of an LSTM's cell, which are only ever added, one is enough; in other cells
    the two are apart.

    Args:
        kernels: names of parameters of two dimensions or more.
        parameters: the names that there are.
        modules: those that the kernels belong to, by the names in front of the last dot.
    """
    layers: dict[str, list[str]] = {}
    biases: dict[str, list[str]] = {}
    added = {}
    for kernel in kernels:
        path, dot, own = kernel.rpartition(".")
        module = modules.get(path)
        if isinstance(module, nn.RNNBase):
            cell = own.split("_", 2)[2]  # of weight_ih_l0: l0
            layer = f"{path}.{cell}"
            first, second = (f"{path}.bias_{source}_{cell}" for source in ("ih", "hh"))
            one = isinstance(module, nn.LSTM) and second in parameters
            if one:
                added[second] = first
            found = [first] if one else [first, second]
        else:
            layer = kernel
            found = [f"{path}{dot}{own.removesuffix('weight')}bias"]
        layers.setdefault(layer, []).append(kernel)
        biases[layer] = [name for name in found if name in parameters]
    return HeldLayers([names + biases[layer] for layer, names in layers.items()], added)
