"""A network as generators of plain C write it: each layer's loops over all of its weights.

The form is that of onnx2c (github.com/kraiskil/onnx2c): arrays of two dimensions, a function for
each node, `Gemm` with its alpha and beta, and the C library's functions.
"""

from __future__ import annotations

from prune_search.artifacts.c.storage import Constant
from prune_search.policy.description import PolicyDescription
from prune_search.policy.layers import Activation, Dense

_HEADER = """
#include <stdint.h>
#define POLICY_ACTION 1
void policy_act(const float *observation, int32_t *action);
"""
_GEMM = """
static void node{number}(const float A[1][{inputs}], const float B[{outputs}][{inputs}],
                         const float C[{outputs}], float Y[1][{outputs}])
{{
    const uint32_t M = 1, K = {inputs}, N = {outputs};
    float alpha = 1.0f, beta = 1.0f;
    uint32_t r, c, i;
    for (r = 0; r < M; r++)
        for (c = 0; c < N; c++) {{
            float sum = 0.0f, y;
            for (i = 0; i < K; i++)
                sum += A[r][i] * B[c][i];
            y = sum * alpha;
            y += C[c] * beta;
            Y[r][c] = y;
        }}
}}
"""
_ELEMENTWISE = """
static void node{number}(const float X[1][{size}], float Y[1][{size}])
{{
    const float *x = &X[0][0];
    float *y = &Y[0][0];
    uint32_t i;
    for (i = 0; i < {size}; i++)
        y[i] = {value};
}}
"""
_VALUES = {"relu": "x[i] > 0.0f ? x[i] : 0.0f", "tanh": "tanhf(x[i])"}
_ACT = """
void policy_act(const float *observation, int32_t *action)
{{
    int i;
{calls}
    action[0] = 0;
    for (i = 1; i < {outputs}; i++)
        if (t{last}[0][i] > t{last}[0][action[0]])
            action[0] = i;
}}
"""


def plain_loops(policy: PolicyDescription) -> tuple[str, str]:
    """Header and source of a greedy policy of dense layers, relu and tanh.

    Raises:
        TypeError: it has another layer.
    """
    parts, calls, before = ['#include "policy.h"\n#include <math.h>\n'], [], ""
    for number, (layer, (size,)) in enumerate(zip(policy.layers, policy.shapes[1:], strict=True)):
        given = before or f"(const float(*)[{policy.shapes[0][0]}])observation"
        parts.append(f"static float t{number}[1][{size}];\n")
        if isinstance(layer, Dense):
            weight, bias = layer.weight, layer.bias
            assert bias is not None
            inputs = weight.shape[1]
            parts.append(str(Constant(f"w{number}", weight)) + "\n")
            parts.append(str(Constant(f"b{number}", bias)) + "\n")
            parts.append(_GEMM.format(number=number, inputs=inputs, outputs=size))
            held = f"(const float(*)[{inputs}])w{number}, b{number}"
            calls.append(f"    node{number}({given}, {held}, t{number});")
        elif isinstance(layer, Activation) and layer.function in _VALUES:
            value = _VALUES[layer.function]
            parts.append(_ELEMENTWISE.format(number=number, size=size, value=value))
            calls.append(f"    node{number}({given}, t{number});")
        else:
            raise TypeError(f"there are no plain loops for {type(layer).__name__}")
        before = f"(const float(*)[{size}])t{number}"
    last = len(policy.layers) - 1
    act = _ACT.format(calls="\n".join(calls), outputs=policy.action.outputs, last=last)
    return _HEADER, "\n".join(parts) + act
