"""Tensors of few values: what they are made of, and what every method of making them needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Floats: TypeAlias = "NDArray[np.float32]"
Symbols: TypeAlias = "NDArray[np.int32]"

FEWEST_BITS, MOST_BITS = 2, 8
"""Of a weight's code."""


class Quantized(Protocol):
    """A group of tensors of few values.

    All that is needed to have the values again is in ``symbols`` and ``floats``; a method's
    ``read`` makes the same of them.
    """

    @property
    def symbols(self) -> tuple[Symbols, ...]:
        """Each tensor's codes, of its shape, 0 or more; 0 stands for the weight 0.0 alone."""

    @property
    def floats(self) -> Floats:
        """The numbers that codes refer to, each a float16's value, shape (count,)."""

    def values(self) -> list[Floats]:
        """The tensors."""


class Held(Protocol):
    """Parameters that keep few values while an optimizer trains them; see ``Holding``."""

    def before_step(self) -> None:
        """The gradients are there; the optimizer is about to use them."""

    def after_step(self) -> None:
        """The optimizer has changed the parameters."""

    def quantized(self) -> Quantized:
        """What the parameters are now."""

    def state_dict(self) -> dict[str, Any]:
        """What it needs, beside the parameters, to go on."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what ``state_dict`` gave."""


def check_bits(bits: int) -> None:
    """
    Raises:
        ValueError: bits out of range.
    """
    if not FEWEST_BITS <= bits <= MOST_BITS:
        raise ValueError(f"bits must be {FEWEST_BITS} to {MOST_BITS}, not {bits}")


def checked(tensors: Sequence[NDArray[np.floating[Any]]]) -> list[Floats]:
    """The tensors as float32.

    Raises:
        ValueError: a value is not finite, or so large that no float16 comes near it.
    """
    found = [np.asarray(tensor, np.float32) for tensor in tensors]
    for tensor in found:
        if not np.isfinite(tensor).all():
            raise ValueError("weights that are not finite can't be quantized")
        if tensor.size and np.abs(tensor).max() > np.finfo(np.float16).max:
            raise ValueError("weights above 65,504, float16's largest, can't be quantized")
    return found


def storable(values: NDArray[np.floating[Any]]) -> Floats:
    """The nearest values that a file holds: float16's, as float32."""
    return np.asarray(values, np.float16).astype(np.float32)


def arrays(parameters: Sequence[Tensor]) -> list[NDArray[Any]]:
    """The values of torch's tensors."""
    return [parameter.detach().cpu().numpy() for parameter in parameters]


def copy_(parameters: Sequence[Tensor], values: Sequence[Floats]) -> None:
    """Sets torch's parameters to values."""
    import torch

    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(torch.from_numpy(value))
