"""The figures of boards as a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tuners.benchmarks.devices import avr
from tuners.benchmarks.devices.costs import SPARSITY, Cost

_HEAD = f"""# What C costs on a microcontroller

Instructions of one action, from observation to action, counted by QEMU (`-icount`) on emulated
boards with ARM's Cortex-M4, which has a floating-point unit, and Cortex-M3, which has none.
Compiled by GCC with `-O2`; bytes of flash and RAM are those with `-Os` and count what is linked of
the C library, less those of a program whose policy does nothing. Stack is that of a Cortex-M4, also
with `-Os`. Every program takes the same actions as Python.

The ATmega328P is an AVR of 8 bits with 32 KiB of flash and 2 KiB of RAM, emulated by simavr; what
is counted there are cycles, in steps of {avr.TICK}, and stack is its own. Constants stay in flash
by GCC's address space `__flash`, which the same source takes up where there is one (`-std=gnu99`);
elsewhere it is C99. It is measured with the networks that have room in it.

The networks have RLlib's default shape, 4-256-256-2, and CartPole's small one, with random weights:
instructions depend on how many weights are zero, not on what the others are. {SPARSITY:.0%} of each
layer's weights are zero, at random, and no unit is taken out, as `export` would where all its
weights are zero: policies that are pruned in earnest cost less.

`plain loops` is the dense network as [onnx2c](https://github.com/kraiskil/onnx2c) writes it: for
each node a function with loops over all weights in float32 (`Gemm` with alpha and beta), `tanhf` of
the C library; our own text in that form, compiled with the same options. Compared once, the two
256 x 256 networks as onnx2c itself writes them took 0.1 % fewer instructions on
the Cortex-M4, and 1.5 % more at most on the Cortex-M3.

This page and the JSON beside it are written by `prune-search benchmark devices --to
docs/devices.json`; both targets are described in [exporting](exporting.md).
"""


def markdown(costs: Sequence[Cost]) -> str:
    """The page: for each chip a table, in it the ratios."""
    lines = [_HEAD]
    for chip in dict.fromkeys(cost.chip for cost in costs):
        counted = "cycles" if chip == avr.CHIP else "instructions"
        lines += [
            f"## {chip}",
            "",
            f"| network | C | {counted} | of dense | of plain loops | flash | RAM | stack |",
            "|---|---|---:|---:|---:|---:|---:|---:|",
            *(_row(cost, costs) for cost in costs if cost.chip == chip),
            "",
        ]
    return "\n".join(lines).rstrip("\n") + "\n"


def _row(cost: Cost, costs: Sequence[Cost]) -> str:
    dense = replace(cost.network, sparsity=0.0)
    of_dense = _ratio(cost, costs, cost.form) if cost.network.sparsity else ""
    of_plain = (
        _ratio(cost, costs, "plain loops")
        if cost.network == dense and cost.form != "plain loops"
        else ""
    )
    sizes = f"{cost.flash:,} | {cost.ram:,} | {cost.stack:,}"
    return (
        f"| {cost.network} | {cost.form} | {cost.instructions:,.0f} | {of_dense} | {of_plain}"
        f" | {sizes} |"
    )


def _ratio(cost: Cost, costs: Sequence[Cost], form: str) -> str:
    """Of the instructions to those of the same network, dense, in another form."""
    dense = replace(cost.network, sparsity=0.0)
    for other in costs:
        if (other.network, other.form, other.chip) == (dense, form, cost.chip):
            ratio = cost.instructions / other.instructions
            return f"1/{1 / ratio:.1f}" if ratio < 0.5 else f"{ratio:.2f}"
    return ""
