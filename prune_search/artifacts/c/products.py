"""Layers with weights in C: the functions that multiply matrices, of floats or of integers.

A convolution reads a copy with its zeros around it, where it has any, so that each of its weights
has one place in all windows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_search.artifacts.c.emitter import Emitter
from prune_search.artifacts.c.storage import GroupedRows, LevelRows, Rows, SparseRows
from prune_search.policy.arrays import Shape
from prune_search.policy.layers import Convolution

_ROWS = """
/* y = weight x, where x is `lines` runs of numbers, each `pitch` behind the last. */
static void {name}(const {x} *x, {y} *y, const IN_FLASH {weight} *weight, {beside},
                   int outputs, int lines, int run, int pitch)
{{
    int i, j, k;
    for (i = 0; i < outputs; i++) {{
        {sum} sum = {begin};
        for (j = 0; j < lines; j++)
            for (k = 0; k < run; k++)
                sum += {cast}*weight++ * x[j * pitch + k];
        y[i] = {result};
    }}
}}
"""
_SPARSE = """
/* y = weight x; of each row `count` weights are there, each for the x at its place. */
static void {name}(const {x} *x, {y} *y, const IN_FLASH {weight} *value,
                   const IN_FLASH {place} *place, const IN_FLASH {count} *count, {beside},
                   int outputs)
{{
    int i;
    uint32_t k;
    for (i = 0; i < outputs; i++) {{
        {sum} sum = {begin};
        for (k = count[i]; k > 0; k--)
            sum += {cast}*value++ * x[*place++];
        y[i] = {result};
    }}
}}
"""
_GROUPED = """
/* y = weight x, four rows at a time; of each of them `count` weights are there, side by side. */
static void {name}(const float *x, float *y, const IN_FLASH float *value,
                   const IN_FLASH {place} *place, const IN_FLASH {count} *count, {beside},
                   int outputs)
{{
    int i;
    uint32_t k;
    for (i = 0; i < outputs; i += 4) {{
        float first = start ? start[i] : 0.0f, second = start ? start[i + 1] : 0.0f;
        float third = start ? start[i + 2] : 0.0f, fourth = start ? start[i + 3] : 0.0f;
        for (k = *count++; k > 0; k--) {{
            first += *value++ * x[*place++];
            second += *value++ * x[*place++];
            third += *value++ * x[*place++];
            fourth += *value++ * x[*place++];
        }}
        y[i] = first;
        y[i + 1] = second;
        y[i + 2] = third;
        y[i + 3] = fourth;
    }}
}}
"""
_LEVELS = """
/* y = weight x; of each row some weights are there, the first of which count at this level. */
static void {name}(const {x} *x, {y} *y, const IN_FLASH {weight} *value,
                   const IN_FLASH {place} *place, const IN_FLASH {count} *count, {beside},
                   int outputs)
{{
    const IN_FLASH {count} *used = count + level * outputs;
    const IN_FLASH {count} *all = count + (POLICY_LEVELS - 1) * outputs;
    int i;
    uint32_t k;
    for (i = 0; i < outputs; i++) {{
        {sum} sum = {begin};
        for (k = 0; k < used[i]; k++)
            sum += {cast}value[k] * x[place[k]];
        value += all[i];
        place += all[i];
        y[i] = {result};
    }}
}}
"""


@dataclass(frozen=True)
class Arithmetic:
    """What the sums of products are made of, in C."""

    x: str
    """Type of what the weights are multiplied with."""
    y: str
    """Type of what becomes of the sums."""
    weight: str
    sum: str
    """Their types."""
    cast: str
    """In front of a product."""
    beside: str
    """An argument beside the weights, with its type."""
    begin: str
    """What row `i`'s sum begins with."""
    result: str
    """What becomes of it."""
    kind: str = ""
    """Of functions that would have the same types without it."""

    @property
    def suffix(self) -> str:
        """Of its functions' names."""
        kinds = {self.x, self.y}
        types = "" if kinds == {"float"} else f"_{self.x}_{self.y}".replace("_t", "")
        return types + (f"_{self.kind}" if self.kind else "")


