"""Studies projected into real MLflow stores: nothing lost, doubled or waited for."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from prune_search.records.fronts import front
from prune_search.records.models import StudyRecord, TrialRecord
from tests.cluster.servers import free_port
from tests.studies import (
    BASELINE,
    STARTED,
    end_study,
    make_experiment,
    make_study,
    make_trial,
    mlflow_tracker,
    returned,
)
from tests.tracking.stores import (
    ARTIFACTS,
    Finished,
    by_trial,
    client_of,
    contents,
    curve,
    finished_points,
    tracked,
    wait_for,
)
from tuners.tracking.mlflow.tracking import default_uri

ROOT = Path(__file__).parents[2]


def test_the_import_is_quick() -> None:
    rooms = "tuners.tracking.projector, tuners.tracking.mlflow.server, tuners.display.tables"
    code = f"import sys, {rooms}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"mlflow", "matplotlib", "plotly", "plotext", "pandas", "ray"} & set(loaded)


def test_projecting_twice_changes_nothing(storage: Path) -> None:
    folder = make_study(storage, trials=2)
    end_study(folder)
    tracked(storage, folder)
    before = contents(storage)
    tracked(storage, folder)
    (folder.path / "mlflow.json").unlink()
    again = tracked(storage, folder)
    assert contents(storage) == before
    assert set(again.where.runs.values()) == set(before)


@pytest.mark.slow
def test_a_process_that_is_killed_loses_and_doubles_nothing(storage: Path) -> None:
    folder = make_study(storage, trials=1)
    folder.write_trial(make_trial(2, rounds=2, state="running"))
    code = f"""
import os, signal
from tests.studies import *
from tuners.tracking.mlflow.tracking import default_uri
tracker = mlflow_tracker(StudyFolder({str(storage)!r}, "cartpole"), make_experiment(),
                         default_uri(Path({str(storage)!r})))
tracker.catch_up()
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL and killed.stderr == "", killed.stderr
    before = contents(storage)
    assert [status for status, *_ in before.values()].count("RUNNING") == 2  # t02, summary
    (folder.path / "mlflow.json").unlink()

    folder.write_trial(make_trial(2))
    report = tracked(storage, folder)
    assert set(report.where.runs.values()) == set(before) == set(contents(storage))
    run = by_trial(storage, report)["t02"]
    assert run.info.status == "FINISHED"
    steps = client_of(storage).get_metric_history(report.where.runs["t02"], "rounds/return")
    assert [item.step for item in steps] == [1, 2, 3, 4, 5, 6]


def falling(rounds: int, state: str = "complete") -> TrialRecord:
    """Trial 1, each of whose points is sparser than the one before and returns less."""
    trial = make_trial(1, rounds, state)
    points = [
        point.model_copy(
            update={"sparsity": 0.8 + 0.02 * point.round, "returned": returned(500 - point.round)}
        )
        for point in trial.points
    ]
    return trial.model_copy(update={"points": points})


def test_an_interrupted_trial_goes_on_in_its_run(storage: Path) -> None:
    folder = make_study(storage, trials=0)
    folder.write_trial(falling(rounds=3, state="running"))
    stopped = tracked(storage, folder)
    runs = by_trial(storage, stopped)
    assert {run.info.status for run in runs.values()} == {"KILLED"}
    assert runs["t01"].data.tags["reason"].startswith("interrupted")
    shown = client_of(storage).download_artifacts(stopped.where.runs["t01"], "front.json")

    resumed = mlflow_tracker(folder, make_experiment(), default_uri(storage))
    assert resumed.catch_up().where.runs == stopped.where.runs
    runs = by_trial(storage, stopped)
    assert runs["t01"].info.status == runs["summary"].info.status == "RUNNING"
    assert "reason" not in runs["t01"].data.tags

    before = Path(shown).read_text()
    folder.write_trial(falling(rounds=6))
    resumed.trial_changed(falling(rounds=6))
    resumed.start()
    assert resumed.finish(timeout_s=60).where.runs == stopped.where.runs
    assert by_trial(storage, stopped)["t01"].info.status == "FINISHED"
    after = client_of(storage).download_artifacts(stopped.where.runs["t01"], "front.json")
    assert Path(after).read_text() != before


def better(trial: TrialRecord, last: int) -> TrialRecord:
    """The trial with a last point that dominates all others: sparser, and nothing lost."""
    best = trial.points[last].model_copy(update={"sparsity": 0.995, "returned": returned(500)})
    return trial.model_copy(update={"points": [*trial.points[:last], best]})


def test_a_study_may_go_on_with_another_search(storage: Path) -> None:
    """MLflow lets no parameter change, and would keep the summary from ever being caught up."""
    folder, begun = make_study(storage, trials=1), make_experiment()
    tracked(storage, folder, begun)
    folder.write_trial(make_trial(1))
    changes = {"trials": 20, "sampler": "tpe", "retention": 0.9}
    search = begun.search.model_copy(update=changes)
    live = tracked(storage, folder, begun.model_copy(update={"search": search}))
    assert (live.problem, live.pending) == ("", [])
    tags = client_of(storage).get_run(live.where.runs["summary"]).data.tags
    assert (tags["search.trials"], tags["search.sampler"]) == ("20", "tpe")


