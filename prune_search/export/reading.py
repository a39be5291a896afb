"""The layers of RLlib's default networks, read one after another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from ray.rllib.core.models.torch.encoder import (
    TorchCNNEncoder,
    TorchLSTMEncoder,
    TorchMLPEncoder,
)
from ray.rllib.core.models.torch.heads import TorchFreeLogStdMLPHead, TorchMLPHead
from ray.rllib.core.models.torch.primitives import TorchCNN, TorchMLP
from ray.rllib.core.rl_module.rl_module import RLModule
from torch import Tensor, nn

from prune_search.export.refusing import cannot
from prune_search.policy.arrays import Array
from prune_search.policy.layers import (
    LSTM,
    Activation,
    Convolution,
    Dense,
    Flatten,
    Function,
    Layer,
    LayerNorm,
)

_FUNCTIONS: dict[type[nn.Module], Function] = {
    nn.ReLU: "relu",
    nn.Tanh: "tanh",
    nn.SiLU: "silu",
    nn.Sigmoid: "sigmoid",
}
_NOTHING = (nn.Identity, nn.Dropout)  # as policies act


def network_layers(module: RLModule, notes: list[str]) -> tuple[list[Layer], bool]:
    """What lies between a network's input and its actions' distribution.

    Args:
        module: the network.
        notes: what was left out of it is added.

    Returns:
        The layers; and whether continuous actions' means are all that they give.

    Raises:
        UserError: there is a part that has no description.
    """
    encoder, head = acting_parts(module)
    if hasattr(module, "af") and getattr(module, "uses_dueling", False):
        notes.append("the value head is left out: it adds the same to each action")
    if not isinstance(head, TorchMLPHead | TorchFreeLogStdMLPHead):
        raise cannot(f"the head {type(head).__name__} of {type(module).__name__}")
    return [*_encoder(encoder), *_head(head)], isinstance(head, TorchFreeLogStdMLPHead)


def acting_parts(module: RLModule) -> tuple[Any, Any]:
    """The encoder that acts and the head behind it, by the names that RLlib's classes have.

    Raises:
        UserError: it has others.
    """
    for encoder, head in (("pi_encoder", "pi"), ("_encoder", "_pi_head"), ("encoder", "af")):
        if hasattr(module, encoder) and hasattr(module, head):
            return getattr(module, encoder), getattr(module, head)
    if hasattr(module, "encoder") and hasattr(module, "pi"):
        both = module.encoder
        return getattr(both, "actor_encoder", None) or getattr(both, "encoder", both), module.pi
    raise cannot(f"the network class {type(module).__name__}, which is not one of RLlib's default")


def _encoder(encoder: Any) -> Iterator[Layer]:
    if isinstance(encoder, TorchMLPEncoder | TorchCNNEncoder):
        yield from _layers(encoder.net)
    elif isinstance(encoder, TorchLSTMEncoder):
        if encoder.tokenizer is not None:
            yield from _encoder(encoder.tokenizer)
        yield from _cells(encoder.lstm)
    else:
        raise cannot(f"the encoder {type(encoder).__name__}")


def _head(head: Any) -> Iterator[Layer]:
    yield from _layers(head.net)


def _layers(network: nn.Module) -> Iterator[Layer]:
    """Of what is called one after another."""
    padding = (0, 0, 0, 0)
    for layer in _leaves(network):
        if isinstance(layer, nn.ZeroPad2d):
            left, right, top, bottom = (int(size) for size in layer.padding)
            padding = (top, bottom, left, right)
        elif isinstance(layer, nn.Conv2d):
            yield _convolution(layer, padding)
            padding = (0, 0, 0, 0)
        else:
            yield from _layer(layer)


def _leaves(network: nn.Module) -> Iterator[nn.Module]:
    if isinstance(network, TorchMLP):
        yield from _leaves(network.mlp)
    elif isinstance(network, TorchCNN):
        yield from _leaves(network.cnn)
    elif isinstance(network, nn.Sequential):
        for part in network:
            yield from _leaves(part)
    else:
        yield network


def _layer(layer: nn.Module) -> Iterator[Layer]:
    inner = getattr(layer, "layer_norm", None)  # RLlib's, of an image's channels
    if isinstance(inner, nn.LayerNorm):
        layer = inner
    if isinstance(layer, nn.Linear):
        yield Dense(_array(layer.weight), _bias(layer))
    elif isinstance(layer, nn.LayerNorm) and len(layer.normalized_shape) == 1:
        size = layer.normalized_shape
        scale = np.ones(size) if layer.weight is None else _array(layer.weight)
        shift = np.zeros(size) if layer.bias is None else _array(layer.bias)
        yield LayerNorm(scale, shift, float(layer.eps))
    elif isinstance(layer, nn.Flatten) and layer.start_dim == 1:
        yield Flatten()
    elif type(layer) in _FUNCTIONS:
        yield Activation(_FUNCTIONS[type(layer)])
    elif isinstance(layer, nn.ELU) and layer.alpha == 1:
        yield Activation("elu")
    elif isinstance(layer, nn.GELU) and layer.approximate == "none":
        yield Activation("gelu")
    elif not isinstance(layer, _NOTHING):
        raise cannot(f"the layer {layer}")


def _convolution(layer: nn.Conv2d, outside: tuple[int, int, int, int]) -> Convolution:
    plain = layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros"
    if not plain or isinstance(layer.padding, str):
        raise cannot(f"the layer {layer}")
    rows, columns = layer.padding
    top, bottom, left, right = outside
    return Convolution(
        _array(layer.weight),
        _bias(layer),
        (int(layer.stride[0]), int(layer.stride[1])),
        (top + rows, bottom + rows, left + columns, right + columns),
    )


def _cells(lstm: nn.LSTM) -> Iterator[Layer]:
    if lstm.bidirectional or lstm.proj_size:
        raise cannot(f"the layer {lstm}")
    for number in range(lstm.num_layers):
        into, recurrent, *biases = lstm.all_weights[number]
        bias = sum(_array(each) for each in biases) if biases else np.zeros(len(into))
        yield LSTM(_array(into), _array(recurrent), np.asarray(bias, np.float32))


def _bias(layer: nn.Linear | nn.Conv2d) -> Array | None:
    return None if layer.bias is None else _array(layer.bias)


def _array(tensor: Tensor) -> Array:
    found: Array = tensor.detach().cpu().numpy().astype(np.float32)
    return found
