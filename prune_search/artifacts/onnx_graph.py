"""A described policy as an ONNX graph, made by onnx's own helpers: no tracing, no torch.

Inputs are `observations`, and `state` and `noise` where there are any, results `actions`, and
`next_state`; all with any number of rows. Opset 17 and IR 8, which ONNX Runtime has read since 2022
and onnxruntime-web reads.
"""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from prune_search.policy.actions import Choice, Continuous
from prune_search.policy.arrays import Shape
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

_OPSET, _IR = 17, 8
_FUNCTIONS = {"relu": "Relu", "tanh": "Tanh", "elu": "Elu", "sigmoid": "Sigmoid"}
_LARGEST = np.iinfo(np.int64).max


class Graph:
    """Nodes and constants as they are added; values go by name."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Adds a node, and returns the name of its (first) result; the others end in 1, 2, ..."""
        stem = f"{operator.lower()}_{len(self._nodes)}"
        names = [stem, *(f"{stem}_{number}" for number in range(1, outputs))]
        self._nodes.append(helper.make_node(operator, list(inputs), names, stem, **attributes))
        return stem

    def constant(self, values: Any, dtype: type = np.float32) -> str:
        """The name of a constant."""
        name = f"constant_{len(self._constants)}"
        array: NDArray[Any] = np.array(values, dtype)
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def ints(self, *values: int) -> str:
        """The name of a constant vector of int64."""
        return self.constant(values, np.int64)

    def columns(self, x: str, begin: int, end: int) -> str:
        """Columns of a matrix."""
        return self.add("Slice", x, self.ints(begin), self.ints(end), self.ints(1))

    def clip(self, x: str, low: Any, high: Any) -> str:
        """Numbers brought between two, or between those of two vectors."""
        return self.add("Min", self.add("Max", x, self.constant(low)), self.constant(high))

    def model(self, policy: PolicyDescription, results: dict[str, str]) -> onnx.ModelProto:
        """All that was added, as a model with the named results."""
        for name, value in results.items():
            self._nodes.append(helper.make_node("Identity", [value], [name]))

        def rows(name: str, kind: int, *shape: int) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, kind, ["rows", *shape])

        floats = TensorProto.FLOAT
        inputs = [rows("observations", floats, *policy.observation_shape)]
        kind = TensorProto.INT64 if isinstance(policy.action, Choice) else floats
        single = isinstance(policy.action, Choice) and policy.action.single
        outputs = [rows("actions", kind, *(() if single else (policy.action.size,)))]
        if policy.state_size:
            inputs.append(rows("state", floats, policy.state_size))
            outputs.append(rows("next_state", floats, policy.state_size))
        if policy.action.noise_size:
            inputs.append(rows("noise", floats, policy.action.noise_size))
        graph = helper.make_graph(self._nodes, "policy", inputs, outputs, self._constants)
        opset = helper.make_opsetid("", _OPSET)
        return helper.make_model(
            graph, opset_imports=[opset], ir_version=_IR, producer_name="prune-search"
        )


def onnx_model(policy: PolicyDescription) -> onnx.ModelProto:
    """The policy as a model; the target has onnx check what it writes.

    Raises:
        TypeError: a layer has no place in a graph.
    """
    graph, x, kept, begin = Graph(), "observations", [], 0
    for step, shape, size in zip(policy.steps, policy.shapes, policy.state_sizes, strict=False):
        if size:
            x, after = _remembering(step, graph, x, shape, begin, size)
            kept.append(after)
            begin += size
        else:
            x = _added(step, graph, x, shape)
    action = policy.action
    found = _choose(action, graph, x) if isinstance(action, Choice) else _bring_in(action, graph, x)
    results = {"actions": found}
    if kept:
        results["next_state"] = graph.add("Concat", *kept, axis=1)
    return graph.model(policy, results)


@singledispatch
def _added(layer: Layer, graph: Graph, x: str, shape: Shape) -> str:
    raise TypeError(f"there is no ONNX operator for {type(layer).__name__}")


@_added.register
def _dense(layer: Dense, graph: Graph, x: str, shape: Shape) -> str:
    bias = [] if layer.bias is None else [graph.constant(layer.bias)]
    return graph.add("Gemm", x, graph.constant(layer.weight), *bias, transB=1)


@_added.register
def _convolution(layer: Convolution, graph: Graph, x: str, shape: Shape) -> str:
    top, bottom, left, right = layer.padding
    bias = [] if layer.bias is None else [graph.constant(layer.bias)]
    found = graph.add(
        "Conv",
        graph.add("Transpose", x, perm=[0, 3, 1, 2]),
        graph.constant(layer.weight),
        *bias,
        strides=list(layer.stride),
        pads=[top, left, bottom, right],
    )
    return graph.add("Transpose", found, perm=[0, 2, 3, 1])


@_added.register
def _activation(layer: Activation, graph: Graph, x: str, shape: Shape) -> str:
    if layer.function in _FUNCTIONS:
        return graph.add(_FUNCTIONS[layer.function], x)
    if layer.function == "silu":
        return graph.add("Mul", x, graph.add("Sigmoid", x))
    half = graph.add("Mul", x, graph.constant(0.5))
    error = graph.add("Erf", graph.add("Mul", x, graph.constant(2**-0.5)))
    return graph.add("Mul", half, graph.add("Add", error, graph.constant(1.0)))


@_added.register
def _flatten(layer: Flatten, graph: Graph, x: str, shape: Shape) -> str:
    return graph.add("Reshape", x, graph.ints(0, *layer.output_shape(shape)))


