"""A described policy at work in NumPy: what every artifact must agree with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import singledispatch
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.special import erf, expit, softmax

from prune_search.policy.actions import Choice, Continuous, draw
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

_FUNCTIONS: dict[str, Callable[[Array], Any]] = {
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "silu": lambda x: x * expit(x),
    "sigmoid": expit,
    "gelu": lambda x: x * (1 + erf(x / np.float32(np.sqrt(2)))) / 2,
}


def act(
    policy: PolicyDescription,
    observations: NDArray[Any],
    state: Array | None = None,
    noise: Array | None = None,
) -> tuple[NDArray[Any], Array]:
    """Actions for a batch of observations.

    Args:
        policy: what to compute.
        observations: [rows, *observation_shape], any numbers.
        state: [rows, state_size], from the step before; zeros if None, as an episode begins.
        noise: [rows, noise_size], see `draw_noise`; only where actions are sampled.

    Returns:
        Actions as an environment takes them, int64 [rows] or [rows, groups], or float32
        [rows, actions]; and the state for the next step.

    Raises:
        ValueError: an argument of another shape.
    """
    given, kept = outputs(policy, observations, state)
    return decide(policy.action, given, noise), kept


def decide(action: Choice | Continuous, given: Array, noise: Array | None = None) -> NDArray[Any]:
    """Actions for what the network gives; see `act`.

    Args:
        action: what stands behind the network.
        given: [rows, outputs].
        noise: [rows, noise_size].

    Raises:
        ValueError: noise of another shape.
    """
    size = (len(given), action.noise_size)
    if action.noise_size and (noise is None or noise.shape != size):
        raise ValueError(f"noise must have shape {size}")
    if isinstance(action, Choice):
        return _choose(action, given, noise)
    return _bring_in(action, given, noise)


def outputs(
    policy: PolicyDescription, observations: NDArray[Any], state: Array | None = None
) -> tuple[Array, Array]:
    """What the network gives, [rows, outputs], and the state for the next step; see `act`."""
    x = np.asarray(observations, dtype=np.float32)
    rows = len(x)
    if x.shape[1:] != policy.observation_shape:
        raise ValueError(
            f"observations must have shape {policy.observation_shape} each, got {x.shape[1:]}"
        )
    if state is None:
        state = np.zeros((rows, policy.state_size), np.float32)
    if state.shape != (rows, policy.state_size):
        raise ValueError(f"state must have shape {(rows, policy.state_size)}, got {state.shape}")
    return through(policy.steps, policy.state_sizes, x, state)


def through(
    steps: Sequence[Layer], sizes: Sequence[int], x: Array, state: Array
) -> tuple[Array, Array]:
    """What steps give one after another, and their state afterwards, in which others' stays.

    Args:
        steps: what is computed.
        sizes: of the numbers that each keeps, which lie one behind the other.
        x: [rows, ...].
        state: [rows, at least the sum of the sizes].
    """
    kept, begin = np.array(state, np.float32), 0
    for step, size in zip(steps, sizes, strict=True):
        x, kept[:, begin : begin + size] = apply(step, x, kept[:, begin : begin + size])
        begin += size
    return x, kept


def draw_noise(
    policy: PolicyDescription, rows: int, generator: np.random.Generator
) -> Array | None:
    """Random numbers that sampled actions need, [rows, noise_size]; None where none are."""
    action = policy.action
    return draw(action.noise, rows, action.noise_size, generator)


def apply(layer: Layer, x: Array, state: Array) -> tuple[Array, Array]:
    """One step for a batch: what it gives, and its state afterwards.

    Args:
        layer: the step.
        x: [rows, ...].
        state: [rows, the layer's state].
    """
    if isinstance(layer, FrameStack):
        return _stack(layer, x, state)
    if isinstance(layer, LSTM):
        return _remember(layer, x, state)
    return np.asarray(_computed(layer, x), dtype=np.float32), state


@singledispatch
def _computed(layer: Layer, x: Array) -> Any:
    raise TypeError(f"the reference does not know {type(layer).__name__}")


@_computed.register
def _dense(layer: Dense, x: Array) -> Any:
    return x @ layer.weight.T + (0 if layer.bias is None else layer.bias)


@_computed.register
def _activate(layer: Activation, x: Array) -> Any:
    return _FUNCTIONS[layer.function](x)


@_computed.register
def _flatten(layer: Flatten, x: Array) -> Any:
    return x.reshape(len(x), -1)


@_computed.register
def _normalise_features(layer: LayerNorm, x: Array) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    variance = np.square(centred).mean(-1, keepdims=True)
    return centred / np.sqrt(variance + np.float32(layer.epsilon)) * layer.scale + layer.shift


@_computed.register
def _expect(layer: Expectation, x: Array) -> Any:
    return softmax(x.reshape(len(x), -1, len(layer.support)), axis=-1) @ layer.support


@_computed.register
def _turn(layer: ChannelsLast, x: Array) -> Any:
    turned = np.moveaxis(x, 1, -1)
    return turned.reshape(*turned.shape[:3], -1)


@_computed.register
def _scale(layer: Scaling, x: Array) -> Any:
    return x * np.float32(layer.factor) + np.float32(layer.offset)


@_computed.register
def _normalise(layer: Normalisation, x: Array) -> Any:
    scaled = (x - layer.mean) / layer.deviation
    return scaled if layer.limit is None else np.clip(scaled, -layer.limit, layer.limit)


@_computed.register
def _convolve(layer: Convolution, x: Array) -> Array:
    found = correlated(layer, x, layer.weight)
    return np.asarray(found if layer.bias is None else found + layer.bias)


def correlated(layer: Convolution, x: NDArray[Any], weight: NDArray[Any]) -> NDArray[Any]:
    """Images as a convolution's stride and padding have them seen, times a kernel of its shape.

    Args:
        layer: the convolution.
        x: [rows, height, width, channels].
        weight: (filters, channels, height, width), of any numbers.
    """
    top, bottom, left, right = layer.padding
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    windows = sliding_window_view(padded, weight.shape[2:], axis=(1, 2))
    down, across = layer.stride
    # [rows, height, width, channels, kernel height, kernel width]
    taken = windows[:, ::down, ::across]
    return np.tensordot(taken, weight, axes=((3, 4, 5), (1, 2, 3)))


@_computed.register
def _encode(layer: Encoding, x: Array) -> Array:
    columns: list[Array] = []
    at = 0
    for part in layer.parts:
        taken = x[:, at : at + part.given]
        if not isinstance(part, Numbers):
            known = np.arange(part.first, part.first + part.categories)
            taken = (taken == known).astype(np.float32)
        columns.append(taken)
        at += part.given
    return np.concatenate(columns, axis=1)


def _stack(layer: FrameStack, x: Array, state: Array) -> tuple[Array, Array]:
    frames = np.concatenate([state, x.reshape(len(x), -1)], axis=1)
    height, width = x.shape[1:3]
    stacked = frames.reshape(len(x), layer.frames, height, width).transpose(0, 2, 3, 1)
    return stacked, frames[:, height * width :]


def _remember(layer: LSTM, x: Array, state: Array) -> tuple[Array, Array]:
    """Hochreiter & Schmidhuber 1997 with forget gates, as torch.nn.LSTM documents it."""
    hidden, cell = state[:, : layer.units], state[:, layer.units :]
    gates = x @ layer.input_weight.T + hidden @ layer.recurrent_weight.T + layer.bias
    taken, kept, new, shown = np.split(gates, 4, axis=1)
    cell = expit(kept) * cell + expit(taken) * np.tanh(new)
    hidden = expit(shown) * np.tanh(cell)
    return hidden, np.concatenate([hidden, cell], axis=1)


def _choose(action: Choice, given: Array, noise: Array | None) -> NDArray[Any]:
    given = given if noise is None or not action.sampled else given + noise
    groups = np.split(given, np.cumsum(action.sizes)[:-1], axis=1)
    columns = [group.argmax(1) for group in groups]
    chosen: NDArray[Any] = np.stack(columns, axis=1) + np.array(action.first)
    return chosen[:, 0] if action.single else chosen


def _bring_in(action: Continuous, given: Array, noise: Array | None) -> Array:
    found: NDArray[Any] = given[:, : action.size]
    sampling = action.sampling
    if sampling is not None and noise is not None:
        log = given[:, action.size :] if sampling.log_deviation is None else sampling.log_deviation
        if sampling.limits is not None:
            log = np.clip(log, *sampling.limits)
        found = found + np.exp(log) * noise
        found = np.tanh(found) if sampling.squashed else found
    if action.bounds == "scale":
        found = action.low + (found + np.float32(1)) * (action.high - action.low) / np.float32(2)
    if action.bounds != "none":
        found = np.clip(found, action.low, action.high)
    return np.asarray(found, dtype=np.float32)
