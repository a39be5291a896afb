"""What a policy computes, from observation to action, as a short list of typed layers.

Whatever writes a policy into a file (exporters, packers, quantizers) reads this and nothing of
RLlib's. Numbers are float32, vectors are [features], and images are [height, width, channels]
throughout. Policies with a memory (recurrent cells, stacked frames) keep it in one vector, which
is zero as an episode begins.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float32]
Shape: TypeAlias = tuple[int, ...]
Function = Literal["relu", "tanh", "elu", "silu", "sigmoid", "gelu"]
Bounds = Literal["scale", "clip", "none"]


def _arrays(owner: Any) -> Iterator[tuple[str, Array]]:
    for each in fields(owner):
        value = getattr(owner, each.name)
        if isinstance(value, np.ndarray):
            yield each.name, value


def _hold(owner: Any) -> None:
    """Makes arrays of a frozen dataclass float32 copies of its own, which nobody can write to."""
    for name, value in list(_arrays(owner)):
        held = np.array(value, dtype=np.float32, order="C")
        held.flags.writeable = False
        object.__setattr__(owner, name, held)


@dataclass(frozen=True, eq=False)
class Layer:
    """A step from one array to the next. Arrays in it are made float32 and read-only.

    Raises:
        ValueError: numbers in it are not finite.
    """

    def __post_init__(self) -> None:
        _hold(self)
        for name, value in self.arrays.items():
            if not np.isfinite(value).all():
                raise ValueError(f"{type(self).__name__}.{name} holds numbers that are not finite")

    @property
    def arrays(self) -> dict[str, Array]:
        """Its numbers, by the field that holds them."""
        return dict(_arrays(self))

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


# What stands behind it.


@dataclass(frozen=True, eq=False)
class Choice:
    """Discrete actions: of each group of outputs the largest; the first of those that are equal.

    Where actions are sampled, noise of the standard Gumbel distribution is added to the outputs
    first, which makes the largest a sample of the softmax (Gumbel 1954; Maddison et al. 2014).
    """

    sizes: tuple[int, ...]
    """Outputs of each group."""
    first: tuple[int, ...]
    """The action that stands for each group's first output."""
    single: bool
    """Whether the action is one number (gymnasium's Discrete), not a vector (MultiDiscrete)."""
    sampled: bool = False

    @property
    def outputs(self) -> int:
        """Numbers that the network gives."""
        return sum(self.sizes)

    @property
    def noise_size(self) -> int:
        """Numbers of noise for each action."""
        return self.outputs if self.sampled else 0

    @property
    def size(self) -> int:
        """Numbers of an action."""
        return len(self.sizes)


@dataclass(frozen=True, eq=False)
class Gaussian:
    """How continuous actions are sampled: mean + exp(log deviation) * standard normal noise."""

    log_deviation: Array | None
    """(actions,); None where the network gives it, behind the means."""
    limits: tuple[float, float] | None
    """What the log deviation is cut off at."""
    squashed: bool
    """Whether the tangens hyperbolicus is taken of the sample (Haarnoja et al. 2018)."""

    def __post_init__(self) -> None:
        _hold(self)


@dataclass(frozen=True, eq=False)
class Continuous:
    """Continuous actions: the mean, or a sample, brought into the bounds."""

    low: Array
    """(actions,); may be infinite where the bounds are not scaled to."""
    high: Array
    """Likewise."""
    bounds: Bounds
    """`scale`: -1 to 1 becomes low to high, and is cut off there; `clip`: cut off alone."""
    sampling: Gaussian | None = None
    """None where the action is the mean."""

    def __post_init__(self) -> None:
        _hold(self)

    @property
    def outputs(self) -> int:
        """Numbers that the network gives."""
        given = self.sampling is not None and self.sampling.log_deviation is None
        return self.size * (2 if given else 1)

    @property
    def noise_size(self) -> int:
        """Numbers of noise for each action."""
        return self.size if self.sampling else 0

    @property
    def size(self) -> int:
        """Numbers of an action."""
        return len(self.low)


@dataclass(frozen=True, eq=False)
class PolicyDescription:
    """A policy: an observation goes in, an action comes out.

    Raises:
        ValueError: a layer does not take what the one before it gives, or the action does not take
            what the last one gives.
    """

    observation_shape: Shape
    """Of what goes in, as float32: a Box as it is, anything else flat in gymnasium's order, with
    one number for each category."""
    preprocessing: tuple[Layer, ...]
    """In front of the network."""
    layers: tuple[Layer, ...]
    """The network."""
    action: Choice | Continuous
    """Behind it."""
    notes: tuple[str, ...] = ()
    """What is to be known about it, a line each: what was left out, and why."""

    def __post_init__(self) -> None:
        if self.shapes[-1] != (self.action.outputs,):
            raise ValueError(
                f"the network gives {self.shapes[-1]}, the action takes {self.action.outputs}"
            )

    @property
    def steps(self) -> tuple[Layer, ...]:
        """Preprocessing and network."""
        return self.preprocessing + self.layers

    @property
    def shapes(self) -> list[Shape]:
        """The observation's shape, and that of what each step gives."""
        found = [self.observation_shape]
        for step in self.steps:
            found.append(step.output_shape(found[-1]))
        return found

    @property
    def state_sizes(self) -> list[int]:
        """Numbers that each step keeps; in the state they lie one behind the other."""
        return [
            step.state_size(shape) for step, shape in zip(self.steps, self.shapes, strict=False)
        ]

    @property
    def state_size(self) -> int:
        """Numbers that it keeps from one observation to the next; 0 for most policies."""
        return sum(self.state_sizes)

    @property
    def parameters(self) -> int:
        """Numbers of the network, zeros among them; the preprocessing's are not counted."""
        return sum(array.size for layer in self.layers for array in layer.arrays.values())

    @property
    def nonzero(self) -> int:
        """Of these, those that are not zero."""
        return sum(
            int(np.count_nonzero(array)) for layer in self.layers for array in layer.arrays.values()
        )
