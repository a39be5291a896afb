"""Each target's files do what the description says, opened by themselves."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pytest import MonkeyPatch

from prune_search.artifacts.base import TARGETS, Actor, Artifact, open_artifact, stored_bytes
from prune_search.artifacts.packed_target import PackedTarget
from prune_search.artifacts.targets import find_target
from prune_search.errors import UserError
from prune_search.packed.quantizing import quantized_policy
from prune_search.policy.actions import Continuous
from prune_search.policy.reference import act
from tests.describable import POLICIES, given, material

NODE = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js, `node`")


def written(name: str, target: str, folder: Path) -> Path:
    kind = find_target(target)
    path = folder / f"policy{kind.suffix}"
    kind.write(material(name, target), path)
    return path


def differences(name: str, artifact: Artifact, rows: int = 40) -> np.ndarray:
    """How far actions, and states after them, are from the reference's."""
    seen, state, noise = given(name, rows)
    want, after = act(POLICIES[name], seen, state, noise)
    found = []
    for row in range(rows):
        drawn = None if noise is None else noise[row : row + 1]
        action, kept = artifact.step(seen[row : row + 1], state[row : row + 1], drawn)
        assert action.dtype == want.dtype and action.shape == want[:1].shape
        found += [np.abs(action - want[row]).max(), np.abs(kept - after[row]).max(initial=0)]
    return np.array(found)


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("target", ["torch", "onnx", "c", pytest.param("web", marks=NODE)])
def test_files_act_as_the_description(target: str, name: str, tmp_path: Path) -> None:
    path = written(name, target, tmp_path)
    artifact = open_artifact(path)
    assert differences(name, artifact).max() <= 1e-5
    assert artifact.card == material(name, target).card
    assert stored_bytes(path) > 4 * POLICIES[name].nonzero
    assert (artifact.nanoseconds(given(name, 1)[0], 5) > 0).all()


@pytest.mark.parametrize("name", ["vector", "image"])
def test_integers_of_8_bits(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = written(name, "onnx-int8", tmp_path)
    difference = differences(name, open_artifact(path))
    limit = 0.05 if isinstance(POLICIES[name].action, Continuous) else 0
    assert np.quantile(difference, 0.9) <= limit
    # Seven bits: with eight, sums overflow on some processors, and this one may be another.
    onnx = pytest.importorskip("onnx")
    held = map(onnx.numpy_helper.to_array, onnx.load(str(path)).graph.initializer)
    kernels = [array for array in held if array.dtype == np.int8 and array.ndim > 1]
    assert kernels and all(np.abs(array.astype(int)).max() <= 64 for array in kernels)
    with pytest.raises(UserError, match="onnx-int8 has no place for a policy with a state"):
        written("recurrent", "onnx-int8", tmp_path / "other")


@pytest.mark.slow
def test_artifacts_need_neither_ray_nor_rllib(tmp_path: Path) -> None:
    paths = [str(written("vector", target, tmp_path)) for target in ("torch", "onnx")]
    (tmp_path / "c").mkdir()
    paths.append(str(written("vector", "c", tmp_path / "c")))
    code = (
        "import sys, json\nfrom pathlib import Path\n"
        "import prune_search.artifacts.targets\n"
        "from prune_search.artifacts.base import Actor, open_artifact\n"
        "found = [int(Actor(open_artifact(Path(p)))([1, 2, 3, 4])) for p in sys.argv[1:]]\n"
        "print(json.dumps([found, 'ray' in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True
    )
    want = int(act(POLICIES["vector"], np.array([[1, 2, 3, 4]]))[0][0])
    assert json.loads(done.stdout) == [[want] * 3, False]


def test_an_actor_remembers_and_refuses(tmp_path: Path) -> None:
    actor = Actor(open_artifact(written("recurrent", "onnx", tmp_path)))
    first = actor(np.ones(4))
    assert not np.array_equal(actor(np.ones(4)), first)
    actor.reset()
    np.testing.assert_array_equal(actor(np.ones(4)), first)
    with pytest.raises(ValueError, match=r"must have shape \(4,\), got \(5,\)"):
        actor(np.ones(5))
    with pytest.raises(ValueError, match="not finite"):
        actor([1, 2, 3, np.nan])


def test_what_cannot_be_opened_is_one_line(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    for name in ("a.onnx", "b.pt2", "c.txt"):
        (tmp_path / name).write_bytes(b"nothing")
        with pytest.raises(UserError, match=r"file: .* is no "):
            open_artifact(tmp_path / name)
    with pytest.raises(UserError, match="there is no"):
        open_artifact(tmp_path / "none")
    with pytest.raises(
        UserError, match=r"unknown 'onx', did you mean onnx\?.*c-int8, litert, onnx"
    ):
        find_target("onx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r'needs onnx; pip install "prune-search\[onnx\]"'):
        TARGETS["onnx"].write(material("vector", "onnx"), tmp_path / "x.onnx")


@pytest.mark.parametrize("name", POLICIES)
def test_packed_acts_as_the_quantized_policy(name: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.packed"
    PackedTarget("uniform", 8).write(material(name, "packed"), path)
    artifact = open_artifact(path)
    seen, state, noise = given(name, 40)
    quantized = quantized_policy(POLICIES[name], "uniform", 8).policy
    want, after = act(quantized, seen, state, noise)
    got, kept = artifact.step(seen, state, noise)
    assert np.array_equal(got, want) and np.array_equal(kept, after)
    want_card = material(name, "packed").card.model_copy(update={"nonzero": quantized.nonzero})
    assert artifact.card == want_card
    assert stored_bytes(path) < 4 * POLICIES[name].parameters


def test_packed_files_that_were_altered_are_refused(tmp_path: Path) -> None:
    path = written("vector", "packed", tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"policy.packed' can't be opened: cut off or altered"):
        open_artifact(path)