def test_points_that_fall_off_a_front_leave_its_chart(storage: Path) -> None:
    """MLflow forgets no metric: what was drawn as the study was interrupted would stay."""
    folder = make_study(storage, trials=1)
    folder.write_trial(make_trial(1, rounds=3, state="running"))
    stopped = tracked(storage, folder)
    assert curve(Finished(storage, folder, stopped, {}), "t01")

    folder.write_trial(better(make_trial(1), last=5))
    end_study(folder)
    ended = tracked(storage, folder)
    finished, best = Finished(storage, folder, ended, {}), (0.995, 500.0)
    assert curve(finished, "t01") == [best]
    assert curve(finished, "summary")[-1] == best
    assert len(curve(finished, "summary")) == len(front(finished_points(finished)))
    assert ended.where.runs["t00"] == stopped.where.runs["t00"]
    assert set(ended.where.runs.values()) == set(
        contents(storage)
    )  # what they replace is not shown
    assert tracked(storage, folder).where.runs == ended.where.runs


def test_a_round_that_was_lost_and_made_again_is_drawn_once(storage: Path) -> None:
    """A node was lost after the driver had seen its point, and before the mirror had."""
    folder = make_study(storage, trials=1)
    folder.write_trial(make_trial(1, rounds=4, state="running"))
    mlflow_tracker(folder, make_experiment(), default_uri(storage)).catch_up()
    folder.write_trial(better(make_trial(1, rounds=4, state="running"), last=3))
    report = mlflow_tracker(folder, make_experiment(), default_uri(storage)).catch_up()
    drawn = client_of(storage).get_metric_history(report.where.runs["t01"], "rounds/return")
    assert [item.step for item in drawn] == [1, 2, 3, 4] and drawn[-1].value == 500
    assert set(report.where.runs.values()) == set(contents(storage))


@pytest.mark.slow
def test_studies_of_one_name_are_kept_apart(storage: Path) -> None:
    first = make_study(storage / "a", trials=1)
    second = make_study(storage / "b", trials=1)
    second.write_study(StudyRecord(name="cartpole", started=STARTED + 1, baseline=BASELINE))
    reports = [tracked(storage, folder) for folder in (first, second)]
    assert not set(reports[0].where.runs.values()) & set(reports[1].where.runs.values())
    assert len(contents(storage)) == 4


def test_deleted_runs_and_experiments(storage: Path) -> None:
    folder = make_study(storage, trials=1)
    first = tracked(storage, folder)
    client_of(storage).delete_run(first.where.runs["t00"])
    second = tracked(storage, folder)
    assert second.where.runs["t00"] != first.where.runs["t00"]
    assert second.where.runs["summary"] == first.where.runs["summary"]
    files = client_of(storage).list_artifacts(second.where.runs["t00"])
    assert [item.path for item in files] == ARTIFACTS

    client_of(storage).delete_experiment(first.where.experiment_id)
    third = mlflow_tracker(folder, make_experiment(), default_uri(storage)).catch_up()
    assert third.pending == ["summary", "t00"]
    assert "is deleted" in third.problem and "tracking.experiment" in third.problem


@pytest.mark.slow
def test_a_store_that_is_away_never_blocks(storage: Path, capfd: Any) -> None:
    folder = make_study(storage)
    address = f"http://127.0.0.1:{free_port()}"
    tracker = mlflow_tracker(folder, make_experiment(), address)
    tracker.start()
    # Were one of these to wait for the store, the test would run into its time limit.
    for number in range(3):
        for _ in range(1_000):
            tracker.trial_changed(make_trial(number))
    wait_for(lambda: tracker.problem != "")
    report = tracker.finish(timeout_s=2)
    assert report.pending == ["summary", "t00", "t01", "t02"]
    assert address in report.problem and "\n" not in report.problem and len(report.problem) < 300
    assert (
        report.where.experiment_id is None
        and report.where.runs == {}
        and report.where.compare_url == ""
    )
    assert capfd.readouterr() == ("", "")

    # The same study, pointed to a store that answers: all is caught up.
    live = tracked(storage, folder)
    assert live.pending == [] and sorted(live.where.runs) == ["summary", "t00", "t01", "t02"]


@pytest.mark.slow
def test_a_locked_database_is_caught_up(storage: Path, capfd: Any) -> None:
    folder = make_study(storage, trials=1)
    tracked(storage, folder)
    folder.write_trial(make_trial(1))
    lock = sqlite3.connect(storage / "mlflow.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    try:
        tracker = mlflow_tracker(folder, make_experiment(), default_uri(storage) + "?timeout=0.1")
        tracker.start()
        tracker.trial_changed(make_trial(1))
        wait_for(lambda: tracker.problem != "")
    finally:
        lock.execute("ROLLBACK")
        lock.close()
    assert "locked" in tracker.problem
    assert tracker.finish(timeout_s=60).pending == []
    assert len(contents(storage)) == 3
    assert capfd.readouterr() == ("", "")
