"""A described policy in integers alone: the network's sums, products and functions.

Jacob et al. 2018, Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference, section 2, without zero points: numbers are whole multiples of a
scale, so that zero is zero and skipping zero weights changes nothing. What is in front of the
network, and what stands behind it, computes in float32 as everywhere.

Every operation is exact in C: products of 8 and at most 16 bits, sums of 32, and
`(sum * multiplier + 2^(shift - 1)) >> shift` in 64 bits, rounding towards minus infinity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from prune_search.compression.quantization import quantize
from prune_search.policy.arrays import Array
from prune_search.policy.description import PolicyDescription
from prune_search.policy.layers import Activation, Convolution, Dense, Flatten, Layer
from prune_search.policy.reference import apply, correlated, decide, through

Integers: TypeAlias = NDArray[np.int64]

INPUT_BITS, OUTPUT_BITS, ACTIVATION_BITS = 16, 16, 8
TABLE_BITS = 9
"""Of what a function other than relu is looked up by."""
_LIMITS = {"tanh": (4.0, 1.0), "sigmoid": (8.0, 1.0)}
"""Functions whose range is known: what their table reaches to, and their largest value."""


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums of products, rescaled: what a layer with weights does.

    A sum of weight * input + bias becomes (sum * multiplier + 2^(shift - 1)) >> shift, and is cut
    off at low and high.
    """

    weight: NDArray[np.int8]
    """Of the layer's shape."""
    bias: NDArray[np.int32]
    """(outputs,)."""
    multiplier: NDArray[np.int32]
    """(outputs,), 2^30 to 2^31 - 1."""
    shift: NDArray[np.int32]
    """(outputs,), 1 to 62."""
    low: int
    high: int
    layer: Dense | Convolution
    """Its stride and padding count here, not its weights."""


@dataclass(frozen=True, eq=False)
class Table:
    """A function: x becomes values[x - low]."""

    values: NDArray[np.int16]
    low: int


IntegerStep: TypeAlias = "Sums | Table | Flatten"


@dataclass(frozen=True, eq=False)
class IntegerPolicy:
    """A policy whose network computes in integers.

    The network's input is `x * input_steps`, cut off at -input_most and input_most, plus 1/2, of
    which the floor, in float32; of its outputs, times `output_scale`, the action is made.
    """

    policy: PolicyDescription
    """What stands in front and behind."""
    input_scale: float
    input_most: int
    steps: tuple[IntegerStep, ...]
    output_scale: float

    @property
    def input_steps(self) -> float:
        """1 / input_scale, a float32: chips without floating point multiply in less code."""
        return float(np.float32(1) / np.float32(self.input_scale))


def integer_policy(policy: PolicyDescription, observations: Array, bits: int = 8) -> IntegerPolicy:
    """Quantizes weights, and activations by what they are on observations.

    Weights are those of `compression.quantize`: a scale per output. Inputs and outputs have 16
    bits, fewer where sums could exceed 32; all that lies between has 8.

    Args:
        policy: of dense and convolutional layers with activation functions.
        observations: [rows, *observation_shape], as many and as different as there are; in the
            order of an episode where the policy remembers frames.
        bits: of weights, 2 to 8.

    Raises:
        ValueError: a layer that has no integer version, by name, or no observations.
    """
    if not len(observations):
        raise ValueError("activations are calibrated on observations, and there are none")
    if policy.state_size > sum(policy.state_sizes[: len(policy.preprocessing)]):
        raise ValueError("no integer version of LSTM")
    x, _ = _prepared(policy, np.asarray(observations, np.float32), None, in_order=True)
    weights = [layer for layer in policy.layers if isinstance(layer, Dense | Convolution)]
    most = _input_most(weights[0], bits) if weights else 1
    input_scale = float(np.float32(_largest(x) * 2 / most))  # twice: rarer ones may be larger
    builder = _Builder(x, input_scale, most, bits)
    for place, layer in enumerate(policy.layers):
        after = policy.layers[place + 1 :]
        builder.add(layer, after, last=layer in weights[-1:])
    return IntegerPolicy(policy, input_scale, most, tuple(builder.steps), builder.scale)


def integer_outputs(
    policy: IntegerPolicy, observations: NDArray[Any], state: Array | None = None
) -> tuple[Integers, Array]:
    """What the network gives, whole numbers of shape [rows, outputs], and the next state."""
    whole = policy.policy
    x, kept = _prepared(whole, np.asarray(observations, np.float32), state)
    most = np.float32(policy.input_most)
    steps = np.clip(x * np.float32(policy.input_steps), -most, most)
    q = np.floor(steps + np.float32(0.5)).astype(np.int64)
    for each in policy.steps:
        q = _computed(each, q)
    return q, kept


def integer_act(
    policy: IntegerPolicy,
    observations: NDArray[Any],
    state: Array | None = None,
    noise: Array | None = None,
) -> tuple[NDArray[Any], Array]:
    """Actions for a batch of observations; see `reference.act`."""
    found, kept = integer_outputs(policy, observations, state)
    given = found.astype(np.float32) * np.float32(policy.output_scale)
    return decide(policy.policy.action, given, noise), kept


def _prepared(
    policy: PolicyDescription, x: Array, state: Array | None, *, in_order: bool = False
) -> tuple[Array, Array]:
    """What the network is given, and the next state; rows may be one episode's, in order."""
    if in_order and policy.state_size:
        rows = []
        for number in range(len(x)):
            row, state = _prepared(policy, x[number : number + 1], state)
            rows.append(row)
        assert state is not None
        return np.concatenate(rows), state
    if state is None:
        state = np.zeros((len(x), policy.state_size), np.float32)
    sizes = policy.state_sizes[: len(policy.preprocessing)]
    return through(policy.preprocessing, sizes, x, state)


