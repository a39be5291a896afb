"""The steps of a described policy: what stands in front of the network, and its layers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from prune_search.policy.arrays import Array, Shape, arrays_of, hold_arrays

Function = Literal["relu", "tanh", "elu", "silu", "sigmoid", "gelu"]


@dataclass(frozen=True, eq=False)
class Layer:
    """A step from one array to the next. Arrays in it are made float32 and read-only.

    Raises:
        ValueError: numbers in it are not finite.
    """

    def __post_init__(self) -> None:
        hold_arrays(self)
        for name, value in self.arrays.items():
            if not np.isfinite(value).all():
                raise ValueError(f"{type(self).__name__}.{name} holds numbers that are not finite")

    @property
    def arrays(self) -> dict[str, Array]:
        """Its numbers, by the field that holds them."""
        return dict(arrays_of(self))

    def output_shape(self, shape: Shape) -> Shape:
        """The shape that it gives for an input's.

        Raises:
            ValueError: it takes no input of this shape.
        """
        return shape

    def state_size(self, shape: Shape) -> int:
        """Numbers that it keeps from step to step, for an input of this shape."""
        return 0

    def _require(self, fits: bool, shape: Shape) -> None:
        if not fits:
            raise ValueError(f"{type(self).__name__} takes no input of shape {shape}")


# What stands in front of the network.


@dataclass(frozen=True, eq=False)
class Numbers:
    """Part of an observation that is taken as it is."""

    count: int

    @property
    def given(self) -> int:
        """Numbers of the observation."""
        return self.count

    @property
    def made(self) -> int:
        """Numbers that they become."""
        return self.count


@dataclass(frozen=True, eq=False)
class OneHot:
    """One number of an observation, a category, which becomes a vector with a single 1."""

    categories: int
    first: int = 0
    """The number that stands for the first category."""

    @property
    def given(self) -> int:
        return 1

    @property
    def made(self) -> int:
        return self.categories


@dataclass(frozen=True, eq=False)
class Encoding(Layer):
    """Observations with categories in them, as one vector: the parts one behind the other."""

    parts: tuple[Numbers | OneHot, ...]

    def output_shape(self, shape: Shape) -> Shape:
        self._require(math.prod(shape) == sum(part.given for part in self.parts), shape)
        return (sum(part.made for part in self.parts),)


@dataclass(frozen=True, eq=False)
class ChannelsLast(Layer):
    """(C, H, W) becomes (H, W, C); a stack of images (T, H, W, C) becomes (H, W, C * T).

    In the latter, the T values of a channel lie beside one another.
    """

    def output_shape(self, shape: Shape) -> Shape:
        self._require(len(shape) in (3, 4), shape)
        return (*shape[1:3], math.prod(shape) // math.prod(shape[1:3]))


@dataclass(frozen=True, eq=False)
class Scaling(Layer):
    """x * factor + offset."""

    factor: float
    offset: float


@dataclass(frozen=True, eq=False)
class Normalisation(Layer):
    """(x - mean) / deviation, cut off at the limit on either side: a frozen mean-std filter."""

    mean: Array
    """Of the observation's shape."""
    deviation: Array
    """Likewise; all above 0."""
    limit: float | None

    def output_shape(self, shape: Shape) -> Shape:
        self._require(self.mean.shape == self.deviation.shape == shape, shape)
        return shape


@dataclass(frozen=True, eq=False)
class FrameStack(Layer):
    """(H, W, 1) becomes (H, W, frames): the last ones, oldest first, and zeros for none.

    Its state is the last frames - 1 observations, oldest first, each flat.
    """

    frames: int

    def output_shape(self, shape: Shape) -> Shape:
        self._require(len(shape) == 3 and shape[2] == 1, shape)
        return (*shape[:2], self.frames)

    def state_size(self, shape: Shape) -> int:
        return (self.frames - 1) * math.prod(shape)


# The network.


@dataclass(frozen=True, eq=False)
class Dense(Layer):
    """weight @ x + bias."""

    weight: Array
    """(outputs, inputs)."""
    bias: Array | None
    """(outputs,)."""

    def output_shape(self, shape: Shape) -> Shape:
        self._require(shape == self.weight.shape[1:], shape)
        return (self.weight.shape[0],)


@dataclass(frozen=True, eq=False)
class Convolution(Layer):
    """Cross-correlation of an image, as torch's Conv2d has it, with zeros around the image."""

    weight: Array
    """(filters, channels, height, width)."""
    bias: Array | None
    """(filters,)."""
    stride: tuple[int, int]
    """Down, and to the right."""
    padding: tuple[int, int, int, int]
    """Rows of zeros above and below, columns of zeros on the left and on the right."""

    def output_shape(self, shape: Shape) -> Shape:
        filters, channels, height, width = self.weight.shape
        self._require(len(shape) == 3 and shape[2] == channels, shape)
        top, bottom, left, right = self.padding
        rows = (shape[0] + top + bottom - height) // self.stride[0] + 1
        columns = (shape[1] + left + right - width) // self.stride[1] + 1
        self._require(rows > 0 and columns > 0, shape)
        return rows, columns, filters


@dataclass(frozen=True, eq=False)
class Flatten(Layer):
    """An image as a vector, row by row, a pixel's channels beside one another."""

    def output_shape(self, shape: Shape) -> Shape:
        return (math.prod(shape),)


@dataclass(frozen=True, eq=False)
class Activation(Layer):
    """A function of each number: elu with alpha 1, gelu by the error function."""

    function: Function

    def __post_init__(self) -> None:
        if self.function not in get_args(Function):
            raise ValueError(f"no activation function {self.function!r}")


@dataclass(frozen=True, eq=False)
class LayerNorm(Layer):
    """Each pixel, or the vector, made mean 0 and variance 1 over its features, then scaled.

    Ba et al. 2016, Layer Normalization, eq. 3-4; the variance is the biased one.
    """

    scale: Array
    """(features,)."""
    shift: Array
    """Likewise."""
    epsilon: float
    """Added to the variance."""

    def output_shape(self, shape: Shape) -> Shape:
        self._require(shape[-1:] == self.scale.shape == self.shift.shape, shape)
        return shape


@dataclass(frozen=True, eq=False)
class LSTM(Layer):
    """One recurrent cell, gates in torch's order: input, forget, cell, output.

    Its state is the hidden vector, then the cell's.
    """

    input_weight: Array
    """(4 * units, inputs)."""
    recurrent_weight: Array
    """(4 * units, units)."""
    bias: Array
    """(4 * units,), the sum of torch's two."""

    @property
    def units(self) -> int:
        return int(self.recurrent_weight.shape[1])

    def output_shape(self, shape: Shape) -> Shape:
        self._require(shape == self.input_weight.shape[1:], shape)
        return (self.units,)

    def state_size(self, shape: Shape) -> int:
        return 2 * self.units


@dataclass(frozen=True, eq=False)
class Expectation(Layer):
    """Mean of a distribution over the same values for each action, from its logits.

    Bellemare et al. 2017, A Distributional Perspective on Reinforcement Learning, section 4.1.
    """

    support: Array
    """(atoms,); the input is (actions * atoms,), an action's atoms beside one another."""

    def output_shape(self, shape: Shape) -> Shape:
        self._require(len(shape) == 1 and shape[0] % len(self.support) == 0, shape)
        return (shape[0] // len(self.support),)
