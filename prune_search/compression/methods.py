"""Methods that leave a network's weights few values: what each is, by name; open to one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from prune_search.compression.quantization import HeldUniform, Uniform, quantize_once
from prune_search.compression.quantized import Floats, Held, Quantized, Symbols
from prune_search.compression.weight_sharing import HeldShared, Shared, share
from prune_search.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

Fit: TypeAlias = "Callable[[Sequence[NDArray[np.floating[Any]]], int], Quantized]"
Read: TypeAlias = "Callable[[tuple[Symbols, ...], Floats], Quantized]"
Hold: TypeAlias = "Callable[[Sequence[Tensor], int], Held]"


@dataclass(frozen=True)
class Method:
    """A way to leave weights few values.

    Attributes:
        name: its name in ``METHODS``.
        fit: ``fit(tensors, bits)`` finds the values of a group of tensors; zeros stay zeros.
        read: ``read(symbols, floats)`` makes of the two what ``fit`` has returned.
        hold: ``hold(parameters, bits)`` quantizes torch's parameters in place, and keeps them so
            while they are trained.
        group: whether a network's tensors are quantized together, or each layer by itself, weight
            and bias.
    """

    name: str
    fit: Fit
    read: Read
    hold: Hold
    group: Literal["layer", "network"] = "layer"

    def groups(self, layers: Sequence[Sequence[str]]) -> Iterator[list[str]]:
        """Which names go together.

        Args:
            layers: the names of each layer's tensors.
        """
        if self.group == "layer":
            yield from (list(layer) for layer in layers)
        else:
            yield [name for layer in layers for name in layer]


METHODS: Registry[Method] = Registry("quantization")


def register_method(
    name: str, *, read: Read, hold: Hold, group: Literal["layer", "network"] = "layer"
) -> Callable[[Fit], Fit]:
    """Registers a ``fit`` as a method.

    Args:
        name: its name, for files and calls.
        read, hold, group: as ``Method`` has them.

    Raises:
        ValueError: the name is taken.
    """
    return METHODS.registering(name, lambda fit: Method(name, fit, read, hold, group))


register_method("sharing", read=Shared, hold=HeldShared)(share)
# One codebook for the whole network: in a small one, codebooks are the cost.
register_method("network_sharing", read=Shared, hold=HeldShared, group="network")(share)
register_method("uniform", read=Uniform, hold=HeldUniform)(quantize_once)
METHODS.close()


def method(name: str) -> Method:
    """The method called ``name``.

    Raises:
        ValueError: there is none; the message lists the known ones.
    """
    return METHODS.find(name)
