"""A described policy as a plain torch module: observations in, actions out; no RLlib, no Ray."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from prune_search.policy.actions import Choice, Continuous
from prune_search.policy.arrays import Array
from prune_search.policy.description import PolicyDescription
from prune_search.policy.layers import (
    LSTM,
    Activation,
    ChannelsLast,
    Convolution,
    Dense,
    Encoding,
    Expectation,
    Flatten,
    FrameStack,
    Layer,
    LayerNorm,
    Normalisation,
    Numbers,
    Scaling,
)

_FUNCTIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
}


class TorchPolicy(nn.Module):
    """Computes what `reference.act` does; the arguments and results are the same.

    States are an argument and a result only where there is a state, noise only where actions are
    sampled: `policy(observations)` is all for most policies.
    """

    def __init__(self, policy: PolicyDescription) -> None:
        super().__init__()
        self.steps = nn.ModuleList([_module(step) for step in policy.steps])
        self._sizes = policy.state_sizes
        self._stateful = policy.state_size > 0
        self.action: nn.Module = (
            _Choose(policy.action) if isinstance(policy.action, Choice) else _BringIn(policy.action)
        )

    def forward(self, observations: Tensor, *others: Tensor) -> Any:
        """Actions [rows, ...], or those and states.

        Args:
            observations: float32 [rows, *observation_shape].
            others: states [rows, state_size], where there are any; noise [rows, noise_size],
                likewise.
        """
        state = others[0] if self._stateful else None
        x, kept, begin = observations, [], 0
        for step, size in zip(self.steps, self._sizes, strict=True):
            if size and state is not None:
                x, after = step(x, state[:, begin : begin + size])
                kept.append(after)
                begin += size
            else:
                x = step(x)
        actions = self.action(x, *others[self._stateful :])
        return (actions, torch.cat(kept, 1)) if self._stateful else actions


class _Function(nn.Module):
    """A function of one array, with constants beside it."""

    def __init__(self, function: Callable[..., Tensor], *constants: Array) -> None:
        super().__init__()
        self._function, self._count = function, len(constants)
        for number, constant in enumerate(constants):
            self.register_buffer(f"constant{number}", tensor(constant))

    def forward(self, x: Tensor) -> Tensor:
        constants = [getattr(self, f"constant{number}") for number in range(self._count)]
        return self._function(x, *constants)


def tensor(array: Array) -> Tensor:
    """A copy as a tensor."""
    return torch.from_numpy(array.copy())


@singledispatch
def _module(layer: Layer) -> nn.Module:
    raise TypeError(f"there is no torch module for {type(layer).__name__}")


@_module.register
def _dense(layer: Dense) -> nn.Module:
    outputs, inputs = layer.weight.shape
    made = _empty(nn.Linear, inputs, outputs, bias=layer.bias is not None)
    return _filled(made, layer.weight, layer.bias)


@_module.register
def _convolution(layer: Convolution) -> nn.Module:
    return _Convolution(layer)


@_module.register
def _activation(layer: Activation) -> nn.Module:
    return _FUNCTIONS[layer.function]()


@_module.register
def _flatten(layer: Flatten) -> nn.Module:
    return nn.Flatten()


@_module.register
def _layer_norm(layer: LayerNorm) -> nn.Module:
    made = nn.LayerNorm(len(layer.scale), eps=layer.epsilon)
    return _filled(made, layer.scale, layer.shift)


@_module.register
def _expectation(layer: Expectation) -> nn.Module:
    def mean(x: Tensor, support: Tensor) -> Tensor:
        atoms = len(support)
        return x.reshape(-1, x.shape[1] // atoms, atoms).softmax(-1) @ support

    return _Function(mean, layer.support)


@_module.register
def _encoding(layer: Encoding) -> nn.Module:
    def encode(x: Tensor) -> Tensor:
        columns, at = [], 0
        x = x.flatten(1)
        for part in layer.parts:
            taken = x[:, at : at + part.given]
            if not isinstance(part, Numbers):
                known = torch.arange(part.first, part.first + part.categories, device=x.device)
                taken = (taken == known).to(x.dtype)
            columns.append(taken)
            at += part.given
        return torch.cat(columns, 1)

    return _Function(encode)


@_module.register
def _channels_last(layer: ChannelsLast) -> nn.Module:
    return _Function(lambda x: x.movedim(1, -1).flatten(3))


@_module.register
def _scaling(layer: Scaling) -> nn.Module:
    return _Function(lambda x: x * layer.factor + layer.offset)


@_module.register
def _normalisation(layer: Normalisation) -> nn.Module:
    def normalise(x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
        scaled = (x - mean) / deviation
        return scaled if layer.limit is None else scaled.clamp(-layer.limit, layer.limit)

    return _Function(normalise, layer.mean, layer.deviation)


@_module.register
def _frames(layer: FrameStack) -> nn.Module:
    return _Frames(layer.frames)


@_module.register
def _cell(layer: LSTM) -> nn.Module:
    return _Cell(layer)


class _Convolution(nn.Module):
    def __init__(self, layer: Convolution) -> None:
        super().__init__()
        filters, channels, height, width = layer.weight.shape
        made = _empty(
            nn.Conv2d,
            channels,
            filters,
            (height, width),
            layer.stride,
            bias=layer.bias is not None,
        )
        self.convolution = _filled(made, layer.weight, layer.bias)
        top, bottom, left, right = layer.padding
        self._padding = [left, right, top, bottom]

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 3, 1, 2)
        if any(self._padding):
            x = functional.pad(x, self._padding)
        found: Tensor = self.convolution(x)
        return found.permute(0, 2, 3, 1)


class _Frames(nn.Module):
    def __init__(self, frames: int) -> None:
        super().__init__()
        self._frames = frames

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        size = x.shape[1] * x.shape[2]
        frames = torch.cat([state, x.flatten(1)], 1)
        stacked = frames.view(-1, self._frames, x.shape[1], x.shape[2]).permute(0, 2, 3, 1)
        return stacked, frames[:, size:]


class _Cell(nn.Module):
    def __init__(self, layer: LSTM) -> None:
        super().__init__()
        self._units = layer.units
        self.cell = nn.LSTMCell(layer.input_weight.shape[1], layer.units)
        held = [layer.input_weight, layer.recurrent_weight, layer.bias, 0 * layer.bias]
        with torch.no_grad():
            for parameter, array in zip(self.cell.parameters(), held, strict=True):
                parameter.copy_(tensor(array))

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        hidden, memory = self.cell(x, (state[:, : self._units], state[:, self._units :]))
        return hidden, torch.cat([hidden, memory], 1)


class _Choose(nn.Module):
    first: Tensor

    def __init__(self, action: Choice) -> None:
        super().__init__()
        self._sizes, self._single = list(action.sizes), action.single
        self.register_buffer("first", torch.tensor(action.first))

    def forward(self, given: Tensor, noise: Tensor | None = None) -> Tensor:
        given = given if noise is None else given + noise
        # One group is not split: LiteRT's converter fails at it.
        whole = len(self._sizes) == 1
        groups: Sequence[Tensor] = [given] if whole else torch.split(given, self._sizes, 1)
        chosen = torch.stack([group.argmax(1) for group in groups], 1) + self.first
        return chosen[:, 0] if self._single else chosen


class _BringIn(nn.Module):
    low: Tensor
    high: Tensor
    log: Tensor | None

    def __init__(self, action: Continuous) -> None:
        super().__init__()
        self._bounds, self._size, self._sampling = action.bounds, action.size, action.sampling
        self.register_buffer("low", tensor(action.low))
        self.register_buffer("high", tensor(action.high))
        given = action.sampling.log_deviation if action.sampling else None
        self.register_buffer("log", None if given is None else tensor(given))

    def forward(self, given: Tensor, noise: Tensor | None = None) -> Tensor:
        found = given[:, : self._size]
        if self._sampling is not None and noise is not None:
            log = given[:, self._size :] if self.log is None else self.log
            if self._sampling.limits is not None:
                log = log.clamp(*self._sampling.limits)
            found = found + log.exp() * noise
            found = found.tanh() if self._sampling.squashed else found
        if self._bounds == "scale":
            found = self.low + (found + 1) * (self.high - self.low) / 2
        return found if self._bounds == "none" else found.clamp(self.low, self.high)


def _empty(kind: type[nn.Module], *sizes: Any, bias: bool) -> nn.Module:
    """A layer that has no values yet, for which no random numbers were drawn."""
    made: nn.Module = nn.utils.skip_init(kind, *sizes, bias=bias)  # type: ignore[no-untyped-call]
    return made


@torch.no_grad()
def _filled(layer: Any, weight: Array, bias: Array | None) -> nn.Module:
    layer.weight.copy_(tensor(weight))
    if bias is not None:
        layer.bias.copy_(tensor(bias))
    return layer  # type: ignore[no-any-return]
