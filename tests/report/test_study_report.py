"""A study's report: what is told of trials, plans, stopping and returns."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import optuna
import pytest

from prune_search.records.folder import StudyFolder
from prune_search.records.fronts import sparsest
from prune_search.records.intervals import summarised
from prune_search.records.models import Did, FinalRecord, StudyRecord
from prune_search.records.reasons import SEARCH_STEPS_USED, SEARCH_TIME_USED
from prune_search.records.returns import Return
from tests.report.shown import shown
from tests.studies import (
    BASELINE,
    STARTED,
    make_control,
    make_experiment,
    make_plan,
    make_point,
    make_study,
    make_trial,
    returned,
)
from tuners.catalog.finding import open_study
from tuners.plots.front import study_figure
from tuners.plots.search import curve_figure, importances_figure
from tuners.report.as_json import to_json
from tuners.report.study_report import report
from tuners.search.database import storage
from tuners.tracking.mlflow.runs import summary_run, trial_run


def test_the_curve_and_what_mattered_are_shown(tmp_path: Path) -> None:
    """One field decides: it leads, wherever it is split over several of Optuna's parameters."""
    folder = make_study(tmp_path)
    study = optuna.create_study(
        study_name=folder.name,
        storage=storage(folder),
        directions=["maximize", "maximize"],
        sampler=optuna.samplers.RandomSampler(seed=0),
    )
    for number in range(20):
        trial = study.ask()
        trial.suggest_float("ratio_density", 0.01, 0.3, log=True)
        name = "criterion" if number % 3 else "criterion of magnitude, random"
        good = trial.suggest_categorical(name, ["magnitude", "random"]) == "magnitude"
        if number == 7:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, [1.0 * good + 1e-3 * (7 * number % 20), 5.0 * good])
    found = report(folder, make_experiment())
    assert list(found.importances) == ["criterion", "ratio"]
    assert found.importances["criterion"] > 0.6
    assert sum(found.importances.values()) == pytest.approx(1)
    assert found.curve[-1] == (found.env_steps, pytest.approx(found.hypervolume))
    text = shown(folder)
    assert "Which choices mattered" in text and "hypervolume of the front over env steps" in text
    for picture in (curve_figure(found.curve), importances_figure(found.importances)):
        picture.savefig(tmp_path / "picture.png")
        assert (tmp_path / "picture.png").stat().st_size > 5_000


def test_few_trials_say_nothing_about_what_mattered(tmp_path: Path) -> None:
    folder = make_study(tmp_path)
    assert report(folder, make_experiment()).importances == {}
    assert not (tmp_path / "cartpole" / "optuna.db").exists()  # looking makes nothing
    study = optuna.create_study(study_name=folder.name, storage=storage(folder))
    for _ in range(7):
        study.tell(study.ask({"ratio": optuna.distributions.FloatDistribution(0, 1)}), 1.0)
    assert report(folder, make_experiment()).importances == {}
    assert "mattered" not in shown(folder)


def test_better_and_worse_are_told_where_the_episodes_say_so(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, "mine")
    folder.write_study(StudyRecord(name="mine", started=STARTED, baseline=BASELINE))
    points = [make_point(0, 1, 0.5, 560), make_point(0, 2, 0.8, 505), make_point(0, 3, 0.9, 300)]
    folder.write_trial(make_trial(0, points=points))
    found = report(folder, make_experiment())
    assert [item.than_dense for item in found.front] == ["better", "undecided", "worse"]
    text = " ".join(shown(folder).split())
    assert "better than this dense baseline: t00/1" in text
    assert "too close to this dense baseline to call it better or worse: t00/2" in text
    assert "worse than this dense baseline: t00/3" in text


