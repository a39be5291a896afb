"""Integers in C are those of Python, bit for bit."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from prune_search.artifacts.base import Artifact, open_artifact
from prune_search.artifacts.c.source import c_source
from prune_search.artifacts.targets import find_target
from prune_search.errors import UserError
from prune_search.policy.actions import Choice, Continuous
from prune_search.policy.description import PolicyDescription
from prune_search.policy.integers import integer_act, integer_policy
from prune_search.policy.layers import Activation, Dense, Layer
from prune_search.policy.reference import act
from tests.artifacts.c.integer_policies import POLICIES, calibration, given, material, vector
from tests.artifacts.c.test_c_target import emulated, sanitized
from tests.artifacts.test_targets import written
from tuners.benchmarks.devices.board import BOARDS, Board

_BLOCK = 50_000


def opened(policy: PolicyDescription, folder: Path) -> Artifact:
    find_target("c-int8").write(material(policy), folder / "policy")
    return open_artifact(folder / "policy")


def differing(policy: PolicyDescription, folder: Path, rows: int) -> int:
    """Of so many random observations, those for which C's action or state differs by one bit."""
    artifact, integers, found = (
        opened(policy, folder),
        integer_policy(policy, calibration(policy)),
        0,
    )
    for begin in range(0, rows, _BLOCK):
        seen, state, noise = given(policy, min(_BLOCK, rows - begin), seed=begin)
        got, after = artifact.step(seen, state, noise)
        want, kept = integer_act(integers, seen, state, noise)
        assert got.dtype == want.dtype and got.shape == want.shape
        differs = (_bits(got) != _bits(want)).any(1) | (_bits(after) != _bits(kept)).any(1)
        found += int(differs.sum())
    return found


def _bits(numbers: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(numbers).reshape(len(numbers), -1).view(np.uint8)


@pytest.mark.parametrize("name", POLICIES)
def test_c_and_python_are_the_same_bit_for_bit(name: str, tmp_path: Path) -> None:
    assert differing(POLICIES[name], tmp_path, 4_000) == 0


@pytest.mark.slow
def test_for_a_million_observations(tmp_path: Path) -> None:
    policy = vector(Choice((4,), (0,), single=True), "tanh", hidden=64)
    assert differing(policy, tmp_path, 1_000_000) == 0


@st.composite
def networks(draw: st.DrawFn) -> PolicyDescription:
    """Of random sizes, functions, sparsities and magnitudes."""
    drawn = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = draw(st.lists(st.integers(1, 20), min_size=2, max_size=5))
    layers: list[Layer] = []
    for number, (before, size) in enumerate(itertools.pairwise(sizes)):
        kept = drawn.random((size, before)) < draw(st.sampled_from([0.0, 0.2, 1.0]))
        scale = 10.0 ** draw(st.integers(-3, 3))
        weight = np.where(kept, scale * drawn.standard_normal((size, before)), 0)
        layers.append(Dense(weight, draw(st.sampled_from([None, drawn.standard_normal(size)]))))
        if number < len(sizes) - 2 or draw(st.booleans()):
            function = draw(st.sampled_from(["none", "relu", "tanh", "elu", "silu", "sigmoid"]))
            layers += [] if function == "none" else [Activation(function)]  # type: ignore[arg-type]
    outputs = sizes[-1]
    action = draw(
        st.sampled_from(
            [
                Choice((outputs,), (0,), single=True),
                Continuous(np.full(outputs, -1.0), np.full(outputs, 2.0), "scale"),
            ]
        )
    )
    return PolicyDescription((sizes[0],), (), tuple(layers), action)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@for_all(policy=networks())
def test_small_random_networks(
    policy: PolicyDescription, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert differing(policy, tmp_path_factory.mktemp("network"), 2_000) == 0


@pytest.mark.parametrize(
    "name", ["vector-continuous-filter", "image-discrete", "sampled", "frames"]
)
def test_the_example_checks_itself_under_sanitizers(name: str, tmp_path: Path) -> None:
    opened(POLICIES[name], tmp_path)
    done = sanitized(tmp_path / "policy", tmp_path)
    count = 16 * POLICIES[name].action.size
    assert done.stdout == f"{count} of {count} actions are as they should be\n"


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.machine)
def test_on_an_emulated_microcontroller(board: Board, tmp_path: Path) -> None:
    opened(POLICIES["image-discrete-filter"], tmp_path)
    said = emulated(tmp_path / "policy", tmp_path, board)
    assert said == "32 of 32 actions are as they should be\n"


@pytest.mark.parametrize("name", POLICIES)
def test_near_the_floats(name: str, tmp_path: Path) -> None:
    policy = POLICIES[name]
    seen, state, noise = given(policy, 1000, seed=2)
    seen[::100] /= 1000
    want, _ = act(policy, seen, state, noise)
    found, _ = integer_act(integer_policy(policy, calibration(policy)), seen, state, noise)
    if isinstance(policy.action, Choice):
        assert (want == found).mean() > 0.9
    else:
        assert np.abs(want - found).mean() < 0.05


def test_between_observation_and_choice_are_no_floats(tmp_path: Path) -> None:
    policy = POLICIES["vector-discrete-filter"]
    integers = integer_policy(policy, calibration(policy))
    text = c_source(integers, material(policy).card, calibration(policy)[:4]).source
    body = text.partition("void policy_act")[2]
    assert not re.search(r"float|\df\b", body.partition("quantized(")[2].partition(";")[2])
    assert re.findall(r"static (?!const)(\w+) \w+\[", text) == [
        "int16_t",
        "uint8_t",
        "uint8_t",
        "int16_t",
    ]


def test_equal_tables_are_stored_once_and_weights_are_bytes(tmp_path: Path) -> None:
    policy = POLICIES["vector-discrete"]
    artifact = opened(policy, tmp_path)
    text = (tmp_path / "policy" / "policy.c").read_text()
    assert re.findall(r"static const IN_FLASH int8_t (table\d+)\[512\]", text) == ["table1"]
    find_target("c").write(material(policy), tmp_path / "floats")
    floats = open_artifact(tmp_path / "floats").figures()
    figures = artifact.figures()
    assert figures["constants"] - 512 < 0.7 * floats["constants"]
    assert figures["buffers"] < 0.5 * floats["buffers"]


def test_what_has_no_integer_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"target c-int8: no integer version of LSTM.*torch, onnx, c$"
    ):
        written("recurrent", "c-int8", tmp_path)
    assert not any(tmp_path.iterdir())
