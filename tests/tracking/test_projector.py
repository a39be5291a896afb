"""Tracking, on real MLflow stores and records made by hand."""

from __future__ import annotations

import base64
import json
import math
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from prune_search.errors import UserError
from prune_search.records.folder import StudyFolder
from prune_search.records.fronts import front, hypervolume, hypervolume_curve, summary
from prune_search.records.models import Point, StudyRecord, TrialRecord
from prune_search.records.reasons import SEARCH_TIME_USED, below_floor, stopped_by
from tests.cluster.servers import free_port
from tests.commands import python
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
from tuners.display.tables import show
from tuners.plots.front import study_html
from tuners.report.study_report import report
from tuners.tracking.mlflow.client import tracked_experiment
from tuners.tracking.mlflow.runs import study_id
from tuners.tracking.mlflow.server import ui
from tuners.tracking.mlflow.tracking import default_uri
from tuners.tracking.mlflow.views import choices, compare_url, runs_url
from tuners.tracking.projector import TrackerReport

ROOT = Path(__file__).parents[2]
ARTIFACTS = ["best_at_sparsity.json", "front.html", "front.json", "front.png"]


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new SQLite store, made once: its migrations take two seconds."""
    path = tmp_path_factory.mktemp("store")
    with pytest.raises(UserError, match="no experiment 'none' yet"):
        tracked_experiment(default_uri(path), "none")
    return path / "mlflow.db"


@pytest.fixture
def storage(tmp_path: Path, empty_store: Path) -> Path:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return tmp_path


def client_of(storage: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(default_uri(storage))


def tracked(storage: Path, folder: StudyFolder) -> TrackerReport:
    """Projects a study to its end, as the driver does."""
    tracker = mlflow_tracker(folder, make_experiment(), default_uri(storage))
    tracker.start()
    return tracker.finish(timeout_s=60)


def contents(storage: Path) -> dict[str, Any]:
    """All that MLflow holds, down to each metric's history."""
    client = client_of(storage)
    found = {}
    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id]):
            run_id = run.info.run_id
            history = {
                key: sorted(
                    (item.step, item.value, item.timestamp)
                    for item in client.get_metric_history(run_id, key)
                )
                for key in run.data.metrics
            }
            files = sorted(item.path for item in client.list_artifacts(run_id))
            found[run_id] = (run.info.status, run.data.params, run.data.tags, history, files)
    return found


def by_trial(storage: Path, report: TrackerReport) -> dict[str, Any]:
    client = client_of(storage)
    return {key: client.get_run(run_id) for key, run_id in report.where.runs.items()}


@dataclass(frozen=True)
class Finished:
    """A study that is over, and its runs."""

    storage: Path
    folder: StudyFolder
    report: TrackerReport
    runs: dict[str, Any]
    """MLflow's, by trial name."""

    def files(self, key: str) -> list[str]:
        found = client_of(self.storage).list_artifacts(self.report.where.runs[key])
        return [item.path for item in found]

    def history(self, key: str, metric: str) -> list[Any]:
        found: list[Any] = client_of(self.storage).get_metric_history(
            self.report.where.runs[key], metric
        )
        return found


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Finished:
    """Three complete trials, one that failed, and one by threshold; not to be changed."""
    storage = tmp_path_factory.mktemp("finished")
    shutil.copy(empty_store, storage / "mlflow.db")
    folder = make_study(storage)
    folder.write_trial(make_trial(3, rounds=2, state="failed"))
    folder.write_trial(make_trial(4))
    end_study(folder)
    report = tracked(storage, folder)
    return Finished(storage, folder, report, by_trial(storage, report))


def test_the_import_is_quick() -> None:
    rooms = "tuners.tracking.projector, tuners.tracking.mlflow.server, tuners.display.tables"
    code = f"import sys, {rooms}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"mlflow", "matplotlib", "plotly", "plotext", "pandas", "ray"} & set(loaded)