def test_better_than_dense_is_better_than_training_on_alone(tmp_path: Path) -> None:
    """A policy that is better than the baseline, and no better than the baseline trained on."""
    folder = StudyFolder(tmp_path, "mine")
    control = make_control(540, 560)
    study = StudyRecord(name="mine", started=STARTED, baseline=BASELINE, control=control)
    folder.write_study(study)
    points = [make_point(0, 1, 0.5, 620), make_point(0, 2, 0.8, 562), make_point(0, 3, 0.9, 505)]
    folder.write_trial(make_trial(0, points=points))
    found = report(folder, make_experiment())
    assert [one.than_dense for one in found.front] == ["better", "undecided", "worse"]
    text = " ".join(shown(folder).split())
    assert "better than this dense control: t00/1" in text and "trained on 560" in text
    assert "return 560 [" in text and "40,000 env steps, nothing pruned" in text
    listed = to_json(found)["control"]
    assert listed["return"] == pytest.approx(560) and listed["retention"] > 1
    assert listed["final_return"] is None
    run = summary_run(study, found, make_experiment(), over=True)
    assert run.tags["control_return"].startswith("560 [")
    assert "Dense control" in run.tags["mlflow.note.content"]
    labels = study_figure(found).legends[0].get_texts()
    assert "dense control 560" in [text.get_text() for text in labels]
    # On the final seeds all is measured anew, the control as well.
    unseen = {point.name: returned(500, 100) for point in points}
    folder.write_final(
        FinalRecord(
            baseline=returned(400), random=returned(20), control=returned(500), points=unseen
        )
    )
    seen = report(folder, make_experiment())
    assert {one.than_dense for one in seen.front} == {"undecided"}
    assert to_json(seen)["control"]["final_return"] == pytest.approx(500)


@pytest.mark.parametrize(("kept", "told"), [(12.0, True), (490.0, False)])
def test_what_to_try_is_told_where_most_trials_are_given_up(
    tmp_path: Path, kept: float, told: bool
) -> None:
    """Unless something as sparse as the lowest ratio was found all the same."""
    folder = StudyFolder(tmp_path, "mine")
    study = StudyRecord(name="mine", started=STARTED, baseline=BASELINE)
    folder.write_study(study)
    for number in range(3):
        points = [make_point(number, 1, 0.5, 490), make_point(number, 2, 0.97, 12)]
        if number == 2:
            points.append(make_point(number, 6, 0.99, kept))
        folder.write_trial(make_trial(number, points=points))
    found = report(folder, make_experiment())
    assert [trial.collapsed for trial in found.trials] == [True, True, False]
    lowest = min(trial.plan.ratio or 1.0 for trial in found.trials)
    words = "2 of 3 trials were given up, and what keeps 95% is less sparse than the lowest ratio"
    words += f" that was tried, {lowest:.1%}: recovery lacks"
    note = summary_run(study, found, make_experiment(), over=True).tags["mlflow.note.content"]
    for text in (" ".join(shown(folder).split()), note, " ".join(to_json(found)["advice"])):
        assert (words in text) == told


@pytest.mark.parametrize(("last", "told"), [(505.0, False), (300.0, True)])
def test_a_dense_policy_that_falls_apart_when_it_is_trained_on_is_told_of(
    tmp_path: Path, last: float, told: bool
) -> None:
    """Then no ratio helps: what trials lose is the training's doing."""
    folder = StudyFolder(tmp_path, "mine")
    control = make_control(540, last)
    study = StudyRecord(name="mine", started=STARTED, baseline=BASELINE, control=control)
    folder.write_study(study)
    folder.write_trial(make_trial(0, points=[make_point(0, 1, 0.5, 520)]))
    found = report(folder, make_experiment())
    kept = BASELINE.retention(last)
    words = f"its last round kept {kept:.1%}: the dense policy falls apart"
    text = " ".join(shown(folder).split())
    assert (words in text) == ("[[0, first], [baseline.env_steps, 0]]" in text) == told
    run = summary_run(study, found, make_experiment(), over=True)
    assert (words in run.tags["mlflow.note.content"]) == told
    assert (words in " ".join(to_json(found)["advice"])) == told
    assert to_json(found)["control"]["retention_of_rounds"][-1] == pytest.approx(kept)


def test_episodes_that_were_not_kept_tell_nothing(tmp_path: Path) -> None:
    folder = make_study(tmp_path)
    bare = BASELINE.model_copy(update={"returned": Return(iqm=500, low=9, high=9, episodes=20)})
    folder.write_study(StudyRecord(name="cartpole", started=STARTED, baseline=bare))
    found = report(folder, make_experiment())
    assert {item.than_dense for item in found.front} == {None}
    assert "than this dense baseline:" not in shown(folder)


