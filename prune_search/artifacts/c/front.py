"""What stands in front of a policy's network, in C: floats, whatever the network computes in."""

from __future__ import annotations

import math
from functools import singledispatch

from prune_search.artifacts.c.emitter import Emitter, emit
from prune_search.artifacts.c.storage import number
from prune_search.policy.arrays import Shape
from prune_search.policy.layers import (
    ChannelsLast,
    Encoding,
    FrameStack,
    Layer,
    Normalisation,
    Numbers,
    Scaling,
)


@singledispatch
def expression(layer: Layer, to: Emitter) -> str:
    """What a layer makes of each number, `{x}`, by itself, whose place is `i`.

    Args:
        layer: the layer.
        to: what its constants are added to.

    Raises:
        TypeError: the layer does more than that.
    """
    raise TypeError(f"{type(layer).__name__} is no function of single numbers")


@expression.register
def _scaled(layer: Scaling, to: Emitter) -> str:
    return f"{{x}} * {number(layer.factor)} + {number(layer.offset)}"


@expression.register
def _normalised(layer: Normalisation, to: Emitter) -> str:
    mean, deviation = to.constant("mean", layer.mean), to.constant("deviation", layer.deviation)
    scaled = f"({{x}} - {mean}[i]) / {deviation}[i]"
    if layer.limit is not None:
        limit = number(layer.limit)
        scaled = f"fminf(fmaxf({scaled}, -{limit}), {limit})"
    return scaled


@emit.register(Scaling)
@emit.register(Normalisation)
def _each(layer: Scaling | Normalisation, to: Emitter, shape: Shape, state: int) -> None:
    to.each(math.prod(shape), expression(layer, to))


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
