"""Weight sharing: weights take few values, found by k-means; zeros stay zeros."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True, eq=False)
class Shared:
    """Tensors that share their values.

    Attributes:
        symbols: as ``Quantized`` has them; from 1 on, a value's place in ``floats``, plus 1.
        floats: the centroids, rising, none of them zero.

    Raises:
        ValueError: a symbol lies beyond them.
    """

    symbols: tuple[Symbols, ...]
    floats: Floats

    def __post_init__(self) -> None:
        if any(symbols.max(initial=0) > len(self.floats) for symbols in self.symbols):
            raise ValueError("a weight refers to a centroid that is not there")

    def values(self) -> list[Floats]:
        table = np.concatenate([np.zeros(1, np.float32), self.floats])
        return [table[symbols] for symbols in self.symbols]


def share(tensors: Sequence[NDArray[np.floating[Any]]], bits: int) -> Shared:
    """k-means with linear initialisation (Han et al. 2016, Deep Compression, section 3).

    Of 2^bits codes one stands for zero, so that pruned weights stay exactly that. The others stand
    for centroids of the weights that are left, at first evenly spaced between the smallest and the
    largest: weights of large magnitude are few, and matter (section 3.2). A centroid that no weight
    is near to is left out.

    Args:
        tensors: of any shapes; they share one codebook.
        bits: 2 to 8.

    Raises:
        ValueError: bits out of range, or a weight that ``checked`` refuses.
    """
    check_bits(bits)
    found = checked(tensors)
    values = np.concatenate([tensor.ravel() for tensor in found] or [np.zeros(0, np.float32)])
    kept = values[values != 0]
    centroids = np.unique(storable(_centroids(kept, 2**bits - 1)))
    centroids = centroids[centroids != 0]
    nearest = _nearest(kept, centroids)
    used, nearest = np.unique(nearest, return_inverse=True)
    codes = np.zeros(len(values), np.int32)
    codes[values != 0] = nearest + 1
    parts = np.split(codes, np.cumsum([tensor.size for tensor in found])[:-1])
    symbols = tuple(part.reshape(one.shape) for part, one in zip(parts, found, strict=True))
    return Shared(symbols, centroids[used])


class HeldShared:
    """Which weights share a centroid stays as it is; the centroids follow the loss.

    A centroid's gradient is the sum of its weights' (Han et al. 2016, Deep Compression, section
    3.3, equation 3).
    """

    def __init__(self, parameters: Sequence[Tensor], bits: int) -> None:
        self._parameters = list(parameters)
        shared = share(arrays(parameters), bits)
        self._assign(shared.symbols)
        copy_(self._parameters, shared.values())

    def before_step(self) -> None:
        import torch

        gradients = [
            torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            for parameter in self._parameters
        ]
        sums = self._sums(gradients)
        for parameter, index in zip(self._parameters, self._indices, strict=True):
            if parameter.grad is not None:
                parameter.grad.copy_(sums[index])

    def after_step(self) -> None:
        # Optimizers that treat all weights of a centroid alike, as most do, have left them equal;
        # where their moments differ at first, the centroid goes where its weights go on average.
        means = self._sums(self._parameters) / self._counts
        for parameter, index in zip(self._parameters, self._indices, strict=True):
            parameter.copy_(means[index])

    def quantized(self) -> Shared:
        held = [storable(array) for array in arrays(self._parameters)]
        distinct = np.unique(np.concatenate([array.ravel() for array in held]))
        centroids = distinct[distinct != 0]
        symbols = tuple(
            np.where(array == 0, 0, np.searchsorted(centroids, array) + 1).astype(np.int32)
            for array in held
        )
        return Shared(symbols, centroids)

    def state_dict(self) -> dict[str, Any]:
        return {"symbols": [index.cpu() for index in self._indices]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._assign(state["symbols"])

    def _assign(self, symbols: Sequence[Any]) -> None:
        import torch

        self._indices = [
            torch.as_tensor(index, dtype=torch.long, device=parameter.device)
            for index, parameter in zip(symbols, self._parameters, strict=True)
        ]
        together = torch.cat([index.flatten() for index in self._indices])
        self._counts = torch.bincount(together).clamp_min(1)

    def _sums(self, tensors: Sequence[Tensor]) -> Tensor:
        """Of each centroid's entries; zeros are held, and have none."""
        import torch

        flat = torch.cat([tensor.flatten() for tensor in tensors])
        sums = flat.new_zeros(len(self._counts))
        sums.index_add_(0, torch.cat([index.flatten() for index in self._indices]), flat)
        sums[0] = 0.0
        return sums


def _centroids(values: Floats, count: int) -> Floats:
    """Of at most ``count`` clusters, as Lloyd's algorithm finds them."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    distinct = np.unique(values)
    if len(distinct) <= count:
        return distinct
    start = np.linspace(distinct[0], distinct[-1], count)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # clusters that end up in one place
        found = KMeans(count, init=start[:, None], n_init=1).fit(values[:, None].astype(np.float64))
    return np.asarray(found.cluster_centers_[:, 0], np.float32)


def _nearest(values: Floats, centroids: Floats) -> NDArray[np.intp]:
    """The place of the nearest of rising centroids."""
    if not len(values):
        return np.zeros(0, np.intp)
    middles = (centroids[1:] + centroids[:-1]) / 2
    return np.searchsorted(middles, values)