class _Builder:
    """Steps as they are added, with what a batch of observations is at each."""

    def __init__(self, x: Array, scale: float, most: int, bits: int) -> None:
        self.steps: list[IntegerStep] = []
        self.scale = scale
        self._x, self._most, self._bits = x, most, bits
        self._function: Activation | None = None

    def add(self, layer: Layer, after: Sequence[Layer], last: bool) -> None:
        self._x, _ = apply(layer, self._x, np.zeros((len(self._x), 0), np.float32))
        if isinstance(layer, Flatten):
            self.steps.append(layer)
        elif isinstance(layer, Activation) and layer is self._function:
            self._function = None  # went with the sums before it
        elif isinstance(layer, Dense | Convolution):
            follows = after[0] if after and isinstance(after[0], Activation) else None
            self._function = follows
            self._add_sums(layer, follows, last)
        else:
            raise ValueError(f"no integer version of {type(layer).__name__} at this place")

    def _add_sums(self, layer: Dense | Convolution, follows: Activation | None, last: bool) -> None:
        function = follows.function if follows is not None else None
        before = self._x  # of the function
        signed = 2 ** (ACTIVATION_BITS - 1) - 1
        if function == "relu":
            low, high = 0, 2**ACTIVATION_BITS - 1
            scale = _largest(np.maximum(before, 0)) / high
        elif function is not None:
            low, high = -(2 ** (TABLE_BITS - 1)), 2 ** (TABLE_BITS - 1) - 1
            scale = _LIMITS.get(function, (_largest(before), 0.0))[0] / high
        elif last:
            high = 2 ** (OUTPUT_BITS - 1) - 1
            low, scale = -high, _largest(before) * 2 / high
        else:
            low, high, scale = -signed, signed, _largest(before) / signed
        self.steps.append(self._sums(layer, scale, low, high))
        self.scale, self._most = scale, max(-low, high)
        if follows is not None and function != "relu":
            found, _ = apply(follows, before, np.zeros((len(before), 0), np.float32))
            largest = _LIMITS[follows.function][1] if function in _LIMITS else _largest(found)
            self.scale, self._most = largest / signed, signed
            inputs = (np.arange(low, high + 1) * scale).astype(np.float32)[None]
            values, _ = apply(follows, inputs, np.zeros((1, 0), np.float32))
            table = np.clip(np.rint(values[0] / self.scale), -signed, signed)
            self.steps.append(Table(table.astype(np.int16), low))

    def _sums(self, layer: Dense | Convolution, scale: float, low: int, high: int) -> Sums:
        bias = np.zeros(len(layer.weight)) if layer.bias is None else layer.bias
        found = quantize([layer.weight], self._bits)
        steps = found.floats.astype(np.float64) * self.scale
        sums = np.abs(found.integers[0].reshape(len(bias), -1)).sum(1) * self._most
        room = 2**31 - 1 - sums
        if (room < 0).any():
            raise ValueError(f"sums of {type(layer).__name__} that do not fit into 32 bits")
        multiplier, shift = _fixed_point(steps / scale)
        return Sums(
            found.integers[0].astype(np.int8),
            np.clip(np.rint(bias / steps), -room, room).astype(np.int32),
            multiplier,
            shift,
            low,
            high,
            layer,
        )


def _fixed_point(factors: NDArray[np.float64]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Factors as multiplier * 2^-shift; what would be shifted by more than 62 becomes 0."""
    mantissa, exponent = np.frexp(factors)
    multiplier = np.rint(mantissa * 2**31).astype(np.int64)
    full = multiplier == 2**31
    multiplier = np.where(full, 2**30, multiplier)
    shift = 31 - (exponent + full)
    if (shift < 1).any():
        raise ValueError("a layer whose outputs are 2^30 times its inputs")
    small = shift > 62
    multiplier, shift = np.where(small, 0, multiplier), np.where(small, 62, shift)
    return multiplier.astype(np.int32), shift.astype(np.int32)


def _input_most(layer: Dense | Convolution, bits: int) -> int:
    """The largest input of at most 16 bits with which half of 32 bits hold any sum."""
    rows = quantize([layer.weight], bits).integers[0].reshape(len(layer.weight), -1)
    largest = max(int(np.abs(rows).sum(1).max()), 1)
    used = INPUT_BITS
    while (2 ** (used - 1) - 1) * largest > 2**30:
        used -= 1
    return int(2 ** (used - 1) - 1)


def _largest(x: Array) -> float:
    """The largest magnitude; 1 where all are zero."""
    return float(np.abs(x).max()) or 1.0


def _computed(step: IntegerStep, q: Integers) -> Integers:
    if isinstance(step, Flatten):
        return q.reshape(len(q), -1)
    if isinstance(step, Table):
        return step.values[q - step.low].astype(np.int64)
    # Floats of 64 bits hold these sums exactly, and are multiplied fast.
    weight, given = step.weight.astype(np.float64), q.astype(np.float64)
    if isinstance(step.layer, Dense):
        found = given @ weight.T
    else:
        found = correlated(step.layer, given, weight)
    sums = found.astype(np.int64) + step.bias
    half = np.int64(1) << (step.shift.astype(np.int64) - 1)
    scaled = (sums * step.multiplier + half) >> step.shift
    cut: Integers = np.clip(scaled, step.low, step.high)
    return cut
