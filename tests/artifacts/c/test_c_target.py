"""The C compiles without a warning, checks itself, touches nothing that is not its own, and is
what the header says; on this machine and on an emulated Cortex-M4."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from prune_search.artifacts.base import Material, open_artifact
from prune_search.artifacts.c.layout import laid_out
from prune_search.artifacts.c.sizes import COMPILER
from prune_search.artifacts.c.source import c_source
from prune_search.artifacts.c.storage import LANES, GroupedRows, Rows, SparseRows, number, stored
from prune_search.artifacts.c.target import STRICT
from prune_search.artifacts.card import card_for
from prune_search.artifacts.targets import find_target
from prune_search.policy.actions import Choice, Continuous
from prune_search.policy.description import PolicyDescription
from prune_search.policy.layers import Activation, Dense
from prune_search.policy.reference import act
from tests.artifacts.test_targets import written
from tests.describable import POLICIES, VECTOR, given, material, weights
from tuners.benchmarks.devices.board import BOARDS, EMULATOR, Board, build, run

SANITIZED = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def sanitized(folder: Path, place: Path) -> subprocess.CompletedProcess[str]:
    """What the example of an exported folder says, compiled with sanitizers in another folder."""
    command = ["gcc", *STRICT, *SANITIZED, "-o", place / "program"]
    subprocess.run([*command, folder / "policy.c", folder / "main.c", "-lm"], check=True)
    return subprocess.run([place / "program"], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", POLICIES)
def test_the_example_checks_itself_under_sanitizers(name: str, tmp_path: Path) -> None:
    folder = written(name, "c", tmp_path)
    done = sanitized(folder, tmp_path)
    count = 16 * POLICIES[name].action.size
    assert done.stdout == f"{count} of {count} actions are as they should be\n", done.stderr
    if name != "frames":
        wrong = (folder / "main.c").read_text().replace("expected[row", "1.0f + expected[row")
        (folder / "main.c").write_text(wrong)
        assert sanitized(folder, tmp_path).returncode == 1


@settings(max_examples=200)
@for_all(st.floats(width=32, allow_nan=False))
def test_numbers_are_written_exactly(value: float) -> None:
    text = number(value)
    if np.isinf(value):
        assert text in ("INFINITY", "-INFINITY")
    else:
        body = text.removesuffix("f")
        assert np.float32(float.fromhex(body) if "x" in body else float(body)) == value


def test_tanh_is_nearly_that_of_the_library(tmp_path: Path) -> None:
    layers = (Dense(np.eye(1), None), Activation("tanh"))
    policy = PolicyDescription((1,), (), layers, Continuous(-np.ones(1), np.ones(1), "none"))
    seen = np.concatenate([np.linspace(-12, 12, 100_001), np.logspace(-38, 38, 500)])[:, None]
    seen = seen.astype(np.float32)
    card = card_for(policy, version="0", target="c", name="tests")
    find_target("c").write(Material(policy, card, seen[:16]), tmp_path / "policy")
    found, _ = open_artifact(tmp_path / "policy").step(seen, np.zeros((len(seen), 0)), None)
    assert np.abs(found - np.tanh(seen.astype(np.float64))).max() < 5e-7
    assert np.abs(found).max() <= 1


def test_only_what_is_not_zero_is_stored_where_that_is_smaller() -> None:
    dense = stored("w", weights(10, 10))
    sparse = stored("w", weights(10, 300, sparsity=0.9))
    assert isinstance(dense, Rows) and isinstance(sparse, SparseRows)
    assert np.count_nonzero(sparse.value.values) == sparse.value.values.size
    kinds = [each.kind for each in sparse.constants]
    assert kinds == ["float", "uint16_t", "uint8_t"]


@settings(max_examples=50)
@for_all(st.integers(1, 5), st.integers(1, 300), st.sampled_from([0.7, 0.95, 1.0]))
def test_rows_that_lie_together_are_the_matrix(groups: int, inputs: int, sparsity: float) -> None:
    """Wherever they do; sorted rows lie together in about as few bytes."""
    matrix = weights(groups * LANES, inputs, sparsity=sparsity)
    matrix = matrix[np.argsort(np.count_nonzero(matrix, axis=1))]
    form = stored("w", matrix, np.arange(inputs) + 7)
    if not isinstance(form, GroupedRows):
        return
    found = np.zeros((len(matrix), inputs + 7), np.float32)
    begin = 0
    for group, count in enumerate(form.count.values.tolist()):
        for lane in range(LANES):
            entries = slice(begin + lane, begin + count * LANES, LANES)
            there = form.value.values[entries] != 0
            row = found[group * LANES + lane]
            row[form.place.values[entries][there]] = form.value.values[entries][there]
        begin += count * LANES
    assert np.array_equal(found[:, 7:], matrix)


def test_units_of_sparse_layers_are_sorted_into_whole_groups() -> None:
    """What the policy does is the same; dense layers, and what has an order, stay."""
    rows = (weights(256, 4), weights(256)), (weights(250, 256, sparsity=0.95), weights(250))
    last = weights(3, 250, sparsity=0.9)
    layers = (Dense(*rows[0]), Activation("tanh"), Dense(*rows[1]), Activation("tanh"))
    action = Continuous(-np.ones(3), np.ones(3), "none")
    policy = PolicyDescription((4,), (), (*layers, Dense(last, None)), action)
    found = laid_out(policy)
    seen = np.random.default_rng(0).standard_normal((100, 4)).astype(np.float32)
    assert np.abs(act(found, seen)[0] - act(policy, seen)[0]).max() < 1e-6
    first, _, second, _, third = found.layers
    assert first is policy.layers[0]
    assert isinstance(second, Dense) and second.weight.shape == (252, 256)
    assert isinstance(stored("w", second.weight), GroupedRows)
    assert isinstance(third, Dense) and np.count_nonzero(third.weight) == np.count_nonzero(last)
    assert found.nonzero == policy.nonzero
    again = laid_out(found).layers[2]
    assert isinstance(again, Dense) and np.array_equal(again.weight, second.weight)


def test_a_compiler_that_does_not_know_its_machine_takes_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / "old-cc"
    compiler.write_text('#!/bin/sh\ncase "$*" in *-march=native*) exit 1;; esac\nexec cc "$@"\n')
    compiler.chmod(0o755)
    folder = written("vector", "c", tmp_path)
    monkeypatch.setenv("CC", str(compiler))
    assert open_artifact(folder).card.name == material("vector", "c").card.name


def test_flash_falls_with_the_weights(tmp_path: Path) -> None:
    def flash(sparsity: float) -> int:
        hidden = 64
        layers = (
            Dense(weights(hidden, 4, sparsity=sparsity), weights(hidden)),
            Activation("tanh"),
            Dense(weights(hidden, hidden, sparsity=sparsity), weights(hidden)),
            Activation("tanh"),
            Dense(weights(2, hidden, sparsity=sparsity), weights(2)),
        )
        policy = PolicyDescription((4,), (), layers, Choice((2,), (0,), single=True))
        return c_source(policy, material("vector", "c").card, given("vector", 4)[0]).flash

    assert flash(0.0) == 4 * (4 * 64 + 64 * 64 + 64 * 2 + 64 + 64 + 2)
    assert flash(0.95) < 0.15 * flash(0.0)


def test_sizes_are_stated_and_measured(tmp_path: Path) -> None:
    folder = written("vector", "c", tmp_path)
    found = open_artifact(folder).figures()
    header = (folder / "policy.h").read_text()
    assert f"Constants in flash: {found['constants']} bytes" in header
    assert f"Buffers in RAM: {found['buffers']} bytes" in header
    if shutil.which(COMPILER) is None:
        pytest.skip(f"{COMPILER} is not installed")
    assert found["constants"] < found["flash"] < found["constants"] + 2000
    assert found["ram"] == found["buffers"] and 0 < found["stack"] < 500


@pytest.mark.parametrize("name", POLICIES)
def test_on_an_emulated_microcontroller(name: str, tmp_path: Path) -> None:
    count = 16 * POLICIES[name].action.size
    said = emulated(written(name, "c", tmp_path), tmp_path)
    assert said == f"{count} of {count} actions are as they should be\n"


def emulated(folder: Path, place: Path, board: Board = BOARDS[0]) -> str:
    """What the example of an exported folder says on a board; other folders get the program."""
    for tool in (COMPILER, EMULATOR):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    return run(board, build(board, [folder / "policy.c", folder / "main.c"], place))


def test_no_heap_and_nothing_from_outside_but_mathematics(tmp_path: Path) -> None:
    sources = [
        c_source(POLICIES[name], material(name, "c").card, given(name, 4)[0]).source
        for name in POLICIES
    ]
    assert set(re.findall(r"#include (\S+)", "".join(sources))) == {'"policy.h"', "<math.h>"}
    assert not re.search(r"malloc|calloc|free\(", "".join(sources))
    assert VECTOR.nonzero < VECTOR.parameters