def test_a_study_becomes_one_flat_run_a_trial_and_one_summary(finished: Finished) -> None:
    runs, report = finished.runs, finished.report
    assert report.pending == [] and report.problem == ""
    assert sorted(runs) == ["summary", "t00", "t01", "t02", "t03", "t04"]
    assert len(contents(finished.storage)) == 6
    failed = [key for key, run in runs.items() if run.info.status == "FAILED"]
    assert failed == ["t03"]
    assert runs["t03"].data.tags["reason"] == "NaN in the learner's weights"
    note = "mlflow.note.content"
    assert "`, failed (NaN in the learner" in runs["t03"].data.tags[note]
    assert "`, complete.\n" in runs["t00"].data.tags[note]
    assert [run.info.status for run in runs.values()].count("FINISHED") == 5
    for key, run in runs.items():
        assert run.data.tags["study"] == "cartpole"
        assert run.data.tags["kind"] == ("summary" if key == "summary" else "trial")
        assert run.data.tags["mlflow.source.name"] == "prune-search"
        assert "mlflow.parentRunId" not in run.data.tags
    record = finished.folder.trial(1)
    assert record is not None
    # What is searched, and all of these trials have in common is not.
    told = f"{record.plan.criterion}/{record.plan.allocation}/{record.plan.schedule}"
    assert runs["t01"].info.run_name == f"t01 {record.plan.aim} {told}"
    assert runs["t01"].info.start_time == record.started * 1000
    assert runs["t01"].info.end_time == record.points[-1].time * 1000


def test_what_became_of_a_trial_is_told_in_the_terminals_words(storage: Path) -> None:
    """Given up by itself is "complete" in the record, and stopped by the search "stopped"."""
    folder = make_study(storage, trials=1)
    collapsed = below_floor(0.5, 2)
    folder.write_trial(make_trial(1, rounds=3, reason=collapsed))
    folder.write_trial(make_trial(2, rounds=3, state="stopped", reason=stopped_by("asha")))
    folder.write_trial(make_trial(3, rounds=3, state="stopped", reason=SEARCH_TIME_USED))
    folder.write_trial(make_trial(4, rounds=3, state="failed"))
    runs = by_trial(storage, tracked(storage, folder))
    expected = {
        "t00": "complete.",
        "t01": f"given up ({collapsed}).",
        "t02": "given up (stopped by asha).",
        "t03": f"stopped ({SEARCH_TIME_USED}).",
        "t04": "failed (NaN in the learner's weights).",
    }
    console = Console(file=StringIO(), width=200)
    show(report(folder, make_experiment()), console)
    shown = [line for line in console.file.getvalue().splitlines() if line.startswith("t0")]  # type: ignore[attr-defined]
    for (key, words), line in zip(expected.items(), shown, strict=False):
        first = runs[key].data.tags["mlflow.note.content"].splitlines()[0]
        assert first.endswith(f"`, {words}")
        assert line.startswith(key) and words.partition(" (")[0].rstrip(".") in line
    metrics = runs["summary"].data.metrics
    counted = ("complete", "given_up", "stopped", "failed")
    assert [metrics[f"study/trials_{word}"] for word in counted] == [1, 2, 1, 1]


def test_one_trial_is_one_trial(storage: Path) -> None:
    folder = make_study(storage, trials=1)
    note = by_trial(storage, tracked(storage, folder))["summary"].data.tags["mlflow.note.content"]
    assert "**cartpole**: 1 trial, pruning PPO on CartPole-v1." in note
    assert "CartPole-v1, 1 trial</text>" in study_html(report(folder, make_experiment()))


def test_parameters_are_the_plan(finished: Finished) -> None:
    params = finished.runs["t04"].data.params
    plan = make_trial(4).plan
    # Charts of choices leave out runs that lack one of them.
    assert set(params) == {*plan.model_dump(exclude_none=True), "allocation"}
    assert "ratio" not in params and params["criterion"] == "threshold"
    assert params["allocation"] == "none"
    assert float(params["threshold"]) == pytest.approx(plan.threshold, rel=1e-5)


def test_metrics_draw_the_curve_and_tell_trials_apart(finished: Finished) -> None:
    metrics, trial = finished.runs["t00"].data.metrics, make_trial(0)
    assert curve(finished, "t00") == [
        (short(point.sparsity), short(point.returned.value)) for point in front(trial.points)
    ]
    rounds = finished.history("t00", "rounds/return")
    assert [(item.step, item.value, item.timestamp) for item in rounds] == [
        (point.round, short(point.returned.value), round(1000 * point.time))
        for point in trial.points
    ]
    # No training episode had ended in the first round.
    training = finished.history("t00", "rounds/return_training")
    assert [item.step for item in training] == [2, 3, 4, 5, 6]

    expected = summary(trial, retention=0.95)
    assert metrics["hypervolume"] == short(expected["hypervolume"])
    assert metrics["log_hypervolume"] == short(expected["log_hypervolume"]) > 0
    for key in ("return", "sparsity", "retention"):
        assert metrics[f"best_{key}"] == short(expected[key])
        assert {item.step for item in finished.history("t00", f"best_{key}")} == {0}
    assert metrics["work/env_steps"] == trial.env_steps
    assert len(metrics) <= 20  # each is a chart of its own
    worst = {point.round: short(point.returned.worst or 0) for point in trial.points}
    assert {m.step: m.value for m in finished.history("t00", "rounds/return_worst")} == worst
    assert metrics["best_holds"] == metrics["rounds/holds"] == 1
    assert 0 < metrics["best_return_worst"] < metrics["best_return"]