@_added.register
def _layer_norm(layer: LayerNorm, graph: Graph, x: str, shape: Shape) -> str:
    held = graph.constant(layer.scale), graph.constant(layer.shift)
    return graph.add("LayerNormalization", x, *held, axis=-1, epsilon=layer.epsilon)


@_added.register
def _expectation(layer: Expectation, graph: Graph, x: str, shape: Shape) -> str:
    atoms = len(layer.support)
    each = graph.add("Reshape", x, graph.ints(0, shape[0] // atoms, atoms))
    return graph.add("MatMul", graph.add("Softmax", each, axis=-1), graph.constant(layer.support))


@_added.register
def _encoding(layer: Encoding, graph: Graph, x: str, shape: Shape) -> str:
    x = x if len(shape) == 1 else graph.add("Flatten", x)
    parts, at = [], 0
    for part in layer.parts:
        taken = graph.columns(x, at, at + part.given)
        if not isinstance(part, Numbers):
            known = graph.constant(np.arange(part.first, part.first + part.categories))
            taken = graph.add("Cast", graph.add("Equal", taken, known), to=TensorProto.FLOAT)
        parts.append(taken)
        at += part.given
    return graph.add("Concat", *parts, axis=1)


@_added.register
def _channels_last(layer: ChannelsLast, graph: Graph, x: str, shape: Shape) -> str:
    turned = graph.add("Transpose", x, perm=[0, *range(2, len(shape) + 1), 1])
    return graph.add("Reshape", turned, graph.ints(0, *layer.output_shape(shape)))


@_added.register
def _scaling(layer: Scaling, graph: Graph, x: str, shape: Shape) -> str:
    scaled = graph.add("Mul", x, graph.constant(layer.factor))
    return graph.add("Add", scaled, graph.constant(layer.offset))


@_added.register
def _normalisation(layer: Normalisation, graph: Graph, x: str, shape: Shape) -> str:
    centred = graph.add("Sub", x, graph.constant(layer.mean))
    scaled = graph.add("Div", centred, graph.constant(layer.deviation))
    return scaled if layer.limit is None else graph.clip(scaled, -layer.limit, layer.limit)


def _remembering(
    layer: Layer, graph: Graph, x: str, shape: Shape, begin: int, size: int
) -> tuple[str, str]:
    """What a layer gives that keeps numbers from column `begin` of the state on, and those."""
    state = graph.columns("state", begin, begin + size)
    if isinstance(layer, FrameStack):
        height, width, _ = shape
        frames = graph.add("Concat", state, graph.add("Flatten", x), axis=1)
        each = graph.add("Reshape", frames, graph.ints(0, layer.frames, height, width))
        stacked = graph.add("Transpose", each, perm=[0, 2, 3, 1])
        return stacked, graph.columns(frames, height * width, _LARGEST)
    if not isinstance(layer, LSTM):
        raise TypeError(f"there is no ONNX operator for {type(layer).__name__}")
    hidden, cell = (graph.columns(state, n * layer.units, (n + 1) * layer.units) for n in (0, 1))
    into = graph.add(
        "Gemm", x, graph.constant(layer.input_weight), graph.constant(layer.bias), transB=1
    )
    again = graph.add("Gemm", hidden, graph.constant(layer.recurrent_weight), transB=1)
    gates = graph.add("Add", into, again)
    split = graph.add("Split", gates, graph.ints(*[layer.units] * 4), outputs=4, axis=1)
    taken, kept, shown = (
        graph.add("Sigmoid", name) for name in (split, f"{split}_1", f"{split}_3")
    )
    new = graph.add("Mul", taken, graph.add("Tanh", f"{split}_2"))
    cell = graph.add("Add", graph.add("Mul", kept, cell), new)
    hidden = graph.add("Mul", shown, graph.add("Tanh", cell))
    return hidden, graph.add("Concat", hidden, cell, axis=1)


def _choose(action: Choice, graph: Graph, x: str) -> str:
    given = graph.add("Add", x, "noise") if action.sampled else x
    chosen, at = [], 0
    for size, first in zip(action.sizes, action.first, strict=True):
        group = graph.columns(given, at, at + size) if len(action.sizes) > 1 else given
        best = graph.add("ArgMax", group, axis=1, keepdims=int(not action.single))
        chosen.append(graph.add("Add", best, graph.ints(first)) if first else best)
        at += size
    return chosen[0] if action.single else graph.add("Concat", *chosen, axis=1)


def _bring_in(action: Continuous, graph: Graph, x: str) -> str:
    sampling, found = action.sampling, x
    if sampling is not None:
        if sampling.log_deviation is None:
            log = graph.columns(x, action.size, 2 * action.size)
            found = graph.columns(x, 0, action.size)
        else:
            log = graph.constant(sampling.log_deviation)
        log = graph.clip(log, *sampling.limits) if sampling.limits else log
        moved = graph.add("Mul", graph.add("Exp", log), "noise")
        found = graph.add("Add", found, moved)
        found = graph.add("Tanh", found) if sampling.squashed else found
    if action.bounds == "scale":
        moved = graph.add("Add", found, graph.constant(1.0))
        wide = graph.add("Mul", moved, graph.constant(action.high - action.low))
        half = graph.add("Div", wide, graph.constant(2.0))
        found = graph.add("Add", half, graph.constant(action.low))
    return found if action.bounds == "none" else graph.clip(found, action.low, action.high)
