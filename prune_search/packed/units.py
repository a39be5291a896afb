"""Hidden units may change places: which layers have such, and the order that packs best."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from prune_search.compression.coding.matrices import row_order
from prune_search.policy.description import PolicyDescription
from prune_search.policy.layers import (
    LSTM,
    Activation,
    Convolution,
    Dense,
    Flatten,
    Layer,
    LayerNorm,
)

Order = NDArray[np.intp]


def free_layers(policy: PolicyDescription) -> dict[int, int]:
    """Layers whose outputs may be permuted, and for each the layer that reads them.

    Those between which and the next layer with weights there is nothing that knows one output from
    another.
    """
    found: dict[int, int] = {}
    last: int | None = None
    for place, layer in enumerate(policy.layers):
        if isinstance(layer, Dense | Convolution | LSTM):
            if last is not None:
                found[last] = place
            last = None if isinstance(layer, LSTM) else place
        elif not isinstance(layer, Activation | Flatten | LayerNorm):
            last = None
    return found


def arranged(policy: PolicyDescription) -> PolicyDescription:
    """The same policy with the hidden units of each layer in the order of `row_order`."""
    layers = list(policy.layers)
    for place, reader in free_layers(policy).items():
        layer = layers[place]
        assert isinstance(layer, Dense | Convolution)
        kept = (layer.weight != 0).reshape(len(layer.weight), -1).astype(np.int32)
        order = row_order(kept)
        bias = None if layer.bias is None else layer.bias[order]
        layers[place] = replace(layer, weight=layer.weight[order], bias=bias)
        for between in range(place + 1, reader):
            layers[between] = _permuted(layers[between], order)
        layers[reader] = _reading(layers[reader], order)
    return replace(policy, layers=tuple(layers))


def _permuted(layer: Layer, order: Order) -> Layer:
    if isinstance(layer, LayerNorm):
        # Behind Flatten there are as many features as pixels and channels.
        places = _repeated(order, len(layer.scale))
        return replace(layer, scale=layer.scale[places], shift=layer.shift[places])
    return layer


def _reading(layer: Layer, order: Order) -> Layer:
    if isinstance(layer, LSTM):
        places = _repeated(order, layer.input_weight.shape[1])
        return replace(layer, input_weight=layer.input_weight[:, places])
    assert isinstance(layer, Dense | Convolution)
    places = _repeated(order, layer.weight.shape[1])
    return replace(layer, weight=layer.weight[:, places])


def _repeated(order: Order, features: int) -> Order:
    """The order of features in which units lie beside one another, pixel by pixel."""
    pixels = np.arange(features // len(order))
    return (pixels[:, None] * len(order) + order).ravel()