def curve(finished: Finished, key: str) -> list[tuple[float, float]]:
    """A run's front as MLflow's chart draws it: pairs by step, which must tell all points apart."""
    found = [finished.history(key, f"front/{axis}") for axis in ("sparsity", "return")]
    across, up = ({item.step: item.value for item in history} for history in found)
    assert across.keys() == up.keys() and len(up) == len(found[1])
    return [(across[step], up[step]) for step in sorted(up)]


def test_points_of_nearly_equal_sparsity_are_told_apart(storage: Path) -> None:
    folder = make_study(storage, trials=1)
    trial = make_trial(0)
    near = [0.98765, 0.987651, 0.987652, 0.99]
    points = [
        point.model_copy(
            update={
                "sparsity": sparsity,
                "retention": 1 - sparsity,
                "returned": returned(100 * (1 - sparsity)),
            }
        )
        for point, sparsity in zip(trial.points, near, strict=False)
    ]
    folder.write_trial(trial.model_copy(update={"points": points}))
    report = tracked(storage, folder)
    drawn = curve(Finished(storage, folder, report, {}), "t00")
    assert [sparsity for sparsity, _ in drawn] == near


def test_a_front_is_drawn_once_it_stands(storage: Path) -> None:
    folder = make_study(storage, trials=0)
    folder.write_trial(make_trial(0, rounds=3, state="running"))
    tracker = mlflow_tracker(folder, make_experiment(), default_uri(storage))
    metrics = by_trial(storage, tracker.catch_up())["t00"].data.metrics
    assert "front/return" not in metrics and "rounds/return" in metrics
    folder.write_trial(make_trial(0))
    finished = Finished(storage, folder, tracker.catch_up(), {})
    assert len(curve(finished, "t00")) == len(front(make_trial(0).points))


def test_runs_share_the_rows_of_one_table(finished: Finished) -> None:
    client, tables = client_of(finished.storage), {}
    for key, run in finished.runs.items():
        first = json.loads(run.data.tags["mlflow.loggedArtifacts"])[0]["path"]
        text = Path(client.download_artifacts(finished.report.where.runs[key], first)).read_text()
        tables[key] = json.loads(text)
    rows = {key: [row[0] for row in table["data"]] for key, table in tables.items()}
    assert set(map(tuple, rows.values())) == {tuple(rows["summary"])}
    assert rows["summary"][:2] == ["50 %", "75 %"]
    assert tables["t00"]["columns"][:2] == ["sparsity at least", "return"]
    points = make_trial(0).points
    for level, value, _, sparsity, name in tables["t00"]["data"]:
        enough = [p for p in points if p.sparsity >= float(level.removesuffix(" %")) / 100]
        best = max(enough, key=lambda p: p.returned.value, default=None)
        assert name == (best.name if best else None)
        assert value == (short(best.returned.value) if best else None)
        assert sparsity == (short(best.sparsity) if best else None)


def test_the_summary_run_holds_the_study(finished: Finished) -> None:
    run, best = finished.runs["summary"], front(finished_points(finished))
    metrics, note = run.data.metrics, run.data.tags["mlflow.note.content"]
    assert run.info.run_name == "summary cartpole"
    assert run.data.params == {
        "environment": "CartPole-v1",
        "algorithm": "PPO",
        "trials": "12",
        "sampler": "tpe",
    }
    assert metrics["hypervolume"] == short(hypervolume(best))
    assert run.data.tags["baseline_return"].startswith("500 [")
    assert run.data.tags["random_return"].startswith("20 [")
    assert metrics["study/trials_complete"] == 4 and metrics["study/trials_failed"] == 1
    assert metrics["study/wall_s"] == 321
    assert curve(finished, "summary") == [
        (short(point.sparsity), short(point.returned.value)) for point in best
    ]
    for point in best:
        assert f"| {point.name} |" in note
    assert "return on final seeds" in note and "prune-search evaluate cartpole t0" in note
    assert finished.files("summary") == [
        "best_at_sparsity.json",
        "experiment.yaml",
        "front.html",
        "front.json",
        "front.png",
        "hypervolume.png",
    ]
    grown = finished.history("summary", "study/front_area")
    assert sorted((item.step, item.value) for item in grown) == [
        (steps, short(value)) for steps, value in hypervolume_curve(finished.folder.trials())
    ]


