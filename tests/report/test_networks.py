"""Networks counted from checkpoints, which may hold anything."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prune_search.errors import UserError
from prune_search.records.checkpoint import MODULES_PATH
from prune_search.records.models import BaselineRecord
from prune_search.records.policy_files import WEIGHTS
from tests.studies import BASELINE, make_point, make_study
from tuners.plots.network import network_svg
from tuners.report.networks import Kernel, networks

NAMES = ["encoder.0.weight", "pi.0.weight"]


def write(algorithm: Path, *policies: str, **kernels: Any) -> None:
    """A checkpoint's weights, as RLlib writes them."""
    for policy in policies or ("default_policy",):
        path = algorithm / MODULES_PATH / policy / WEIGHTS
        path.parent.mkdir(parents=True)
        path.write_bytes(pickle.dumps({name.replace("_", "."): w for name, w in kernels.items()}))


def dense(folder: Path) -> BaselineRecord:
    """A policy of 4 observations, 64 hidden units and 2 actions."""
    ones = {"encoder_0_weight": np.ones((64, 4)), "pi_0_weight": np.ones((2, 64))}
    write(folder / "dense", encoder_0_bias=np.ones(64), **ones)
    return BASELINE.model_copy(update={"checkpoint": str(folder / "dense")})


def test_kernels_are_counted_and_every_weight_has_its_line(tmp_path: Path) -> None:
    folder, baseline = make_study(tmp_path, trials=0), dense(tmp_path)
    point = make_point(0, 2, 0.98, 480).model_copy(update={"layers": dict.fromkeys(NAMES, 0.98)})
    first, last = np.zeros((64, 4), np.float32), np.zeros((2, 64), np.float32)
    first[[7, 7, 9], [0, 3, 1]], last[1, 7] = 0.5, -1.0
    write(folder.algorithm(point), encoder_0_weight=first, pi_0_weight=last)
    found = networks(folder, baseline, point)
    assert [kernel.nonzero for kernel in found.dense] == [256, 128]
    encoder, head = found.pruned
    assert encoder.wires == [(7, 0), (7, 3), (9, 1)] and head.wires == [(1, 7)]
    assert encoder.idle_inputs == [2] and head.idle_outputs == [0]
    assert set(range(64)) - set(encoder.idle_outputs) == {7, 9}
    drawn = network_svg(found.pruned, found.dense)
    assert drawn.count("M") == 3 + 1
    for told in ("3 / 256", "1 / 128", "3 / 4", "2 / 64", "1 / 2"):
        assert f">{told}</text>" in drawn, told
    whole = network_svg(found.dense, found.dense)
    assert whole.count("M") == 256 + 128 and " / " not in whole


def test_convolutions_removed_units_and_dead_layers_are_drawn() -> None:
    shapes = [(16, 3, 8, 8), (32, 16, 4, 4), (256, 3_136), (4, 256)]
    before = [Kernel.of(f"conv.{n}", np.ones(shape)) for n, shape in enumerate(shapes)]
    after = [Kernel.of("conv.0", np.ones((5, 3, 8, 8))), Kernel.of("conv.3", np.zeros((4, 256)))]
    assert before[2].wires == [] and before[2].weights == 256 * 3_136
    drawn = network_svg(before, before)
    assert "802,816" in drawn and drawn.count("<polygon") == 3
    drawn = network_svg(after, before)
    assert "960 / 3,072" in drawn and "0 / 1,024" in drawn and drawn.count("M") == 15


class Harm:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch harmed",)


def test_what_is_no_array_is_refused_and_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder, baseline = make_study(tmp_path, trials=0), dense(tmp_path)
    point = make_point(0, 2, 0.98, 480)
    with pytest.raises(UserError, match="no checkpoint is here"):
        networks(folder, baseline, point)
    write(folder.algorithm(point), encoder_0_weight=Harm())
    with pytest.raises(UserError, match=r"no weights by name: it holds posix.system"):
        networks(folder, baseline, point)
    assert not Path("harmed").exists()


def test_of_several_policies_each_has_its_kernels(tmp_path: Path) -> None:
    folder = make_study(tmp_path, trials=0)
    names = {"walker/pi.weight": 0.5, "runner/pi.weight": 0.5}
    point = make_point(0, 2, 0.5, 480).model_copy(update={"layers": names})
    for algorithm, weight in ((tmp_path / "dense", 1), (folder.algorithm(point), 0)):
        write(algorithm, "walker", "runner", pi_weight=np.full((2, 3), weight))
    baseline = BASELINE.model_copy(update={"checkpoint": str(tmp_path / "dense")})
    found = networks(folder, baseline, point)
    assert [kernel.name for kernel in found.pruned] == list(names)
    assert [kernel.nonzero for kernel in found.pruned] == [0, 0]
