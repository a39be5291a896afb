"""A policy's layers as statements of C, and the functions and constants that they use.

Arrays go from one of two buffers to the other; what changes each number by itself stays where it
is. Images are [rows][columns][channels]. A convolution reads a copy with its zeros around it, where
it has any, so that each of its weights has one place in all windows.
"""

from __future__ import annotations

import math
from functools import singledispatch

import numpy as np

from prune_search.artifacts.c.storage import Constant, Rows, SparseRows, number, stored
from prune_search.policy.actions import Choice, Continuous
from prune_search.policy.arrays import Array, Shape
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

_FUNCTIONS = {
    "relu": "{x} > 0.0f ? {x} : 0.0f",
    "tanh": "tanhf({x})",
    "elu": "{x} > 0.0f ? {x} : expm1f({x})",
    "silu": "{x} / (1.0f + expf(-{x}))",
    "sigmoid": "1.0f / (1.0f + expf(-{x}))",
    "gelu": "0.5f * {x} * (1.0f + erff({x} * 0.70710678f))",
}

_ROWS = """
/* y = start + weight x, where x is `lines` runs of numbers, each `pitch` behind the last. */
static void rows(const float *x, float *y, const float *weight, const float *start, int outputs,
                 int lines, int run, int pitch)
{
    int i, j, k;
    for (i = 0; i < outputs; i++) {
        float sum = start ? start[i] : 0.0f;
        for (j = 0; j < lines; j++)
            for (k = 0; k < run; k++)
                sum += *weight++ * x[j * pitch + k];
        y[i] = sum;
    }
}
"""
_SPARSE = """
/* y = start + weight x; of each row `count` weights are there, each for the x at its place. */
static void {name}(const float *x, float *y, const float *value, const {place} *place,
    const {count} *count, const float *start, int outputs)
{{
    int i;
    uint32_t k;
    for (i = 0; i < outputs; i++) {{
        float sum = start ? start[i] : 0.0f;
        for (k = count[i]; k > 0; k--)
            sum += *value++ * x[*place++];
        y[i] = sum;
    }}
}}
"""


