"""Targets c and c-int8: a folder with a header, a source, an example and the card; how it runs."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_search.artifacts.base import Artifact, Material, Target, card_in, register_target
from prune_search.artifacts.c.layout import laid_out
from prune_search.artifacts.c.sizes import measured
from prune_search.artifacts.c.source import arguments, c_source
from prune_search.artifacts.card import Card
from prune_search.errors import UserError, one_line
from prune_search.policy.arrays import Array
from prune_search.policy.description import PolicyDescription
from prune_search.policy.integers import IntegerPolicy, integer_policy

HEADER, SOURCE, EXAMPLE, CARD = "policy.h", "policy.c", "main.c", "policy.json"
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
"""What the sources are free of warnings under."""
_ROWS = 16  # of the test vector

# Beside the policy in the library that is measured: actions one after another, of the same
# observation, each timed by the system's clock, or of several.
_AROUND = """
#define _POSIX_C_SOURCE 199309L
#include <time.h>
#include "policy.h"

static long long ticks(void)
{{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}}

void timed({arguments}, long long *taken, int count)
{{
    int k;
    for (k = 0; k < count; k++) {{
        long long begun = ticks();
        policy_act({call});
        taken[k] = ticks() - begun;
    }}
}}

void several({arguments}, int count)
{{
    int k;
    for (k = 0; k < count; k++)
        policy_act({each});
}}
"""


@register_target("c")
class CTarget(Target):
    """A folder: `policy.h`, `policy.c`, an example `main.c` that checks itself, `policy.json`."""

    suffix = ""
    elastic = True

    def write(self, material: Material, path: Path) -> None:
        policy = self._policy(material)
        source = c_source(policy, material.card, material.observations[:_ROWS])
        path.mkdir()
        (path / HEADER).write_text(source.header, encoding="ascii")
        (path / SOURCE).write_text(source.source, encoding="ascii")
        (path / EXAMPLE).write_text(source.example, encoding="ascii")
        (path / CARD).write_text(material.card.model_dump_json(indent=1), encoding="utf-8")

    def _policy(self, material: Material) -> PolicyDescription | IntegerPolicy:
        described = material.described
        return described if material.card.levels else laid_out(described)

    def opens(self, path: Path) -> bool:
        return (path / SOURCE).is_file() and (path / CARD).is_file()

    def open(self, path: Path) -> Artifact:
        return CArtifact(path, card_in(path, CARD, "c"))


@register_target("c-int8")
class IntegerCTarget(CTarget):
    """As c, with a network that computes in integers; see `policy.integers`.

    Activations are calibrated on observations that the policy has seen.
    """

    elastic = False

    def _policy(self, material: Material) -> PolicyDescription | IntegerPolicy:
        try:
            return integer_policy(material.described, material.observations)
        except ValueError as error:
            raise UserError(
                f"export: target c-int8: {one_line(error)}; these have it in floats: torch, onnx, c"
            ) from None


class CArtifact(Artifact):
    """The source, compiled by this machine's compiler as a shared library.

    Raises:
        UserError: there is no compiler, or it does not take the source.
    """

    rows = True

    def __init__(self, path: Path, card: Card) -> None:
        self.card, self._path = card, path
        with tempfile.TemporaryDirectory() as folder:
            library = ctypes.CDLL(str(_compiled(path, card, Path(folder))))
        self._library = library
        self._several, self._timed = library.several, library.timed
        self._several.restype = self._timed.restype = None

    def _choose(self, level: int) -> None:
        if not self._library.policy_set_level(ctypes.c_int(level)):
            raise UserError(f"level: the source does not know {level}, which its card names")

    def step(
        self, observation: Array, state: Array, noise: Array | None
    ) -> tuple[NDArray[Any], Array]:
        after = np.array(state, np.float32)
        action, arguments = self._arguments(observation, after, noise)
        self._several(*arguments, ctypes.c_int(len(observation)))
        found = action.astype(np.int64) if self.card.discrete else action
        return found.reshape(len(observation), *self.card.action_shape), after

    def nanoseconds(self, observation: Array, count: int) -> NDArray[np.int64]:
        taken = np.empty(count, np.int64)
        state = np.zeros((1, self.card.state_size), np.float32)
        noise = np.zeros((1, self.card.noise_size), np.float32) if self.card.noise_size else None
        _, arguments = self._arguments(observation, state, noise)
        self._timed(*arguments, _pointer(taken), ctypes.c_int(count))
        return taken

    def figures(self) -> dict[str, int]:
        return measured(self._path)

    def _arguments(
        self, observation: Array, state: Array, noise: Array | None
    ) -> tuple[NDArray[Any], list[Any]]:
        size = len(observation) * int(np.prod(self.card.action_shape))
        action = np.zeros(size, np.int32 if self.card.discrete else np.float32)
        arrays: list[NDArray[Any]] = [np.ascontiguousarray(observation, np.float32)]
        arrays += [state] * bool(self.card.state_size)
        arrays += [] if noise is None else [np.ascontiguousarray(noise)]
        # The arrays must live as long as the call: the pointers know them.
        return action, [_pointer(array) for array in [*arrays, action]]


def _pointer(array: NDArray[Any]) -> Any:
    return array.ctypes.data_as(ctypes.c_void_p)


def _compiled(path: Path, card: Card, folder: Path) -> Path:
    taken = arguments(card)
    names = [argument.rpartition("*")[2] for argument in taken]
    around, library = folder / "around.c", folder / "policy.so"
    around.write_text(
        _AROUND.format(
            arguments=", ".join(taken),
            call=", ".join(names),
            each=", ".join(f"{name} + k * POLICY_{name.upper()}" for name in names),
        )
    )
    compiler = os.environ.get("CC") or next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if compiler is None:
        raise UserError("export: target c is measured by compiling it; install gcc or clang")
    command = [compiler, *STRICT, "-O3", "-fPIC", "-shared", "-I", str(path), "-o", str(library)]
    problem = ""
    for tuned in (["-march=native"], []):  # as torch is; not every compiler knows its machine
        try:
            done = subprocess.run(
                [*command, *tuned, str(path / SOURCE), str(around), "-lm"],
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError as error:
            problem = one_line(error)
            break
        if not done.returncode:
            return library
        problem = done.stderr
    raise UserError(f"file: {compiler} does not take {str(path / SOURCE)!r}: {problem}")