FLOAT = Arithmetic(
    x="float",
    y="float",
    weight="float",
    sum="float",
    cast="",
    beside="const IN_FLASH float *start",
    begin="start ? start[i] : 0.0f",
    result="sum",
)
"""Sums of floats, added to `start`."""
ADDED = replace(FLOAT, beside="float *start", kind="added")
"""Likewise, where `start` is no constant."""


def product(
    to: Emitter,
    form: Rows | SparseRows | GroupedRows | LevelRows,
    of: Arithmetic,
    x: str,
    y: str,
    beside: str,
    outputs: int,
    shape: str = "",
) -> str:
    """A call that multiplies a matrix.

    Args:
        to: what its constants and its function are added to.
        form: how it lies there.
        of: what is computed with.
        x: what it is multiplied with.
        y: where the result goes.
        beside: the argument beside it.
        outputs: its rows.
        shape: of whole matrices, how x lies there: lines, run, pitch.
    """
    to.constants += form.constants
    texts = vars(of)
    if isinstance(form, Rows):
        name = f"rows{of.suffix}"
        to.functions[name] = _ROWS.format(name=name, **texts)
        return f"{name}({x}, {y}, {form.weight.name}, {beside}, {outputs}, {shape});"
    place, count = form.place.kind, form.count.kind
    how, text = "sparse", _SPARSE
    if isinstance(form, GroupedRows):
        how, text = "grouped", _GROUPED
    elif isinstance(form, LevelRows):
        how, text = "levels", _LEVELS
    name = f"{how}{of.suffix}_{place[4:-2]}_{count[4:-2]}"
    to.functions[name] = text.format(name=name, place=place, count=count, **texts)
    held = f"{form.value.name}, {form.place.name}, {form.count.name}"
    return f"{name}({x}, {y}, {held}, {beside}, {outputs});"


def emit_dense(weight: NDArray[Any], to: Emitter, of: Arithmetic, beside: str) -> None:
    """Adds the product with a matrix, (outputs, inputs); see `product`."""
    outputs, inputs = weight.shape
    form = to.matrix("dense", weight)
    call = product(to, form, of, "{x}", "{y}", beside, outputs, f"1, {inputs}, {inputs}")
    to.moved(outputs, call, kind=of.y)


def emit_convolution(
    layer: Convolution,
    weight: NDArray[Any],
    to: Emitter,
    shape: Shape,
    of: Arithmetic,
    beside: str,
) -> None:
    """Adds a convolution.

    Args:
        layer: its stride and padding count.
        weight: of the layer's shape.
        to: what is added to.
        shape: of the image, (height, width, channels).
        of: what is computed with.
        beside: see `product`.
    """
    _, width, channels = _padded(layer, to, shape)
    filters, _, tall, wide = weight.shape
    rows, columns, _ = layer.output_shape(shape)
    pitch = width * channels
    places = (
        np.arange(tall)[:, None, None] * pitch
        + np.arange(wide)[:, None] * channels
        + np.arange(channels)
    )
    form = to.matrix(
        "filters",
        weight,
        lambda weight: weight.transpose(0, 2, 3, 1).reshape(filters, -1),
        places.reshape(-1),
    )
    down, across = layer.stride
    window = f"{{x}} + (i * {down} * {width} + j * {across}) * {channels}"
    result = f"{{y}} + (i * {columns} + j) * {filters}"
    shape_of_rows = f"{tall}, {wide * channels}, {pitch}"
    to.moved(
        rows * columns * filters,
        f"for (i = 0; i < {rows}; i++)",
        f"    for (j = 0; j < {columns}; j++)",
        f"        {product(to, form, of, window, result, beside, filters, shape_of_rows)}",
        kind=of.y,
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
        "    {y}[i] = 0;",
        f"for (i = 0; i < {height}; i++)",
        f"    for (j = 0; j < {width * channels}; j++)",
        f"        {{y}}[{target}] = {{x}}[i * {width * channels} + j];",
        kind=to.kind,
    )
    return whole
