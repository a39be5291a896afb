"""Sizes, counted from tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


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
    """Count the entries and the non-zero entries of ``params``; NaN counts as non-zero.

    A tensor under two names, as a tied weight in a ``state_dict``, counts once.
    """
    names = distinct(params)
    nonzero = {name: int(torch.count_nonzero(param)) for name, param in params.items()}
    kernels = [name for name, param in params.items() if param.dim() >= 2]
    return Size(
        parameters=sum(params[name].numel() for name in names),
        nonzero=sum(nonzero[name] for name in names),
        weights=sum(params[name].numel() for name in kernels if name in names),
        weights_nonzero=sum(nonzero[name] for name in kernels if name in names),
        layers={name: _zero_share(nonzero[name], params[name].numel()) for name in kernels},
    )


def distinct(params: Mapping[str, Tensor]) -> set[str]:
    """The names of ``params`` without those of a tensor that has a name before them."""
    once = {
        (param.untyped_storage().data_ptr(), param.storage_offset(), param.shape, param.stride())
        if param.numel()
        else name: name
        for name, param in reversed(list(params.items()))
    }
    return set(once.values())


def _zero_share(nonzero: int, total: int) -> float:
    return 1.0 - nonzero / total if total else 0.0
