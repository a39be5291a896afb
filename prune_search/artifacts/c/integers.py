"""A network in integers alone, in C: bit for bit what `policy.integers` computes.

Between the observation, which is quantized behind all that stands in front of the network, and the
largest of the outputs nothing is computed in floats. Only sampled and continuous actions are made
of floats: of the outputs times their scale.
"""

from __future__ import annotations

import math

import numpy as np

from prune_search.artifacts.c.emitter import Emitter, emit
from prune_search.artifacts.c.front import expression
from prune_search.artifacts.c.products import Arithmetic, emit_convolution, emit_dense
from prune_search.artifacts.c.storage import Constant, Requantization, number
from prune_search.policy.actions import Choice
from prune_search.policy.arrays import Shape
from prune_search.policy.integers import IntegerPolicy, Sums, Table
from prune_search.policy.layers import Dense, Flatten, Normalisation, Scaling

_QUANTIZED = """
/* floor(x * steps + 1/2), cut off at -most and most: before the sum, so that no compiler makes one
   rounding of the product's and the sum's. */
static int16_t quantized(float x, float steps, float most)
{
    float value = x * steps;
    int32_t whole;
    value = (value > -most ? (value < most ? value : most) : -most) + 0.5f;
    whole = (int32_t)value;
    return (int16_t)(whole - (value < (float)whole));
}
"""
_REQUANTIZATION = """
struct requantization {
    const IN_FLASH int32_t *bias, *multiplier;
    const IN_FLASH uint8_t *shift;
    int32_t low, high;
    const IN_FLASH int8_t *table;
};
"""
# Negative numbers are shifted arithmetically: C leaves it to compilers, and all known ones do.
# Where the shift is 32 or more, which is nearly always, the upper half of the product is enough.
_REQUANTIZED = """
/* A sum of row i, rescaled and rounded, cut off, and looked up where there is a table. */
static inline int32_t requantized(int32_t sum, const IN_FLASH struct requantization *by, int i)
{
    int64_t product = (int64_t)sum * by->multiplier[i];
    int shift = by->shift[i] - 1;
    int32_t value;
    if (shift >= 32) {
        value = (((int32_t)(product >> 32) >> (shift - 32)) + 1) >> 1;
    } else {
        product = ((product >> shift) + 1) >> 1;
        value = product > INT32_MAX ? INT32_MAX : product < -INT32_MAX ? -INT32_MAX
                                                                       : (int32_t)product;
    }
    value = value < by->low ? by->low : value > by->high ? by->high : value;
    return by->table ? by->table[value - by->low] : value;
}
"""


def emit_integers(policy: IntegerPolicy, to: Emitter) -> None:
    """Adds what stands in front of the network, and the network."""
    to.types["requantization"] = _REQUANTIZATION
    to.functions |= {"quantized": _QUANTIZED, "requantized": _REQUANTIZED}
    shape = _quantize(policy, to)
    tables: dict[bytes, Constant] = {}
    for step, after in zip(policy.steps, (*policy.steps[1:], None), strict=True):
        if isinstance(step, Sums):
            _sums(step, after if isinstance(after, Table) else None, to, shape, tables)
            shape = step.layer.output_shape(shape)
        elif isinstance(step, Flatten):  # it lies that way already
            shape = step.output_shape(shape)


def _quantize(policy: IntegerPolicy, to: Emitter) -> Shape:
    """Adds the steps in front, the last of them where they need no array of their own.

    Returns:
        The shape of the network's input.
    """
    whole, begin = policy.policy, 0
    single = len(whole.preprocessing)
    while single and isinstance(whole.preprocessing[single - 1], Scaling | Normalisation):
        single -= 1
    for step, shape, size in zip(
        whole.preprocessing[:single], whole.shapes, whole.state_sizes, strict=False
    ):
        emit(step, to, shape, begin)
        begin += size
    value, shape = "{x}[i]", whole.shapes[len(whole.preprocessing)]
    for step in whole.preprocessing[single:]:
        value = expression(step, to).replace("{x}", f"({value})" if " " in value else value)
    steps, most = number(policy.input_steps), number(policy.input_most)
    to.moved(
        math.prod(shape),
        f"for (i = 0; i < {math.prod(shape)}; i++)",
        f"    {{y}}[i] = quantized({value}, {steps}, {most});",
        kind="int16_t",
    )
    return shape


def _sums(
    step: Sums, table: Table | None, to: Emitter, shape: Shape, tables: dict[bytes, Constant]
) -> None:
    held = None if table is None else _looked_up(table, to, tables)
    made = Requantization(
        to.name("requantization"),
        Constant(to.name("bias"), step.bias),
        Constant(to.name("multiplier"), step.multiplier),
        Constant(to.name("shift"), step.shift.astype(np.uint8)),
        step.low,
        step.high,
        held,
    )
    to.constants += [made.bias, made.multiplier, made.shift, made]
    kind = "int8_t" if table is not None else _smallest(step.low, step.high)
    of = Arithmetic(
        x=to.kind,
        y=kind,
        weight="int8_t",
        sum="int32_t",
        cast="(int32_t)",
        beside="const IN_FLASH struct requantization *by",
        begin="by->bias[i]",
        result=f"({kind})requantized(sum, by, i)",
    )
    if isinstance(step.layer, Dense):
        emit_dense(step.weight, to, of, f"&{made.name}")
    else:
        emit_convolution(step.layer, step.weight, to, shape, of, f"&{made.name}")


def _looked_up(table: Table, to: Emitter, tables: dict[bytes, Constant]) -> Constant:
    """The table's place in flash; equal ones have one."""
    values = table.values.astype(np.int8)
    if values.tobytes() not in tables:
        tables[values.tobytes()] = Constant(to.name("table"), values)
        to.constants.append(tables[values.tobytes()])
    return tables[values.tobytes()]


def _smallest(low: int, high: int) -> str:
    """C's smallest type that holds the numbers."""
    for kind in ("uint8", "int8"):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return f"{kind}_t"
    return "int16_t"


def emit_outputs(policy: IntegerPolicy, to: Emitter) -> None:
    """Adds the outputs' scale, where an action is not the place of the largest."""
    action = policy.policy.action
    if isinstance(action, Choice) and not action.sampled:
        return
    to.moved(
        action.outputs,
        f"for (i = 0; i < {action.outputs}; i++)",
        f"    {{y}}[i] = (float){{x}}[i] * {number(float(np.float32(policy.output_scale)))};",
    )
