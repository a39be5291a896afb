"""A policy's cost on a board: instructions of an action, counted exactly, and linked bytes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from prune_search.artifacts.c.sizes import cross_compiled, measured
from prune_search.artifacts.c.storage import Constant
from prune_search.artifacts.c.target import SOURCE
from prune_search.errors import UserError
from prune_search.policy.layers import Function
from tuners.benchmarks.devices import avr
from tuners.benchmarks.devices.board import (
    BOARDS,
    SHIFT,
    Board,
    build,
    linked_bytes,
    require_tools,
    run,
)
from tuners.benchmarks.devices.networks import ROWS, Network, observations

SPARSITY = 0.95
_SIZES: tuple[tuple[int, Function], ...] = ((256, "tanh"), (256, "relu"), (64, "tanh"))
CASES = [
    (Network(hidden, function, sparsity), form)
    for hidden, function in _SIZES
    for form, sparsity in (
        ("plain loops", 0.0),
        ("c", 0.0),
        ("c", SPARSITY),
        ("c-int8", 0.0),
        ("c-int8", SPARSITY),
    )
]
"""What is measured: the networks, each with the form of its C."""

_AVR_UNITS, _AVR_FORMS = 64, ("c", "c-int8")
"""What has room in its memory: plain loops would have their constants in RAM."""
_NS_PER_TICK = 40
"""Of the boards' timers: 25 MHz."""
# The board's first timer, an Arm CMSDK APB timer, counts down from 2^32 - 1 at each read of its
# value; what two reads beside one another take is subtracted.
_MAIN = """
#include "policy.h"
#include <stdio.h>

#define TIMER ((volatile uint32_t *)0x40000000)

{observations}

int main(void)
{{
    int row;
    TIMER[0] = 0;
    TIMER[2] = 0xffffffffu;
    TIMER[1] = 0xffffffffu;
    TIMER[0] = 1;
    for (row = 0; row < {rows}; row++) {{
        int32_t action[POLICY_ACTION];
        uint32_t first = TIMER[1], begun = TIMER[1], ended;
        policy_act(observations + row * {inputs}, action);
        ended = TIMER[1];
        printf("%ld %ld\\n", (long)(begun - ended) - (long)(first - begun), (long)action[0]);
    }}
    return 0;
}}
"""
_AVR_MAIN = """
#include "policy.h"
#include <avr/io.h>
#include <stdio.h>

{observations}

int measured(void)
{{
    int row;
    for (row = 0; row < {rows}; row++) {{
        int32_t action[POLICY_ACTION];
        uint16_t ended;
        TCNT1 = 0;
        policy_act(observations + row * {inputs}, action);
        ended = TCNT1;
        printf("%u %ld\\n", ended, (long)action[0]);
    }}
    return 0;
}}
"""
_NOTHING = """
#include "policy.h"

void policy_act(const float *observation, int32_t *action)
{
    action[0] = observation[0] > 0.0f;
}
"""


@dataclass(frozen=True)
class Cost:
    """What a network in one form costs on one board."""

    network: Network
    form: str
    chip: str
    instructions: float
    """Of one action, mean over a few observations; on an AVR, the cycles."""
    flash: int
    """Bytes of code and constants, with what it needs of the C library, compiled with -Os."""
    ram: int
    """Bytes of static memory, likewise."""
    stack: int
    """Bytes, of `policy_act` and what it calls of its own file; of a Cortex-M4, or of an AVR."""


def costs(say: Callable[[str], None], cases: Sequence[tuple[Network, str]] = CASES) -> list[Cost]:
    """Measures networks on all boards; on an AVR those that have room there, if it can be emulated.

    Args:
        say: is told of each that is done.
        cases: which; see `CASES`.

    Raises:
        UserError: the compiler or the emulator is missing, or a program does not take the actions
            that the policy takes.
    """
    require_tools()
    absent, found = avr.lacking(), []
    if absent:
        say(f"{avr.CHIP} is left out: {absent}")
    for network, form in cases:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder, "policy")
            wanted = network.write(form, place)
            for board in BOARDS:
                found.append(_cost(network, form, board, place, wanted))
                say(_told(found[-1]))
            if not absent and network.hidden <= _AVR_UNITS and form in _AVR_FORMS:
                found.append(_avr_cost(network, form, place, wanted))
                say(_told(found[-1]))
    return found


def _told(cost: Cost) -> str:
    unit = "cycles" if cost.chip == avr.CHIP else "instructions"
    return (
        f"{cost.network}, {cost.form}, {cost.chip}: {cost.instructions:,.0f} {unit},"
        f" {cost.flash:,} bytes of flash"
    )


def _cost(network: Network, form: str, board: Board, place: Path, wanted: list[int]) -> Cost:
    seen = observations()[:ROWS]
    main, nothing = place / "measured.c", place / "nothing.c"
    text = str(Constant("observations", seen.reshape(-1)))
    main.write_text(_MAIN.format(observations=text, rows=len(seen), inputs=seen.shape[1]))
    nothing.write_text(_NOTHING)
    printed = run(board, build(board, [place / SOURCE, main], place, "-I", str(place)))
    ticks = _ticks(printed.splitlines(), wanted, f"{network}, {form} on {board.chip}")
    sizes = [
        linked_bytes(build(board, [source, main], place, "-I", str(place), "-Os"))
        for source in (place / SOURCE, nothing)
    ]
    return Cost(
        network,
        form,
        board.chip,
        instructions=sum(ticks) / len(ticks) * _NS_PER_TICK / 2**SHIFT,
        flash=sizes[0][0] - sizes[1][0],
        ram=sizes[0][1] - sizes[1][1],
        stack=measured(place).get("stack", 0),
    )


def _avr_cost(network: Network, form: str, place: Path, wanted: list[int]) -> Cost:
    seen = observations()[:ROWS]
    main, nothing = place / "measured.c", place / "nothing.c"
    text = str(Constant("observations", seen.reshape(-1)))
    main.write_text(_AVR_MAIN.format(observations=text, rows=len(seen), inputs=seen.shape[1]))
    nothing.write_text(_NOTHING)
    printed = avr.run(avr.build([place / SOURCE, main], place, "-I", str(place)))
    ticks = _ticks(printed, wanted, f"{network}, {form} on {avr.CHIP}")
    sizes = [
        linked_bytes(avr.build([source, main], place, "-I", str(place), "-Os"), avr.SIZE)
        for source in (place / SOURCE, nothing)
    ]
    alone = cross_compiled(place, avr.COMPILER, avr.SIZE, avr.OPTIONS)
    return Cost(
        network,
        form,
        avr.CHIP,
        instructions=sum(ticks) / len(ticks) * avr.TICK,
        flash=sizes[0][0] - sizes[1][0],
        ram=sizes[0][1] - sizes[1][1],
        stack=alone.get("stack", 0),
    )


def _ticks(printed: Sequence[str], wanted: list[int], what: str) -> list[int]:
    """What each action took, if they are the actions that are wanted."""
    ticks, actions = zip(*(map(int, line.split()) for line in printed), strict=True)
    if list(actions) != wanted:
        raise UserError(
            f"benchmark devices: {what} takes the actions {list(actions)}, not {wanted}"
        )
    return list(ticks)
