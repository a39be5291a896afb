"""Trials that take no time leave all that real ones would: in records, Optuna and MLflow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest
from optuna.trial import TrialState

from prune_search.records.folder import StudyFolder
from tests.plans import plan
from tuners.benchmarks.simulation import BASELINE, SimulatedRounds
from tuners.search.database import states
from tuners.tracking.mlflow.tracking import default_uri

TRIALS, ROUNDS = 6, 2


def made_up(folder: StudyFolder, number: int, **changes: Any) -> list[Any]:
    rounds = SimulatedRounds(folder, BASELINE, number, plan(**changes))
    while not rounds.done:
        rounds.step()
    return [
        point.model_dump(exclude={"trial", "time", "checkpoint"}) for point in rounds.record.points
    ]


def test_made_up_rounds_follow_from_the_plan_alone(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, "study")
    first = made_up(folder, 0)
    assert first == made_up(folder, 1) != made_up(folder, 2, ratio=0.81)
    assert [point["round"] for point in first] == [0, 1, 2]
    assert first[-1]["sparsity"] == pytest.approx(0.8, abs=1e-3)
    begun = SimulatedRounds(folder, BASELINE, 3, plan())
    begun.step()
    assert made_up(folder, 3) == first  # goes on where its record ends
    assert [trial.state for trial in folder.trials()] == ["complete"] * 4


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_study_of_made_up_trials_is_whole(tmp_path: Path) -> None:
    options = ["--trials", str(TRIALS), "--rounds", str(ROUNDS), "--storage", str(tmp_path)]
    command = [sys.executable, "-m", "tuners.cli", "benchmark", "scale", *options]
    ended = subprocess.run(  # in a process of its own: the tests' own Ray is another cluster
        [*command, "--to", "scale.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "seconds a trial" in ended.stdout
    (found,) = json.loads((tmp_path / "scale.json").read_text())
    assert found["trials"] == TRIALS and found["study"] == f"scale-{TRIALS}"
    assert set(found["parts"]) == {"ray", "optuna", "records", "mlflow"}
    assert [trials for trials, _ in found["curve"]] == [TRIALS]
    assert all(cost["cpu_s"] > 0 for cost in found["parts"].values())

    folder = StudyFolder(tmp_path, found["study"])
    trials = folder.trials()
    assert [trial.number for trial in trials] == list(range(TRIALS))
    assert {trial.state for trial in trials} == {"complete"}
    assert {len(trial.points) for trial in trials} == {ROUNDS}
    assert states(folder) == dict.fromkeys(range(TRIALS), TrialState.COMPLETE)

    client = mlflow.MlflowClient(default_uri(tmp_path))
    (experiment,) = client.search_experiments(filter_string="name = 'prune-search'")
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    by_trial = {run.data.tags.get("trial", "summary"): run for run in runs}
    assert set(by_trial) == {"summary", *(trial.name for trial in trials)}
    assert by_trial["summary"].data.metrics["study/trials_complete"] == TRIALS
    for trial in trials:
        run_id = by_trial[trial.name].info.run_id
        history = client.get_metric_history(run_id, "rounds/sparsity")
        assert [item.step for item in history] == list(range(ROUNDS))
        files = [item.path for item in client.list_artifacts(run_id)]
        assert files == ["best_at_sparsity.json", "front.html", "front.json"]
