"""A network's layers in C, computed in floats."""

from __future__ import annotations

import math

from prune_search.artifacts.c.emitter import Emitter, emit
from prune_search.artifacts.c.products import FLOAT, emit_convolution, emit_dense, product
from prune_search.artifacts.c.storage import number, stored
from prune_search.policy.arrays import Shape
from prune_search.policy.layers import (
    LSTM,
    Activation,
    Convolution,
    Dense,
    Expectation,
    LayerNorm,
)

_FUNCTIONS = {
    "relu": "{x} > 0.0f ? {x} : 0.0f",
    "tanh": "tanhf({x})",
    "elu": "{x} > 0.0f ? {x} : expm1f({x})",
    "silu": "{x} / (1.0f + expf(-{x}))",
    "sigmoid": "1.0f / (1.0f + expf(-{x}))",
    "gelu": "0.5f * {x} * (1.0f + erff({x} * 0.70710678f))",
}


@emit.register
def _dense(layer: Dense, to: Emitter, shape: Shape, state: int) -> None:
    emit_dense(layer.weight, to, FLOAT, to.optional("bias", layer.bias))


@emit.register
def _convolution(layer: Convolution, to: Emitter, shape: Shape, state: int) -> None:
    bias = to.optional("bias", layer.bias)
    emit_convolution(layer, layer.weight, to, shape, FLOAT, bias)


@emit.register
def _activation(layer: Activation, to: Emitter, shape: Shape, state: int) -> None:
    to.each(math.prod(shape), _FUNCTIONS[layer.function])


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
def _cell(layer: LSTM, to: Emitter, shape: Shape, state: int) -> None:
    units, gates = layer.units, 4 * layer.units
    into = stored(to.name("into"), layer.input_weight)
    again = stored(to.name("again"), layer.recurrent_weight)
    bias = to.constant("bias", layer.bias)
    to.moved(
        gates,
        product(to, into, FLOAT, "{x}", "{y}", bias, gates, f"1, {shape[0]}, {shape[0]}"),
        product(to, again, FLOAT, f"state + {state}", "{y}", "{y}", gates, f"1, {units}, {units}"),
        f"for (i = 0; i < {units}; i++) {{",
        f"    float *hidden = state + {state} + i, *cell = hidden + {units};",
        f"    *cell = *cell / (1.0f + expf(-{{y}}[{units} + i]))",
        f"        + tanhf({{y}}[{2 * units} + i]) / (1.0f + expf(-{{y}}[i]));",
        f"    *hidden = tanhf(*cell) / (1.0f + expf(-{{y}}[{3 * units} + i]));",
        "}",
        f"for (i = 0; i < {units}; i++)",
        f"    {{y}}[i] = state[{state} + i];",
    )
