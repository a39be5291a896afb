"""Reports, terminal view and pictures, on records made by hand."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import optuna
import pytest
from rich.console import Console

from prune_search.records.folder import StudyFolder
from prune_search.records.fronts import front, hypervolume, sparsest
from prune_search.records.intervals import summarised
from prune_search.records.models import ControlRecord, Did, FinalRecord, Point, StudyRecord
from prune_search.records.reasons import (
    SEARCH_STEPS_USED,
    SEARCH_TIME_USED,
    below_floor,
    no_longer_improves,
)
from prune_search.records.returns import Return
from tests.studies import (
    BASELINE,
    STARTED,
    end_study,
    make_experiment,
    make_plan,
    make_point,
    make_study,
    make_trial,
    returned,
)
from tuners.catalog.finding import open_study
from tuners.display.tables import show
from tuners.plots.front import front_figure, front_html, position, study_figure, ticks
from tuners.plots.search import curve_figure, importances_figure
from tuners.report.as_json import to_json
from tuners.report.study_report import report
from tuners.search.database import storage
from tuners.tracking.mlflow.runs import summary_run, trial_run
from tuners.words import joined

RETURN_KEYS = (
    "return",
    "return_low",
    "return_high",
    "return_mean",
    "return_iqm",
    "return_worst",
    "holds",
    "holds_low",
    "holds_high",
)
POINT_KEYS = {
    "point",
    "trial",
    "round",
    "sparsity",
    "weight_sparsity",
    "compression",
    "nonzero",
    "physical",
    "compact",
    "stored_bytes",
    "compact_bytes",
    "macs",
    "cost_missing",
    "retention",
    "env_steps",
    "checkpoint",
    *(f"{seeds}{key}" for seeds in ("", "final_") for key in RETURN_KEYS),
}


def points_of(folder: StudyFolder) -> list[Point]:
    return [point for trial in folder.trials() for point in trial.points]


def shown(folder: StudyFolder, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    show(report(folder, make_experiment()), console)
    stream = console.file
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()


def test_json_holds_what_it_documents(tmp_path: Path) -> None:
    folder = make_study(tmp_path)
    folder.write_trial(make_trial(3, rounds=2, state="failed"))
    end_study(folder)
    found = json.loads(json.dumps(to_json(report(folder, make_experiment())), allow_nan=False))

    assert list(found) == [
        "name",
        "environment",
        "baseline",
        "control",
        "random_return",
        "aggregate",
        "holds_from",
        "hypervolume",
        "log_hypervolume",
        "env_steps",
        "env_steps_saved",
        "curve",
        "importances",
        "trials",
        "front",
        "repeated",
        "recommended",
    ]
    assert (found["name"], found["environment"]) == ("cartpole", "CartPole-v1")
    assert found["baseline"]["return_iqm"] == 500 and found["baseline"]["parameters"] == 4_610
    assert found["baseline"]["final_return_iqm"] == 498
    assert found["random_return"] == 20
    assert found["hypervolume"] == pytest.approx(hypervolume(points_of(folder)))

    best = front(points_of(folder))
    assert [item["point"] for item in found["front"]] == [point.name for point in best]
    first = found["front"][0]
    assert set(first) == POINT_KEYS | {"strategy", "than_dense"}
    assert None not in first["strategy"].values() and first["strategy"]["granularity"] == "weight"
    assert first["checkpoint"] == str(folder.path / best[0].checkpoint)
    assert Path(first["checkpoint"]).is_absolute()
    assert first["final_return_iqm"] == pytest.approx(0.97 * first["return_iqm"])

    failed = found["trials"][3]
    assert failed["trial"] == "t03" and failed["state"] == "failed"
    assert failed["reason"] == "NaN in the learner's weights"
    assert [set(point) for point in failed["points"]] == [POINT_KEYS] * 2


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
    control = ControlRecord(
        checkpoint="/somewhere/control",
        returned=returned(560),
        retention=BASELINE.retention(560),
        round=4,
        rounds=[returned(540), returned(560)],
        env_steps=40_000,
        train_s=20,
    )
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
    ):
        assert text.count(words) == 1
    found = [trial["did"] for trial in to_json(report(folder, make_experiment()))["trials"]]
    grown = {"regrowths_due": 10, "regrowths": 8, "regrown": 1234}
    assert found[:3] == [None, {"prunings": 18} | grown, {"prunings": 2, "rewinds": 2}]
    assert found[4:] == [None, {"prunings": 4}]
    study, (_, trial, *_) = folder.study(), folder.trials()
    assert study is not None
    run = trial_run(study, trial, make_experiment(), {}, over=True)
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


def test_json_of_a_study_that_has_only_begun(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, "young")
    folder.write_study(StudyRecord(name="young", started=STARTED))
    assert to_json(report(folder, make_experiment())) == {
        "name": "young",
        "environment": "CartPole-v1",
        "baseline": None,
        "control": None,
        "random_return": None,
        "aggregate": None,
        "holds_from": None,
        "hypervolume": 0.0,
        "log_hypervolume": 0.0,
        "env_steps": 0,
        "env_steps_saved": 0,
        "curve": [],
        "importances": {},
        "trials": [],
        "front": [],
        "repeated": [],
        "recommended": None,
    }
    assert "not trained yet" in shown(folder)


def test_json_has_null_for_what_is_not_finite(tmp_path: Path) -> None:
    folder = make_study(tmp_path, trials=0)
    trial = make_trial(0, rounds=1)
    point = trial.points[0].model_copy(update={"compression": float("inf")})
    folder.write_trial(trial.model_copy(update={"points": [point]}))
    found = to_json(report(folder, make_experiment()))
    assert found["front"][0]["compression"] is None
    assert found["front"][0]["final_return_iqm"] is None
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("width", [80, 100, 140, 200])
def test_the_terminal_shows_everything_whole(tmp_path: Path, width: int) -> None:
    folder = make_study(tmp_path, trials=5)
    given_up = below_floor(0.3, 1)
    folder.write_trial(make_trial(6, rounds=2, reason=given_up))
    hopeless = no_longer_improves(1.0, 0.925, 0, 4)
    folder.write_trial(make_trial(7, rounds=2, state="stopped", reason=hopeless))
    folder.write_trial(make_trial(5, rounds=2, state="failed"))
    end_study(folder)
    text = shown(folder, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for trial in folder.trials():
        assert trial.name in text
    for point in front(points_of(folder)):
        assert point.name in text and f"{point.sparsity:.2%}" in text
        assert f"{point.returned.iqm * 0.97:.4g} [" in text
        assert " ".join(text.split()).count(f"{point.compression:.1f}x") > 0
    assert "failed: NaN" in " ".join(text.split())
    assert "complete" in text and "budget used" not in text
    # Nothing is broken within a word: names of plans end lines at a slash.
    words = set(re.split(r"[\s/:;,]+", text))
    assert {"magnitude", "threshold", "saliency", "uniform", "geometric", "one_shot"} <= words
    assert "given up: kept" in text and text.count("complete") == 5
    told = " ".join(text.split())
    assert "budget" not in told and "σ" not in told and "1 rounds" not in told
    assert "is the share of weights that it is to remove" in told
    if width >= 140:
        for reason in (given_up, hopeless):
            assert all(word in told for word in reason.split())
    assert "●" in text and "99%" in text


def test_eighty_columns_tell_reasons_below_the_table(tmp_path: Path) -> None:
    folder, reason = make_study(tmp_path, trials=0), below_floor(0.3, 2)
    for number in range(10):
        folder.write_trial(make_trial(number, rounds=2, reason=reason))
    text = shown(folder, 80)
    told = f"given up: {reason} (t00, t01, t02, t03, t04, t05, t06, t07 and 2 more)"
    assert told in " ".join(text.split())
    table = text.partition("\nTrials")[2].partition("given up: ")[0].splitlines()
    assert 20 < len(table) <= 23  # a plan has two lines


def test_a_plan_has_one_line_where_there_is_room(tmp_path: Path) -> None:
    folder = make_study(tmp_path, trials=3)
    front_of = {point.trial for point in front(points_of(folder))}
    text = shown(folder, 200).partition("\nFront")[2].partition("\nSizes")[0]
    for number in front_of:
        assert make_trial(number).plan.label in text


def test_legends_end_lines_between_their_parts() -> None:
    assert joined(["● front", "· other points"], "   ", 30) == "● front   · other points"
    assert joined(["a 1", "b 2", "c 3"], "; ", 9) == "a 1; b 2;\nc 3"


def test_the_terminal_takes_words_as_they_are(tmp_path: Path) -> None:
    folder = make_study(tmp_path, trials=0)
    folder.write_trial(make_trial(0, state="failed", reason="no [bold] or [/] in index [3]"))
    assert "[bold] or [/] in index [3]" in " ".join(shown(folder, 160).split())


def test_the_scale_tells_95_from_99() -> None:
    assert position(0) == 0 and position(0.99) == pytest.approx(2)
    assert position(0.99) - position(0.95) > 0.3 * position(0.99)
    assert position(1.0) < 10
    assert ticks([make_point(0, 1, 0.97, 400)]) == [0, 0.5, 0.8, 0.9, 0.95, 0.98]
    assert ticks([]) == [0, 0.5, 0.8, 0.9]


def test_the_picture_has_points_front_baseline_and_floor(tmp_path: Path) -> None:
    import matplotlib

    folder = make_study(tmp_path, trials=4)
    end_study(folder)
    backend = matplotlib.get_backend()
    found = report(folder, make_experiment())
    figure = front_figure(found.points, BASELINE, found.floor, final=found.finals, title="cartpole")
    assert matplotlib.get_backend() == backend
    labels = {text.get_text() for legend in figure.legends for text in legend.get_texts()}
    assert labels == {
        "dense baseline 500",
        "floor 260",
        "other points",
        "front",
        "front, worst tenth of episodes",
        "front, on seeds the search never saw",
    }
    ticks_shown = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert {"0 %\n1×", "95 %\n20×", "99 %\n100×"} <= set(ticks_shown)
    figure.savefig(tmp_path / "front.png")
    assert (tmp_path / "front.png").stat().st_size > 10_000


def test_the_page_has_every_point_and_needs_no_network(tmp_path: Path) -> None:
    folder = make_study(tmp_path, trials=2)
    points = points_of(folder)
    labels = {0: "weight/magnitude 95.0%", 1: "weight/threshold <1.5σ"}
    page = front_html(points, BASELINE, 260.0, labels=labels, title="a < b & c")
    picture = ElementTree.fromstring(page[page.index("<svg") : page.index("</body>")])
    svg = "{http://www.w3.org/2000/svg}"
    told = {}
    for group in ("front-points", "other-points"):
        (drawn,) = (item for item in picture.iter(f"{svg}g") if item.get("id") == group)
        told[group] = [use.findtext(f"{svg}title") or "" for use in drawn.iter(f"{svg}use")]
    assert [text.split()[0] for text in told["front-points"]] == [p.name for p in front(points)]
    found = [text.partition("\n")[0] for texts in told.values() for text in texts]
    assert sorted(found) == sorted(f"{point.name} {labels[point.trial]}" for point in points)
    assert all("\nretention " in text for texts in told.values() for text in texts)
    # Names of formats are the only addresses in it.
    addresses = set(re.findall(r"https?://([^/\s\"']+)", page))
    assert addresses <= {"www.w3.org", "purl.org", "creativecommons.org", "matplotlib.org"}
    assert not re.search(r"<script|<link|\ssrc=|url\(http", page) and len(page) < 100_000


@pytest.mark.parametrize("count", [0, 1])
def test_pictures_of_few_points(tmp_path: Path, count: int) -> None:
    points = [make_point(0, 1, 0.9, 480)][:count]
    front_figure(points, BASELINE).savefig(tmp_path / "few.png")
    assert "dense baseline 500" in front_html(points, BASELINE)
