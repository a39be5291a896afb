"""A study of version 0.1.0, made before the package's rooms, in a storage that lies elsewhere now.

It was stopped within its second trial: t00 pruned weights, t01 neurons (one round of two).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from prune_search.records.folder import StudyFolder
from prune_search.records.models import trial_name
from tests.studies import unpack_old_study


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return unpack_old_study(tmp_path)


def test_an_old_study_is_shown_and_its_points_measure_as_they_did(
    storage: Path, command: Any
) -> None:
    place = ("--storage", str(storage))
    shown = json.loads(command("show", "old", "--json", *place, cwd=storage).out)
    (kept,) = [trial for trial in shown["trials"] if trial["trial"] == trial_name(1)]
    assert shown["baseline"]["checkpoint"].startswith(str(storage))
    for trial, granularity in zip(shown["trials"], ("weight", "neuron"), strict=True):
        assert trial["strategy"]["granularity"] == granularity
    point = kept["points"][0]
    measured = command("evaluate", "old", "t01/0", *place, cwd=storage)
    assert measured.status == 0, measured
    assert f"return {point['return']:.2f} " in measured.out
    assert f"sparsity {point['sparsity']:.4f} " in measured.out


@pytest.mark.slow
def test_an_old_checkpoint_opens_by_rllib_alone(storage: Path) -> None:
    point = storage / "old" / "trials" / "t01" / "round-00" / "algorithm"
    code = (
        "import sys, torch\n"
        "from pathlib import Path\n"
        "from ray.rllib.core.rl_module.rl_module import RLModule\n"
        "modules = Path(sys.argv[1], 'learner_group', 'learner', 'rl_module')\n"
        "module = RLModule.from_checkpoint(modules / 'default_policy')\n"
        "batch = {'obs': torch.zeros(1, 4)}\n"
        "given = module.forward_inference(batch)['action_dist_inputs']\n"
        "print(type(module).__module__, given.shape)"
    )
    opened = subprocess.run(
        [sys.executable, "-c", code, str(point)], capture_output=True, text=True, check=False
    )
    assert opened.stdout.strip() == "prune_search.modules torch.Size([1, 2])", opened.stderr[-500:]


@pytest.mark.slow
def test_an_old_study_is_resumed(storage: Path) -> None:
    folder = StudyFolder(storage, "old")
    before = {trial.name: trial.points for trial in folder.trials()}
    assert [len(points) for points in before.values()] == [2, 1]
    resumed = subprocess.run(
        [sys.executable, "-m", "tuners.cli", "resume", "old", "--storage", str(storage)],
        cwd=storage,
        capture_output=True,
        text=True,
        check=False,
    )
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert [(trial.state, len(trial.points)) for trial in folder.trials()] == [("complete", 2)] * 2
    for trial in folder.trials():
        assert trial.points[: len(before[trial.name])] == before[trial.name]
    final = folder.final()
    assert final is not None and final.points