class Emitter:
    """Statements, constants and functions as layers add them."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.constants: list[Constant] = []
        self.functions: dict[str, str] = {}
        self.buffers = {"a": 0, "b": 0}
        """Floats that each must hold."""
        self.x = "observation"
        """Where the numbers are that the next statement reads."""
        self._count = 0

    def name(self, of: str) -> str:
        """A name that no constant has yet."""
        self._count += 1
        return f"{of}{self._count}"

    def constant(self, of: str, values: Array) -> str:
        """The name of numbers in flash."""
        self.constants.append(Constant(self.name(of), "float", values))
        return self.constants[-1].name

    def optional(self, of: str, values: Array | None) -> str:
        """The name of numbers that may be missing; 0, no place, where they are."""
        return "0" if values is None else self.constant(of, values)

    def target(self, size: int) -> str:
        """The buffer that is not being read, with room for so many numbers."""
        name = "b" if self.x == "a" else "a"
        self.buffers[name] = max(self.buffers[name], size)
        return name

    def moved(self, size: int, *lines: str) -> None:
        """Adds statements that fill the other buffer, `{y}`, from what is read, `{x}`."""
        y = self.target(size)
        self.lines += [line.replace("{x}", self.x).replace("{y}", y) for line in lines]
        self.x = y

    def each(self, size: int, expression: str) -> None:
        """Replaces each number, `{x}`, whose place is `i`; not what the caller has given."""
        y = self.target(size) if self.x == "observation" else self.x
        value = expression.replace("{x}", f"{self.x}[i]")
        self.lines += [f"for (i = 0; i < {size}; i++)", f"    {y}[i] = {value};"]
        self.x = y

    def product(
        self, form: Rows | SparseRows, x: str, y: str, start: str, outputs: int, shape: str = ""
    ) -> str:
        """A call that multiplies a matrix.

        Args:
            form: how it lies there.
            x: what it is multiplied with.
            y: where the result goes.
            start: what it is added to; 0 for nothing.
            outputs: its rows.
            shape: of whole matrices, how x lies there: lines, run, pitch.
        """
        self.constants += form.constants
        if isinstance(form, Rows):
            self.functions["rows"] = _ROWS
            return f"rows({x}, {y}, {form.weight.name}, {start}, {outputs}, {shape});"
        name = f"sparse_{form.place.kind[4:-2]}_{form.count.kind[4:-2]}"
        self.functions[name] = _SPARSE.format(
            name=name, place=form.place.kind, count=form.count.kind
        )
        held = f"{form.value.name}, {form.place.name}, {form.count.name}"
        return f"{name}({x}, {y}, {held}, {start}, {outputs});"


@singledispatch
def emit(layer: Layer, to: Emitter, shape: Shape, state: int) -> None:
    """Adds what a layer does to an array of this shape.

    Args:
        layer: the layer.
        to: what is added to.
        shape: of what it reads.
        state: where in the state its own begins.

    Raises:
        TypeError: it has no place in C.
    """
    raise TypeError(f"there is no C for {type(layer).__name__}")


@emit.register
def _dense(layer: Dense, to: Emitter, shape: Shape, state: int) -> None:
    outputs, inputs = layer.weight.shape
    form = stored(to.name("dense"), layer.weight)
    bias = to.optional("bias", layer.bias)
    call = to.product(form, "{x}", "{y}", bias, outputs, f"1, {inputs}, {inputs}")
    to.moved(outputs, call)


@emit.register
def _convolution(layer: Convolution, to: Emitter, shape: Shape, state: int) -> None:
    _, width, channels = _padded(layer, to, shape)
    filters, _, tall, wide = layer.weight.shape
    rows, columns, _ = layer.output_shape(shape)
    pitch = width * channels
    places = (
        np.arange(tall)[:, None, None] * pitch
        + np.arange(wide)[:, None] * channels
        + np.arange(channels)
    )
    matrix = layer.weight.transpose(0, 2, 3, 1).reshape(filters, -1)
    form = stored(to.name("filters"), matrix, places.reshape(-1))
    bias = to.optional("bias", layer.bias)
    down, across = layer.stride
    window = f"{{x}} + (i * {down} * {width} + j * {across}) * {channels}"
    result = f"{{y}} + (i * {columns} + j) * {filters}"
    shape_of_rows = f"{tall}, {wide * channels}, {pitch}"
    to.moved(
        rows * columns * filters,
        f"for (i = 0; i < {rows}; i++)",
        f"    for (j = 0; j < {columns}; j++)",
        f"        {to.product(form, window, result, bias, filters, shape_of_rows)}",
    )


def _padded(layer: Convolution, to: Emitter, shape: Shape) -> Shape:
    """Adds the copy with zeros around it; returns the shape that there is then."""
    top, bottom, left, right = layer.padding
    height, width, channels = shape
    if not any(layer.padding):
        return shape
    whole = (height + top + bottom, width + left + right, channels)
    target = f"(i + {top}) * {whole[1] * channels} + {left * channels} + j"
    to.moved(
        math.prod(whole),
        f"for (i = 0; i < {math.prod(whole)}; i++)",
        "    {y}[i] = 0.0f;",
        f"for (i = 0; i < {height}; i++)",
        f"    for (j = 0; j < {width * channels}; j++)",
        f"        {{y}}[{target}] = {{x}}[i * {width * channels} + j];",
    )
    return whole


@emit.register
def _activation(layer: Activation, to: Emitter, shape: Shape, state: int) -> None:
    to.each(math.prod(shape), _FUNCTIONS[layer.function])


@emit.register
def _flatten(layer: Flatten, to: Emitter, shape: Shape, state: int) -> None:
    pass  # it lies that way already


@emit.register
def _scaling(layer: Scaling, to: Emitter, shape: Shape, state: int) -> None:
    to.each(math.prod(shape), f"{{x}} * {number(layer.factor)} + {number(layer.offset)}")


@emit.register
def _normalisation(layer: Normalisation, to: Emitter, shape: Shape, state: int) -> None:
    mean, deviation = to.constant("mean", layer.mean), to.constant("deviation", layer.deviation)
    scaled = f"({{x}} - {mean}[i]) / {deviation}[i]"
    if layer.limit is not None:
        limit = number(layer.limit)
        scaled = f"fminf(fmaxf({scaled}, -{limit}), {limit})"
    to.each(math.prod(shape), scaled)


@emit.register
def _layer_norm(layer: LayerNorm, to: Emitter, shape: Shape, state: int) -> None:
    size = shape[-1]
    scale, shift = to.constant("scale", layer.scale), to.constant("shift", layer.shift)
    to.moved(
        math.prod(shape),
        f"for (i = 0; i < {math.prod(shape)}; i += {size}) {{",
        "    float mean = 0.0f, variance = 0.0f;",
        f"    for (j = 0; j < {size}; j++)",
        f"        mean += {{x}}[i + j] / {size}.0f;",
        f"    for (j = 0; j < {size}; j++)",
        f"        variance += ({{x}}[i + j] - mean) * ({{x}}[i + j] - mean) / {size}.0f;",
        f"    for (j = 0; j < {size}; j++)",
        f"        {{y}}[i + j] = ({{x}}[i + j] - mean)"
        f" / sqrtf(variance + {number(layer.epsilon)}) * {scale}[j] + {shift}[j];",
        "}",
    )


@emit.register
def _expectation(layer: Expectation, to: Emitter, shape: Shape, state: int) -> None:
    atoms, support = len(layer.support), to.constant("support", layer.support)
    to.moved(
        shape[0] // atoms,
        f"for (i = 0; i < {shape[0] // atoms}; i++) {{",
        f"    const float *logit = {{x}} + i * {atoms};",
        "    float largest = logit[0], total = 0.0f, sum = 0.0f;",
        f"    for (j = 1; j < {atoms}; j++)",
        "        largest = fmaxf(largest, logit[j]);",
        f"    for (j = 0; j < {atoms}; j++) {{",
        "        float share = expf(logit[j] - largest);",
        "        total += share;",
        f"        sum += share * {support}[j];",
        "    }",
        "    {y}[i] = sum / total;",
        "}",
    )


@emit.register
def _encoding(layer: Encoding, to: Emitter, shape: Shape, state: int) -> None:
    lines, read, written = [], 0, 0
    for part in layer.parts:
        lines.append(f"for (i = 0; i < {part.made}; i++)")
        if isinstance(part, Numbers):
            lines.append(f"    {{y}}[{written} + i] = {{x}}[{read} + i];")
        else:
            equal = f"{{x}}[{read}] == (float)({part.first} + i)"
            lines.append(f"    {{y}}[{written} + i] = {equal} ? 1.0f : 0.0f;")
        read += part.given
        written += part.made
    to.moved(written, *lines)


@emit.register
def _channels_last(layer: ChannelsLast, to: Emitter, shape: Shape, state: int) -> None:
    first, pixels, last = shape[0], math.prod(shape[1:3]), math.prod(shape[3:])
    rest = pixels * last
    to.moved(
        math.prod(shape),
        f"for (i = 0; i < {first}; i++)",
        f"    for (j = 0; j < {rest}; j++)",
        f"        {{y}}[j * {first} + i] = {{x}}[i * {rest} + j];",
    )


@emit.register
def _frames(layer: FrameStack, to: Emitter, shape: Shape, state: int) -> None:
    pixels, old = math.prod(shape), layer.frames - 1
    lines = [
        f"for (i = 0; i < {pixels}; i++) {{",
        f"    for (j = 0; j < {old}; j++)",
        f"        {{y}}[i * {layer.frames} + j] = state[{state} + j * {pixels} + i];",
        f"    {{y}}[i * {layer.frames} + {old}] = {{x}}[i];",
        "}",
    ]
    if old:
        lines += [
            f"for (i = 0; i < {(old - 1) * pixels}; i++)",
            f"    state[{state} + i] = state[{state + pixels} + i];",
            f"for (i = 0; i < {pixels}; i++)",
            f"    state[{state + (old - 1) * pixels} + i] = {{x}}[i];",
        ]
    to.moved(pixels * layer.frames, *lines)


@emit.register
def _cell(layer: LSTM, to: Emitter, shape: Shape, state: int) -> None:
    units, gates = layer.units, 4 * layer.units
    into = stored(to.name("into"), layer.input_weight)
    again = stored(to.name("again"), layer.recurrent_weight)
    bias = to.constant("bias", layer.bias)
    to.moved(
        gates,
        to.product(into, "{x}", "{y}", bias, gates, f"1, {shape[0]}, {shape[0]}"),
        to.product(again, f"state + {state}", "{y}", "{y}", gates, f"1, {units}, {units}"),
        f"for (i = 0; i < {units}; i++) {{",
        f"    float *hidden = state + {state} + i, *cell = hidden + {units};",
        f"    *cell = *cell / (1.0f + expf(-{{y}}[{units} + i]))",
        f"        + tanhf({{y}}[{2 * units} + i]) / (1.0f + expf(-{{y}}[i]));",
        f"    *hidden = tanhf(*cell) / (1.0f + expf(-{{y}}[{3 * units} + i]));",
        "}",
        f"for (i = 0; i < {units}; i++)",
        f"    {{y}}[i] = state[{state} + i];",
    )


def emit_action(action: Choice | Continuous, to: Emitter) -> None:
    """Adds what makes an action of the network's outputs."""
    if isinstance(action, Choice):
        _choose(action, to)
    else:
        _bring_in(action, to)


