"""SIGTERM to a driver, kill -9 of it and all that it started: resume completes the study, nothing
is doubled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import optuna
import psutil
import pytest

from prune_search.experiment import file as experiment_file
from prune_search.records.folder import StudyFolder
from tests.faults.world import wait_for
from tuners.commands import command
from tuners.search.database import states

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TIMING = {"time", "train_s", "eval_s"}
COMMAND = [sys.executable, "-m", "tuners.cli"]


@pytest.fixture(scope="module")
def storage(tiny: Any, baseline: Any, shared_storage: Path) -> Path:
    """Holds the baseline, and an experiment file of two trials of two rounds."""
    experiment = tiny(
        "search.trials=2",
        "pruning.rounds=2",
        "pruning.env_steps=3000",
        storage=shared_storage,
    )
    (shared_storage / "tiny.yaml").write_text(experiment_file.dump(experiment))
    return shared_storage


@pytest.fixture(scope="module")
def undisturbed(storage: Path) -> list[Any]:
    """The points of the study that nothing happened to."""
    start(storage, "undisturbed").communicate(timeout=300)
    return points(StudyFolder(storage, "undisturbed"))


def start(storage: Path, name: str, resume: bool = False) -> subprocess.Popen[str]:
    arguments = ["resume", name] if resume else ["run", "tiny.yaml", "--name", name]
    return subprocess.Popen(
        [*COMMAND, *arguments, "--storage", str(storage)],
        cwd=storage,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def points(folder: StudyFolder) -> list[Any]:
    return [p.model_dump(exclude=TIMING) for t in folder.trials() for p in t.points]


@pytest.fixture
def family() -> Iterator[list[psutil.Process]]:
    """Processes that the test started; whatever is left of them goes at its end."""
    started: list[psutil.Process] = []
    yield started
    for process in started:
        if process.is_running():
            process.kill()


def descendants(driver: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(driver.pid).children(recursive=True)


def check(folder: StudyFolder, undisturbed: list[Any]) -> None:
    """Complete, and equal to what an undisturbed run measured: nothing lost, nothing doubled."""
    assert [trial.state for trial in folder.trials()] == ["complete"] * 2
    assert points(folder) == undisturbed
    assert set(states(folder).values()) == {optuna.trial.TrialState.COMPLETE}
    client = mlflow.MlflowClient(f"sqlite:///{folder.path.parent / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'prune-search'")
    runs = client.search_runs([experiment.experiment_id], f"tags.study = '{folder.name}'")
    found = sorted(run.data.tags.get("trial", "summary") for run in runs)
    assert found == ["summary", "t00", "t01"]
    assert {run.info.status for run in runs} == {"FINISHED"}
    by_trial = {run.data.tags.get("trial"): run.info.run_id for run in runs}
    for trial in folder.trials():
        history = client.get_metric_history(by_trial[trial.name], "rounds/return")
        assert [m.value for m in sorted(history, key=lambda m: m.timestamp)] == pytest.approx(
            [point.returned.value for point in trial.points],
            rel=1e-5,  # six digits are logged
        )
    final = folder.final()
    assert final is not None and final.points


def test_terminate_then_kill_everything(
    storage: Path, undisturbed: list[Any], family: list[psutil.Process]
) -> None:
    folder = StudyFolder(storage, "everything")
    driver = start(storage, folder.name)
    assert wait_for(lambda: len(points(folder)) >= 1, 200)
    family += descendants(driver)
    driver.terminate()  # as clusters do before they kill
    said, _ = driver.communicate(timeout=100)
    assert driver.returncode == 130
    assert said.splitlines()[-1] == f"stopped; resume it with: {command('resume', folder.path)}"
    assert "Traceback" not in said and "SIGTERM" not in said, said
    driver = start(storage, folder.name, resume=True)
    assert wait_for(lambda: len(points(folder)) >= 3, 200)
    family += descendants(driver)
    for process in [psutil.Process(driver.pid), *family]:
        if process.is_running():
            os.kill(process.pid, signal.SIGKILL)
    driver.wait()
    start(storage, folder.name, resume=True).communicate(timeout=300)
    check(folder, undisturbed)
