"""Networks without their large weights: what is measured with replaced outputs needs shapes alone.

A linear layer of 4096 x 4096 is then traced as quickly as one of 64 x 64. Convolutions' kernels are
small, and their outputs' shapes no matter of two lines: they are computed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from prune_search.sparsity.structure.layers import is_kernel_layer


def hollowed(module: nn.Module) -> nn.Module:
    """A copy whose linear layers have weights of a shape alone.

    They lie on torch's ``meta`` device, so that whatever asks for their values raises.
    """
    memo: dict[int, Any] = {}
    for layer in _linear(module):
        shape = torch.empty_like(layer.weight, device="meta")
        memo[id(layer.weight)] = nn.Parameter(shape, layer.weight.requires_grad)
    return copy.deepcopy(module, memo)


def is_hollow(module: nn.Module) -> bool:
    """Whether any parameter has no values."""
    return any(param.is_meta for param in module.parameters())


@contextmanager
def uncomputed(module: nn.Module) -> Iterator[None]:
    """Meanwhile linear layers give zeros, of the shape that they would give.

    Those whose forward pass is not torch's own compute as ever.
    """
    changed = _linear(module)
    for layer in changed:
        layer.forward = _zeros_of(layer)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        for layer in changed:
            del layer.forward


def _linear(module: nn.Module) -> list[nn.Linear]:
    return [
        layer
        for layer in module.modules()
        if isinstance(layer, nn.Linear)
        and is_kernel_layer(layer)
        and type(layer).forward is nn.Linear.forward
        and "forward" not in vars(layer)
    ]


def _zeros_of(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    def forward(input: Tensor) -> Tensor:  # the argument's name is torch's
        units, columns = layer.weight.shape
        if input.shape[-1] != columns:
            raise RuntimeError(f"inputs of shape {tuple(input.shape)} for {columns} columns")
        return input.new_zeros((*input.shape[:-1], units))

    return forward
