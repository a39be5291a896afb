"""Uniform integers: weights are whole multiples of a scale, one for each output of a layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from prune_search.compression.quantized import (
    Floats,
    Symbols,
    arrays,
    check_bits,
    checked,
    copy_,
    storable,
)

if TYPE_CHECKING:
    from torch import Tensor

_SMALLEST = np.float32(2.0**-24)  # of float16


@dataclass(frozen=True, eq=False)
class Uniform:
    """Tensors of whole multiples of scales.

    Attributes:
        symbols: as ``Quantized`` has them: 0, 1, 2, 3, 4, ... for 0, 1, -1, 2, -2, ...
        floats: the scales: of each row (index of the first dimension) of a tensor of two
            dimensions or more, and one of each that has fewer, one tensor after the other.

    Raises:
        ValueError: there are more or fewer scales.
    """

    symbols: tuple[Symbols, ...]
    floats: Floats

    def __post_init__(self) -> None:
        if sum(map(_channels, self.symbols)) != len(self.floats):
            raise ValueError("not as many scales as the tensors have rows")

    @property
    def integers(self) -> list[Symbols]:
        """The whole numbers, in [-(2^(bits-1) - 1), 2^(bits-1) - 1]."""
        return [(code + 1) // 2 * np.where(code % 2, 1, -1) for code in self.symbols]

    @property
    def scales(self) -> list[Floats]:
        """Each tensor's, in a shape that its integers can be multiplied by."""
        ends = np.cumsum([_channels(one) for one in self.symbols])[:-1]
        parts = np.split(self.floats, ends)
        return [
            part.reshape(-1, *[1] * max(one.ndim - 1, 0))
            for part, one in zip(parts, self.symbols, strict=True)
        ]

    def values(self) -> list[Floats]:
        return [
            np.asarray(integer * scale, np.float32)
            for integer, scale in zip(self.integers, self.scales, strict=True)
        ]


def quantize(tensors: Sequence[NDArray[np.floating[Any]]], bits: int) -> Uniform:
    """Symmetric integers, a scale per output channel (Jacob et al. 2018; Krishnamoorthi 2018, 3.1).

    round(w / s) with s = max |w| / (2^(bits-1) - 1), so that zero is zero, and 2 bits give -1, 0
    and 1. Tensors of fewer than two dimensions are biases: few, and added to sums of many
    products, so these have 8 bits, whatever the others have, and one scale for all.

    Args:
        tensors: parameters whose first dimension is the layer's outputs.
        bits: 2 to 8.

    Raises:
        ValueError: bits out of range, or a weight that ``checked`` refuses.
    """
    return _quantized(tensors, bits, _scales)


def quantize_once(tensors: Sequence[NDArray[np.floating[Any]]], bits: int) -> Uniform:
    """As ``quantize``, but weights that it has made before stay what they are.

    Their scale is that of a row's largest weight, which may have gone since, with a unit that was
    superfluous.

    Raises:
        ValueError: as ``quantize``.
    """
    return _quantized(tensors, bits, _scales_of_before)


def _quantized(
    tensors: Sequence[NDArray[np.floating[Any]]],
    bits: int,
    scales: Callable[[Floats, int], Floats],
) -> Uniform:
    check_bits(bits)
    symbols, floats = [], []
    for tensor in checked(tensors):
        most = 2 ** ((bits if tensor.ndim >= 2 else 8) - 1) - 1
        rows = tensor.reshape(_channels(tensor), -1)
        scale = scales(rows, most)
        integers = np.clip(np.rint(rows / scale[:, None]), -most, most).astype(np.int32)
        codes = 2 * np.abs(integers) - (integers > 0)
        symbols.append(codes.reshape(tensor.shape))
        floats.append(scale)
    return Uniform(tuple(symbols), np.concatenate(floats or [np.zeros(0, np.float32)]))


def _scales(rows: Floats, most: int) -> Floats:
    """With which each row's largest weight is the largest integer, or near it."""
    largest = np.abs(rows).max(axis=1, initial=0.0)
    return np.maximum(storable(largest / most), _SMALLEST)


def _scales_of_before(rows: Floats, most: int) -> Floats:
    """Those that rows are whole multiples of already; of others, `_scales`."""
    found = _scales(rows, most)
    others = np.arange(len(rows))
    for integer in range(most, 0, -1):  # what the largest weight that is left may be
        scale = _scales(rows[others], integer)
        multiples = np.rint(rows[others] / scale[:, None])
        exact = (multiples * scale[:, None] == rows[others]).all(axis=1)
        exact &= np.abs(multiples).max(axis=1, initial=0.0) <= most
        found[others[exact]] = scale[exact]
        others = others[~exact]
        if not len(others):
            break
    return found


class HeldUniform:
    """The network computes with quantized weights, and steps move the ones that they stand for.

    The gradient at the quantized weights is taken for that at the others: the straight-through
    estimator (Bengio et al. 2013; Jacob et al. 2018, section 3).
    """

    def __init__(self, parameters: Sequence[Tensor], bits: int) -> None:
        self._parameters, self._bits = list(parameters), bits
        self._latent: list[Tensor] = []
        self.after_step()

    def before_step(self) -> None:
        for parameter, latent in zip(self._parameters, self._latent, strict=True):
            parameter.data.copy_(latent)

    def after_step(self) -> None:
        self._latent = [parameter.detach().clone() for parameter in self._parameters]
        copy_(self._parameters, self.quantized().values())

    def quantized(self) -> Uniform:
        return quantize(arrays(self._latent), self._bits)

    def state_dict(self) -> dict[str, Any]:
        return {"latent": [latent.cpu() for latent in self._latent]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._latent = [
            latent.to(parameter.device)
            for latent, parameter in zip(state["latent"], self._parameters, strict=True)
        ]


def _channels(tensor: NDArray[Any]) -> int:
    return tensor.shape[0] if tensor.ndim >= 2 else 1
