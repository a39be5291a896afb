"""Sizes, counted from tensors, and the work of a forward pass, counted while it runs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd


@dataclass(frozen=True)
class Size:
    """How large a network is, and how much of it is zero.

    Attributes:
        parameters: entries of all parameters, biases counted.
        nonzero: those of them that are not zero.
        weights: entries of kernels alone: parameters of two or more dimensions.
        weights_nonzero: those of them that are not zero.
        layers: the share of zeros in each kernel, in [0, 1], by parameter name.
    """

    parameters: int
    nonzero: int
    weights: int
    weights_nonzero: int
    layers: dict[str, float]

    @property
    def sparsity(self) -> float:
        """1 - nonzero / parameters, in [0, 1]; 0 for a network without parameters."""
        return _zero_share(self.nonzero, self.parameters)

    @property
    def weight_sparsity(self) -> float:
        """The literature's figure: the same of kernels alone."""
        return _zero_share(self.weights_nonzero, self.weights)

    @property
    def compression(self) -> float:
        """parameters / nonzero, at least 1; infinite when nothing is left."""
        return self.parameters / self.nonzero if self.nonzero else float("inf")


def size(params: Mapping[str, Tensor]) -> Size:
    """Count the entries and the non-zero entries of ``params``; NaN counts as non-zero."""
    nonzero = {name: int(torch.count_nonzero(param)) for name, param in params.items()}
    kernels = [name for name, param in params.items() if param.dim() >= 2]
    return Size(
        parameters=sum(param.numel() for param in params.values()),
        nonzero=sum(nonzero.values()),
        weights=sum(params[name].numel() for name in kernels),
        weights_nonzero=sum(nonzero[name] for name in kernels),
        layers={name: _zero_share(nonzero[name], params[name].numel()) for name in kernels},
    )


@dataclass(frozen=True)
class Cost:
    """What one forward pass of one sample takes.

    Attributes:
        macs: multiply-accumulates of linear layers, convolutions and recurrent layers as they
            are stored, zeros included, padding included, biases not. A layer that is called
            twice counts twice.
        macs_nonzero: those of them whose weight is not zero: what a kernel that skips zeros
            would need.
        parameter_bytes: storage of all parameters, zeros included, shared ones counted once.
    """

    macs: int
    macs_nonzero: int
    parameter_bytes: int


def cost(
    module: nn.Module, example: Any, forward: Callable[[nn.Module, Any], Tensor | Sequence[Tensor]]
) -> Cost:
    """Count the multiply-accumulates of one sample's forward pass, and the bytes of parameters.

    Counted are ``nn.Linear``, convolutions (not transposed ones) and ``nn.RNN``, ``nn.LSTM`` and
    ``nn.GRU``. Activations, normalisations, embeddings and products of bare parameters are not.

    Args:
        module: the network; it is copied, and run in eval mode.
        example: a batch of inputs, given to ``forward``: a tensor, or a mapping or sequence of
            tensors, whose first dimension is the batch.
        forward: calls the module on the example.

    Raises:
        ValueError: the example holds no tensor with a batch in it.
    """
    batch = _batch_size(example)
    if not batch:
        raise ValueError("the example holds no tensor whose first dimension is a batch")
    counted = {"macs": 0, "nonzero": 0}

    def count(layer: nn.Module, _: Any, output: Any) -> None:
        if isinstance(layer, nn.RNNBase):
            values, features = output[0], output[0].shape[-1]
        else:
            values, features = output, next(iter(layer.parameters())).shape[0]
        kernels = [param for param in layer.parameters() if param.dim() >= 2]
        positions = values.numel() // features  # that each weight is applied at
        counted["macs"] += positions * sum(kernel.numel() for kernel in kernels)
        counted["nonzero"] += positions * sum(int(kernel.count_nonzero()) for kernel in kernels)

    measured = copy.deepcopy(module).eval()
    for layer in measured.modules():
        if isinstance(layer, (nn.Linear, nn.RNNBase)) or (
            isinstance(layer, _ConvNd) and not isinstance(layer, _ConvTransposeNd)
        ):
            layer.register_forward_hook(count)
    with torch.no_grad():
        forward(measured, example)
    return Cost(
        macs=counted["macs"] // batch,
        macs_nonzero=counted["nonzero"] // batch,
        parameter_bytes=sum(param.numel() * param.element_size() for param in module.parameters()),
    )


def _batch_size(example: Any) -> int:
    """The first dimension of the first tensor in it; 0 if there is none."""
    if isinstance(example, Tensor):
        return example.shape[0] if example.dim() else 0
    if isinstance(example, Mapping):
        example = list(example.values())
    if isinstance(example, Sequence) and not isinstance(example, str):
        return next(filter(None, map(_batch_size, example)), 0)
    return 0


def _zero_share(nonzero: int, total: int) -> float:
    return 1.0 - nonzero / total if total else 0.0
