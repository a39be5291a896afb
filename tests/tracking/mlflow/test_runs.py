"""What MLflow's runs hold of a study: parameters, metrics, tags, tables and pictures."""

from __future__ import annotations

import json
import math
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from prune_search.records.folder import StudyFolder
from prune_search.records.fronts import front, hypervolume, hypervolume_curve, summary
from prune_search.records.models import Did, StudyRecord
from prune_search.records.reasons import SEARCH_TIME_USED, below_floor, stopped_by
from tests.house import ROOT
from tests.studies import STARTED, make_experiment, make_study, make_trial, mlflow_tracker, returned
from tests.tracking.stores import (
    ARTIFACTS,
    Finished,
    by_trial,
    client_of,
    contents,
    curve,
    finished_points,
    short,
    tracked,
)
from tuners.display.tables import show
from tuners.plots.front import study_html
from tuners.report.study_report import report
from tuners.tracking.mlflow.tracking import default_uri


def test_every_metric_is_explained(finished: Finished) -> None:
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    logged = {key for run in finished.runs.values() for key in run.data.metrics}
    logged |= {f"work/{field}" for field in Did.model_fields}
    assert len(logged) > 30
    assert {key for key in logged if f"`{key}`" not in page} == set()


def test_a_study_becomes_one_flat_run_a_trial_and_one_summary(finished: Finished) -> None:
    runs, report = finished.runs, finished.report
    assert report.pending == [] and report.problem == ""
    assert sorted(runs) == ["summary", "t00", "t01", "t02", "t03", "t04"]
    assert len(contents(finished.storage)) == 6
    failed = [key for key, run in runs.items() if run.info.status == "FAILED"]
    assert failed == ["t03"]
    assert runs["t03"].data.tags["reason"] == "NaN in the learner's weights"
    assert [runs[name].data.tags["chosen_by"] for name in ("t03", "t04")] == ["probe", "tpe"]
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
    assert run.data.params == {"environment": "CartPole-v1", "algorithm": "PPO"}
    assert (run.data.tags["search.trials"], run.data.tags["search.sampler"]) == ("12", "curves")
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
        "report.html",
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
    assert (storage / "mlartifacts" / run_id / "artifacts" / "front.html").is_file()
    assert finished.files("t03") == ARTIFACTS


@pytest.mark.slow
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