def test_artifacts_lie_beside_a_sqlite_file(finished: Finished) -> None:
    client, storage = client_of(finished.storage), finished.storage
    experiment = client.get_experiment(finished.report.where.experiment_id)
    assert experiment.artifact_location == (storage / "mlartifacts").as_uri()
    run_id = finished.report.where.runs["t00"]
    assert (storage / "mlartifacts" / run_id / "artifacts" / "front.png").is_file()
    assert finished.files("t03") == ARTIFACTS


def test_the_addresses_open_views_that_exist(finished: Finished) -> None:
    report = finished.report
    tags = client_of(finished.storage).get_experiment(report.where.experiment_id).tags
    key = report.where.runs_url.partition("viewStateShareKey=")[2]
    tag = tags[f"mlflow.sharedViewState.{key}"]
    assert len(tag) <= 5_000  # MLflow's limit
    envelope = json.loads(tag)
    assert envelope["name"] == "cartpole"
    packed = envelope["state"].removeprefix("deflate;")
    view = json.loads(zlib.decompress(base64.b64decode(packed)))
    assert view["searchFilter"] == "tags.study = 'cartpole'"
    assert view["runsHiddenMode"] == "SHOW_ALL"
    # What a chart shows, runs have: MLflow leaves out others without a word.
    data = [run.data for key, run in finished.runs.items() if key != "summary"]
    columns = {f"metrics.`{key}`" for run in data for key in run.metrics}
    columns |= {f"params.`{key}`" for run in data for key in run.params}
    assert set(view["selectedColumns"]) <= columns
    line, scatter, parallel, _ = view["compareRunCharts"]
    for run in data:
        assert {line["metricKey"], line["selectedXAxisMetricKey"]} <= run.metrics.keys()
        assert {scatter["xaxis"]["key"], scatter["yaxis"]["key"]} <= run.metrics.keys()
        assert set(parallel["selectedMetrics"]) <= run.metrics.keys()
        assert set(parallel["selectedParams"]) <= run.params.keys()
    sections = {section["uuid"] for section in view["compareRunSections"]}
    assert {chart["metricSectionId"] for chart in (line, scatter, parallel)} <= sections
    assert report.where.runs["t00"] in report.where.compare_url
    assert report.where.runs["summary"] not in report.where.compare_url


def test_choices_that_differ_are_shown_first() -> None:
    plans = [make_trial(number).plan for number in range(10)]
    assert choices([])[:3] == ["criterion", "allocation", "schedule"]
    assert choices(plans) == ["criterion", "allocation", "schedule", "scope", "granularity"]
    alike = [plans[0].model_copy(update={"rounds": rounds}) for rounds in (3, 6)]
    assert choices(alike)[0] == "rounds" and len(choices(alike)) == 5


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


def test_fronts_of_several_runs_are_one_table(storage: Path) -> None:
    import mlflow

    folder = make_study(storage, trials=2)
    report = tracked(storage, folder)
    (folder.path / "mlflow.json").unlink()
    tracked(storage, folder)  # a second time, so that rows could have been doubled
    mlflow.set_tracking_uri(default_uri(storage))
    try:
        mlflow.set_experiment(experiment_id=report.where.experiment_id)
        chosen = [report.where.runs["t00"], report.where.runs["t01"]]
        table = mlflow.load_table("front.json", run_ids=chosen, extra_columns=["run_id"])
    finally:
        mlflow.set_tracking_uri(None)
    points = [point for number in (0, 1) for point in front(make_trial(number).points)]
    assert sorted(table["point"]) == sorted(point.name for point in points)
    row = table[table["point"] == points[0].name].iloc[0]
    assert row["sparsity"] == pytest.approx(points[0].sparsity, abs=1e-6)
    assert row["checkpoint"] == str(folder.path / points[0].checkpoint)
    named = {"trial", "round", "weight_sparsity", "compression", "nonzero", "return", "holds"}
    assert named <= set(table.columns)


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


