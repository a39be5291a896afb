"""The files of targets c and c-int8: header, source, and an example that checks itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import prune_search.artifacts.c.front
import prune_search.artifacts.c.network  # noqa: F401 - they register what `emit` knows
from prune_search.artifacts.c.actions import emit_action
from prune_search.artifacts.c.emitter import Emitter, emit
from prune_search.artifacts.c.integers import emit_integers, emit_outputs
from prune_search.artifacts.c.storage import Constant
from prune_search.artifacts.card import Card, Level
from prune_search.policy.actions import Choice
from prune_search.policy.arrays import Array
from prune_search.policy.description import PolicyDescription
from prune_search.policy.elastic import at_level, entries, kernels
from prune_search.policy.integers import IntegerPolicy, integer_act
from prune_search.policy.reference import act, draw_noise

TOLERANCE = 1e-4
"""What the example's actions may differ by, relative to the largest."""

_HEADER = """/* {title}

   An observation is {observation} floats{order}. An action is {action}.{memory}{noise}
{arithmetic}
   Constants in flash: {flash} bytes, code not counted. Buffers in RAM: {ram} bytes, static, so that
   one action is computed at a time{state_ram}. No heap. Needs math.h.
{levels}*/
#ifndef POLICY_H
#define POLICY_H

#include <stdint.h>

#define POLICY_OBSERVATION {observation}
#define POLICY_ACTION {actions}
#define POLICY_STATE {state}
#define POLICY_NOISE {noises}
#define POLICY_FLASH {flash}
#define POLICY_RAM {ram}
{choosing}
void policy_act({arguments});

#endif
"""
_INTEGERS = """
   The network computes in integers: weights and what it remembers between layers have 8 bits, sums
   32. In floats are what stands in front of it, the quantization of its input, and, of sampled or
   continuous actions, what is made of its outputs.
"""
_CHOOSING = """#define POLICY_LEVELS {count}

/* Actions from now on are those of a level, 0 to POLICY_LEVELS - 1; the last one's before it is
   called. Returns 1, or 0 where there is no such level: then nothing changes. */
int policy_set_level(int level);
"""
_SET_LEVEL = """
int policy_set_level(int chosen)
{
    if (chosen < 0 || chosen >= POLICY_LEVELS)
        return 0;
    level = chosen;
    return 1;
}
"""
_SOURCE = """/* {title} */
#include "policy.h"

#include <math.h>

/* Where constants can't be read as other memory is, as of AVRs, they have an address space. */
#ifdef __FLASH
#define IN_FLASH __flash
#else
#define IN_FLASH
#endif
{types}
{constants}

{buffers}
{functions}{choosing}
void policy_act({arguments})
{{
    int i, j;
{lines}
    (void)i;
    (void)j;
}}
"""
_MAIN = """/* An example: what the policy does for {count} observations, and what it should do. */
#include "policy.h"

#include <math.h>
#include <stdio.h>

#define COUNT {count}

{vectors}

int main(void)
{{
    int row, i, wrong = 0;
    {kind} action[POLICY_ACTION];
{state}
    for (row = 0; row < COUNT; row++) {{{level}
        policy_act({call});
        for (i = 0; i < POLICY_ACTION; i++)
            if ({differs})
                wrong++;
    }}
    printf("%d of %d actions are as they should be\\n", COUNT * POLICY_ACTION - wrong,
           COUNT * POLICY_ACTION);
    return wrong != 0;
}}
"""


@dataclass(frozen=True)
class Source:
    """The text of the files, and what they take."""

    header: str
    source: str
    example: str
    flash: int
    """Bytes of constants."""
    ram: int
    """Bytes of static buffers."""


def c_source(policy: PolicyDescription | IntegerPolicy, card: Card, observations: Array) -> Source:
    """Writes a policy in C99, computed in the numbers that it is given in.

    Args:
        policy: what to write.
        card: what is known of it.
        observations: [rows, *observation_shape], the test vector's; a state goes from one to the
            next.

    Raises:
        TypeError: a layer has no place in C.
    """
    levels = [level.kept for level in card.levels]
    emitter = Emitter(len(levels), _entries(policy, levels))
    if isinstance(policy, IntegerPolicy):
        whole, arithmetic = policy.policy, _INTEGERS
        emit_integers(policy, emitter)
        emit_outputs(policy, emitter)
    else:
        whole, arithmetic = policy, ""
        _emit_floats(policy, emitter)
    emit_action(whole.action, emitter)
    if levels:
        emitter.types["level"] = f"\nstatic int level = {len(levels) - 1};\n"
    flash, ram = emitter.flash, emitter.ram
    title = f"Policy {card.name}, exported by prune-search {card.version}.".replace("*/", "* /")
    taken = ", ".join(arguments(card))
    return Source(
        header=_header(whole, title, taken, arithmetic, flash, ram, card.levels),
        source=_SOURCE.format(
            title=title,
            types="".join(emitter.types.values()),
            constants="\n\n".join(constant.in_flash for constant in emitter.constants),
            buffers=emitter.buffers,
            functions="".join(emitter.functions.values()),
            choosing=_SET_LEVEL if levels else "",
            arguments=taken,
            lines="\n".join(f"    {line}" for line in emitter.lines),
        ),
        example=_example(policy, observations, levels),
        flash=flash,
        ram=ram,
    )