def test_a_study_of_an_earlier_version_goes_on_as_it_began(tmp_path: Path) -> None:
    folder = make_study(tmp_path)  # its file leaves all of evaluation to the defaults
    assert open_study(str(tmp_path), folder.name)[1].evaluation.aggregate == "mean"
    old = BASELINE.returned.model_copy(update={"aggregate": "iqm"})
    record = StudyRecord(
        name=folder.name, started=STARTED, baseline=BASELINE.model_copy(update={"returned": old})
    )
    folder.write_study(record)
    experiment = open_study(str(tmp_path), folder.name)[1]
    assert experiment.evaluation.aggregate == "iqm" and not experiment.baseline.control
    folder.experiment_file.write_text(
        "{environment: {id: CartPole-v1}, evaluation: {aggregate: mean}, baseline: {control: true}}"
    )
    experiment = open_study(str(tmp_path), folder.name)[1]
    assert experiment.evaluation.aggregate == "mean" and experiment.baseline.control


@pytest.mark.parametrize("width", [80, 140])
def test_a_policy_that_fails_in_a_fifth_of_its_episodes_is_shown_so(
    tmp_path: Path, width: int
) -> None:
    folder = StudyFolder(tmp_path, "mine")
    dense = BASELINE.model_copy(update={"returned": summarised(np.full(20, 500.0), "mean")})
    folder.write_study(StudyRecord(name="mine", started=STARTED, baseline=dense))
    failing = summarised(np.array([10.0] * 4 + [500.0] * 16), "mean")
    point = make_point(0, 1, 0.9, 500).model_copy(
        update={"returned": failing, "retention": dense.retention(failing.value)}
    )
    folder.write_trial(make_trial(0, points=[make_point(0, 2, 0.5, 500), point]))
    found = report(folder, make_experiment())
    assert [item.point.retention for item in found.front] == pytest.approx([1, 0.796], abs=1e-3)
    assert sparsest(found.points, 0.95) == found.points[0]
    listed = to_json(found)
    assert listed["aggregate"] == "mean" and listed["holds_from"] == pytest.approx(260)
    told = listed["front"][1]
    assert (told["return"], told["return_iqm"], told["return_worst"]) == (402, 500, 10)
    assert told["holds"] == 0.8 and told["holds_low"] == pytest.approx(0.584, abs=1e-3)
    text = " ".join(shown(folder, width).split())
    assert "return ≥ 260" in text and "80% [58, 92]" in text and "10" in text
    assert "worse than this dense baseline: t00/1" in text


def test_seeds_of_a_plan_are_pooled_round_by_round(tmp_path: Path) -> None:
    """A seed that collapsed keeps the others' later rounds from being reported as the plan's."""
    folder = make_study(tmp_path, trials=2)
    plan = make_plan(7)

    def seed(number: int, returns: list[float]) -> None:
        points = [
            make_point(number, at, 0.5 + 0.1 * at, iqm).model_copy(update={"progress": at / 3})
            for at, iqm in enumerate(returns, start=1)
        ]
        folder.write_trial(make_trial(number, points=points, plan=plan))

    seed(2, [500, 480, 500])
    assert report(folder, make_experiment()).repeated == []  # one seed is no plan of several
    assert "several seeds" not in shown(folder)
    seed(3, [500, 420, 500])
    seed(4, [500, 60])
    folder.write_trial(make_trial(5, plan=plan, state="stopped"))
    folder.write_trial(make_trial(6, plan=plan, state="failed"))
    # Of an earlier version, which has called it complete: no collapse, and no third round less.
    cut_off = make_trial(7, rounds=1, plan=plan).model_dump() | {"reason": SEARCH_STEPS_USED}
    folder.trial_path(7).mkdir()
    folder.trial_file(7).write_text(json.dumps({**cut_off, "state": "complete"}))

    (found,) = report(folder, make_experiment()).repeated
    assert [trial.name for trial in found.trials] == ["t02", "t03", "t04"]
    assert [trial.name for trial in found.left_out] == ["t05", "t06", "t07"]
    assert found.collapsed == 1
    first, second = found.rounds
    assert first.returned.episodes == 60 and first.returned.value == pytest.approx(500)
    assert first.than_dense == "undecided"  # of three seeds nothing else is said
    assert (first.above, first.below) == (0, 0) and (second.above, second.below) == (0, 3)
    # The mean counts the seed that collapsed; the stratified IQM, which does not, is shown apart.
    assert second.returned.value == pytest.approx(320) and second.returned.low < 100
    assert second.returned.iqm == pytest.approx(370)
    assert second.retention == pytest.approx(BASELINE.retention(320))
    assert found.best(0.95) == first
    text = shown(folder, 140)
    assert "t02 t03 t04 (1 collapsed, 1 failed, 2 stopped)" in text
    listed = to_json(report(folder, make_experiment()))["repeated"]
    assert [one["round"] for one in listed[0]["rounds"]] == [1, 2]
    assert json.dumps(listed, allow_nan=False)