def test_studies_of_one_name_are_kept_apart(storage: Path) -> None:
    first = make_study(storage / "a", trials=1)
    second = make_study(storage / "b", trials=1)
    second.write_study(StudyRecord(name="cartpole", started=STARTED + 1, baseline=BASELINE))
    reports = [tracked(storage, folder) for folder in (first, second)]
    assert not set(reports[0].where.runs.values()) & set(reports[1].where.runs.values())
    assert len(contents(storage)) == 4


def test_nothing_that_is_not_finite_is_logged(storage: Path) -> None:
    folder = make_study(storage, trials=1)
    trial = make_trial(0)
    odd = trial.points[2].model_copy(
        update={"return_pruned": float("nan"), "compression": float("inf")}
    )
    points = [*trial.points[:2], odd, *trial.points[3:]]
    folder.write_trial(trial.model_copy(update={"points": points}))
    assert tracked(storage, folder).pending == []
    for _, _, _, history, _ in contents(storage).values():
        assert all(math.isfinite(value) for values in history.values() for _, value, _ in values)


def test_a_study_without_baseline_or_points_has_its_summary(storage: Path) -> None:
    folder = StudyFolder(storage, "young")
    folder.write_study(StudyRecord(name="young", started=STARTED))
    folder.write_trial(make_trial(0, rounds=0, state="failed"))
    report = tracked(storage, folder)
    assert report.pending == [] and report.where.compare_url == ""
    assert by_trial(storage, report)["summary"].info.status == "KILLED"
    assert by_trial(storage, report)["t00"].info.status == "FAILED"


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


def test_addresses() -> None:
    study = StudyRecord(name="it's", started=STARTED)
    assert compare_url("http://host:1/", "7", ["a", "b"]) == (
        "http://host:1/#/compare-runs?runs=%5B%22a%22%2C%22b%22%5D&experiments=%5B%227%22%5D"
        "&workflowType=machine_learning"
    )
    assert runs_url("http://host:1", "7", study_id(study)) == (
        "http://host:1/#/experiments/7/runs?workflowType=machine_learning"
        "&compareRunsMode=CHART&viewStateShareKey=it-s-1760000000.000"
    )
    assert runs_url("http://host:1", "7").endswith("&viewStateShareKey=prune-search")


def short(value: float) -> float:
    return float(f"{value:.6g}")


@pytest.mark.slow
def test_the_server_shows_a_store_and_takes_what_was_pending(storage: Path) -> None:
    tracked(storage, make_study(storage, trials=1, name="earlier"))
    folder, port = make_study(storage, trials=1), free_port()
    tracker = mlflow_tracker(folder, make_experiment(), f"http://127.0.0.1:{port}")
    tracker.start()
    tracker.trial_changed(make_trial(0))
    wait_for(lambda: tracker.problem != "")

    code = (
        "from tuners.tracking.mlflow.server import ui\n"
        f"ui({default_uri(storage)!r}, 'prune-search', port={port},"
        " show=lambda line: print(line, flush=True))"
    )
    server = python("-c", code)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        assert line.startswith(f"http://127.0.0.1:{port}/#/experiments/1/runs?"), line
        with pytest.raises(UserError, match="--port: can't listen on"):
            ui(default_uri(storage), "prune-search", port=port)
        report = tracker.finish(timeout_s=60)
        assert report.pending == [] and report.problem == ""
        assert tracker.problem == ""
        children = children_of(server.pid)
        assert children
    finally:
        server.terminate()
        assert server.wait(20) == 0
    assert not [child for child in children if Path(f"/proc/{child}").exists()]
    assert sorted(by_trial(storage, report)) == ["summary", "t00"]
    assert (
        storage / "mlartifacts" / report.where.runs["t00"] / "artifacts" / "front.png"
    ).is_file()


def test_the_server_says_what_is_missing(storage: Path) -> None:
    with pytest.raises(UserError, match="no MLflow store at"):
        ui(default_uri(storage / "elsewhere"), "prune-search")
    with pytest.raises(UserError, match="has no experiment 'nowhere' yet"):
        ui(default_uri(storage), "nowhere")
    with pytest.raises(UserError, match=r"tracking\.uri"):
        ui(f"http://127.0.0.1:{free_port()}", "prune-search")


def finished_points(finished: Finished) -> list[Point]:
    return [point for trial in finished.folder.trials() for point in trial.points]


def wait_for(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)


def children_of(pid: int) -> list[int]:
    """Processes that a process has started, and those that they have."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            found += [child, *children_of(child)]
    return found