def _choose(action: Choice, to: Emitter) -> None:
    if action.sampled:
        to.each(action.outputs, "{x} + noise[i]")
    at = 0
    for group, (size, first) in enumerate(zip(action.sizes, action.first, strict=True)):
        to.lines += [
            f"for (i = 1, j = 0; i < {size}; i++)",
            f"    if ({to.x}[{at} + i] > {to.x}[{at} + j])",
            "        j = i;",
            f"action[{group}] = j + {first};" if first else f"action[{group}] = j;",
        ]
        at += size


def _bring_in(action: Continuous, to: Emitter) -> None:
    value, sampling = f"{to.x}[i]", action.sampling
    if sampling is not None:
        log = f"{to.x}[{action.size} + i]"
        if sampling.log_deviation is not None:
            log = f"{to.constant('log_deviation', sampling.log_deviation)}[i]"
        if sampling.limits is not None:
            low, high = map(number, sampling.limits)
            log = f"fminf(fmaxf({log}, {low}), {high})"
        value = f"{value} + expf({log}) * noise[i]"
        value = f"tanhf({value})" if sampling.squashed else value
    if action.bounds != "none":
        low, high = to.constant("low", action.low), to.constant("high", action.high)
        if action.bounds == "scale":
            value = f"{low}[i] + ({value} + 1.0f) * ({high}[i] - {low}[i]) / 2.0f"
        value = f"fminf(fmaxf({value}, {low}[i]), {high}[i])"
    to.lines += [f"for (i = 0; i < {action.size}; i++)", f"    action[i] = {value};"]