def _entries(
    policy: PolicyDescription | IntegerPolicy, levels: Sequence[int]
) -> dict[int, NDArray[np.uint8]]:
    """By the `id` of each matrix, the level at which its entries come in."""
    if not levels:
        return {}
    if isinstance(policy, IntegerPolicy):
        raise TypeError("there is no C for levels in integers")
    found = zip(kernels(policy), entries(policy, levels), strict=True)
    return {id(kernel.values): entry for kernel, entry in found}


def _emit_floats(policy: PolicyDescription, to: Emitter) -> None:
    begin = 0
    for step, shape, size in zip(policy.steps, policy.shapes, policy.state_sizes, strict=False):
        emit(step, to, shape, begin)
        begin += size


def arguments(card: Card) -> list[str]:
    """The arguments of `policy_act`, with their types in C."""
    found = ["const float *observation"]
    found += ["float *state"] * bool(card.state_size)
    found += ["const float *noise"] * bool(card.noise_size)
    return [*found, f"{_kind(card.discrete)} *action"]


def _kind(discrete: bool) -> str:
    """C's type of an action's numbers."""
    return "int32_t" if discrete else "float"


def _header(
    policy: PolicyDescription,
    title: str,
    taken: str,
    arithmetic: str,
    flash: int,
    ram: int,
    levels: Sequence[Level],
) -> str:
    shape, action = policy.observation_shape, policy.action
    chosen = isinstance(action, Choice)
    return _HEADER.format(
        title=title,
        arithmetic=arithmetic,
        observation=math.prod(shape),
        order=f", {' x '.join(map(str, shape))}, the last index fastest" if len(shape) > 1 else "",
        action=f"{action.size} int32_t" if chosen else f"{action.size} floats",
        actions=action.size,
        memory="\n   The state is the caller's: zeros as an episode begins, and then left alone."
        if policy.state_size
        else "",
        noise=(
            f"\n   Actions are sampled: noise is random numbers of the standard"
            f" {'Gumbel' if chosen else 'normal'} distribution."
            if action.noise_size
            else ""
        ),
        state=policy.state_size,
        state_ram=f", and {4 * policy.state_size} of the caller's state"
        if policy.state_size
        else "",
        noises=action.noise_size,
        flash=flash,
        ram=ram,
        levels="".join(map(_level_line, range(len(levels)), levels)),
        choosing=_CHOOSING.format(count=len(levels)) if levels else "",
        arguments=taken,
    )


def _level_line(number: int, level: Level) -> str:
    """What the header says of a level."""
    said = f"   Level {number}: {level.sparsity:.1%} sparse, {level.nonzero} numbers are not zero"
    for name, found in (("evaluation", level.returned), ("final", level.final)):
        if found is not None:
            said += f";\n      {name} return {found.value:.6g} [{found.low:.6g}, {found.high:.6g}]"
    return f"{said}.\n"


def _example(
    given: PolicyDescription | IntegerPolicy, observations: Array, levels: Sequence[int]
) -> str:
    """The levels take turns where there are some, each with as many rows of the vector."""
    policy = given.policy if isinstance(given, IntegerPolicy) else given
    noise = draw_noise(policy, len(observations), np.random.default_rng(0))
    state, found, each = None, [], [policy]
    if levels:
        each = [at_level(policy, levels, level) for level in range(len(levels))]
    for row, observation in enumerate(observations):
        drawn = None if noise is None else noise[row : row + 1]
        if isinstance(given, IntegerPolicy):
            action, state = integer_act(given, observation[None], state, drawn)
        else:
            acting = each[row % len(each)]
            action, state = act(acting, observation[None], state, drawn)
        found.append(action.reshape(-1))
    expected: NDArray[np.float32] = np.stack(found).astype(np.float32)
    vectors = [Constant("observations", observations.astype(np.float32))]
    call = ["observations + row * POLICY_OBSERVATION"]
    if policy.state_size:
        call.append("state")
    if noise is not None:
        vectors.append(Constant("noise", noise))
        call.append("noise + row * POLICY_NOISE")
    vectors.append(Constant("expected", expected))
    largest = max(1.0, float(np.abs(expected).max()))
    wanted = "expected[row * POLICY_ACTION + i]"
    return _MAIN.format(
        count=len(observations),
        vectors="\n\n".join(map(str, vectors)),
        kind=_kind(isinstance(policy.action, Choice)),
        state="    static float state[POLICY_STATE];\n" if policy.state_size else "",
        level="\n        policy_set_level(row % POLICY_LEVELS);" if levels else "",
        call=", ".join([*call, "action"]),
        differs=f"fabsf((float)action[i] - {wanted}) > {TOLERANCE * largest:.6g}f",
    )
