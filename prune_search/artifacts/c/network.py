"""A network's layers in C, computed in floats."""

from __future__ import annotations

import math

from prune_search.artifacts.c.emitter import Emitter, emit
from prune_search.artifacts.c.products import ADDED, FLOAT, emit_convolution, emit_dense, product
from prune_search.artifacts.c.storage import number
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
    "tanh": "policy_tanh({x})",
    "elu": "{x} > 0.0f ? {x} : expm1f({x})",
    "silu": "{x} / (1.0f + expf(-{x}))",
    "sigmoid": "1.0f / (1.0f + expf(-{x}))",
    "gelu": "0.5f * {x} * (1.0f + erff({x} * 0.70710678f))",
}


# Libraries' tanhf takes two to five times as long, and policies consist of it. The least largest
# error of rational functions of these degrees on [-8, 8], where float32's tanh is nearly 1; in
# float32 it is 6.3 units in the last place, in the median 1. Integers are compared, as GCC does not
# compute several at once where comparisons may trap, and small chips compare floats by software.
_TANH = """
/* tanh(x), off by less than 5e-7. */
static inline float policy_tanh(float x)
{
    union { float number; int32_t bits; } of;
    float z, p, q;
    int32_t size;
    of.number = x;
    size = of.bits & INT32_MAX;
    of.bits = (size < 0x41000000 ? size : 0x41000000) | (of.bits & INT32_MIN);
    x = of.number;
    z = x * x;
    p = (0x1.02c2eep-26f * z + 0x1.6d4ba6p-16f) * z + 0x1.d3295cp-9f;
    p = (p * z + 0x1.1336d8p-3f) * z + 0x1.fffffep-1f;
    q = (0x1.c5dabcp-21f * z + 0x1.646e32p-12f) * z + 0x1.ac3674p-6f;
    q = (q * z + 0x1.def0b8p-2f) * z + 1.0f;
    return x * p / q;
}
"""


@emit.register
def _dense(layer: Dense, to: Emitter, shape: Shape, state: int) -> None:
    emit_dense(layer.weight, to, FLOAT, to.optional("bias", layer.bias))


@emit.register
def _convolution(layer: Convolution, to: Emitter, shape: Shape, state: int) -> None:
    bias = to.optional("bias", layer.bias)
    emit_convolution(layer, layer.weight, to, shape, FLOAT, bias)


@emit.register
def _activation(layer: Activation, to: Emitter, shape: Shape, state: int) -> None:
    if layer.function == "tanh":
        to.functions["tanh"] = _TANH
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
    into, again = to.matrix("into", layer.input_weight), to.matrix("again", layer.recurrent_weight)
    bias = to.constant("bias", layer.bias)
    to.functions["tanh"] = _TANH
    to.moved(
        gates,
        product(to, into, FLOAT, "{x}", "{y}", bias, gates, f"1, {shape[0]}, {shape[0]}"),
        product(to, again, ADDED, f"state + {state}", "{y}", "{y}", gates, f"1, {units}, {units}"),
        f"for (i = 0; i < {units}; i++) {{",
        f"    float *hidden = state + {state} + i, *cell = hidden + {units};",
        f"    *cell = *cell / (1.0f + expf(-{{y}}[{units} + i]))",
        f"        + policy_tanh({{y}}[{2 * units} + i]) / (1.0f + expf(-{{y}}[i]));",
        f"    *hidden = policy_tanh(*cell) / (1.0f + expf(-{{y}}[{3 * units} + i]));",
        "}",
        f"for (i = 0; i < {units}; i++)",
        f"    {{y}}[i] = state[{state} + i];",
    )