def test_what_dynamic_parts_did_is_told(tmp_path: Path) -> None:
    """Over a trial's rounds, of what its plan names; nothing of a trial of an earlier version."""
    folder = make_study(tmp_path, trials=1)
    rigl = {"regrowth": "rigl", "regrow_every": 500, "drop_fraction": 0.3, "end": 0.9}
    kinds = [
        (rigl, Did(prunings=9, regrowths_due=5, regrowths=4, regrown=617)),
        ({"rewind": "initial"}, Did(prunings=1, rewinds=1)),
        ({"schedule": "gated"}, Did(prunings=1, gate_pruned=1)),
        ({"schedule": "gated"}, None),
        ({}, Did(prunings=2)),
        ({"quantization": "sharing", "bits": 4}, Did(prunings=1, quantized=150)),
    ]
    for number, (part, did) in enumerate(kinds, start=1):
        trial = make_trial(number, rounds=2)
        points = [point.model_copy(update={"did": did}) for point in trial.points]
        chosen = trial.plan.model_copy(update=part)
        folder.write_trial(trial.model_copy(update={"points": points, "plan": chosen}))
    text = shown(folder, 200)
    for words in (
        "8 of 10 regrowths (1,234 weights)",
        "2 rewinds in 2 prunings",
        "gate pruned 2 times, held 0, took back 0",
        "300 weights quantized",
    ):
        assert text.count(words) == 1
    found = [trial["did"] for trial in to_json(report(folder, make_experiment()))["trials"]]
    grown = {"regrowths_due": 10, "regrowths": 8, "regrown": 1234}
    assert found[:3] == [None, {"prunings": 18} | grown, {"prunings": 2, "rewinds": 2}]
    assert found[4:] == [None, {"prunings": 4}, {"prunings": 2, "quantized": 300}]
    study, (_, trial, *_) = folder.study(), folder.trials()
    assert study is not None
    run = trial_run(study, trial, make_experiment(), None, over=True)
    logged = {metric.key: metric.value for metric in run.metrics}
    assert {f"work/{key}": value for key, value in grown.items()}.items() <= logged.items()
    assert run.tags["did"] in run.tags["mlflow.note.content"]


def test_what_stopping_saved_is_told(tmp_path: Path) -> None:
    folder = make_study(tmp_path)
    stopped = make_trial(3, rounds=2, state="stopped", reason="no longer improves the front")
    folder.write_trial(stopped)
    found = report(folder, make_experiment())
    assert found.env_steps_saved == 40_000 - stopped.env_steps
    assert found.env_steps == sum(trial.env_steps for trial in folder.trials())
    text = shown(folder)
    assert f"{found.env_steps_saved:,} saved by stopping 1 trial early" in text
    assert "given up: no longer improves" in " ".join(text.split())
    folder.write_trial(make_trial(4, rounds=2, state="stopped", reason=SEARCH_TIME_USED))
    assert report(folder, make_experiment()).env_steps_saved == found.env_steps_saved
    text = " ".join(shown(folder).split())
    assert "saved by stopping 1 trial early; 1 cut off when the search's budget was used up" in text
