"""The searcher outlives its driver, and tells Optuna what trials have shown."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy

from prune_search.records.folder import StudyFolder
from prune_search.records.reasons import SEARCH_TIME_USED
from tests.studies import make_trial
from tuners.search.database import states, storage
from tuners.search.searcher import StudySearch

SLOW = pytest.mark.slow
MANY = "search.trials=99"  # of which a test takes as many as it likes


@pytest.mark.parametrize(
    "name",
    [
        "auto",
        pytest.param("tpe", marks=SLOW),
        pytest.param("nsga2", marks=SLOW),
        pytest.param("random", marks=SLOW),
    ],
)
def test_a_new_driver_goes_on_as_the_old_one_would_have(
    tiny: Any, tmp_path: Path, name: str
) -> None:
    """Same suggestions whether one searcher asks twelve times or each time a new one does: one
    trial at a time. Of several, each is chosen by what has ended until then."""
    experiment = tiny(f"search.sampler={name}", "pruning.ratio={low: 0.5, high: 0.9}", MANY)

    def told(folder: StudyFolder, restart: bool) -> list[dict[str, Any]]:
        folder.path.mkdir()
        searcher, found = StudySearch(experiment, folder), []
        for number in range(12):
            if restart:
                searcher = StudySearch(experiment, folder)
            config = searcher.suggest(f"trial{number}")
            assert config is not None and config["number"] == number
            found.append(config["plan"])
            result = {"retention": 1 / (1 + number), "compression": float(number)}
            searcher.on_trial_complete(f"trial{number}", result)
        return found

    whole = told(StudyFolder(tmp_path, "whole"), restart=False)
    assert told(StudyFolder(tmp_path, "parts"), restart=True) == whole
    assert len({str(plan) for plan in whole}) > 6


def test_running_trials_are_issued_again_first(tiny: Any, tmp_path: Path) -> None:
    experiment, folder = tiny(MANY), StudyFolder(tmp_path, "study")
    folder.path.mkdir()
    first = StudySearch(experiment, folder)
    plans = [first.suggest(f"a{number}") for number in range(3)]
    first.on_trial_complete("a1", {"retention": 1.0, "compression": 2.0})
    again = StudySearch(experiment, folder)
    assert not again.done
    assert [again.suggest("b0"), again.suggest("b1")] == [plans[0], plans[2]]
    new = again.suggest("b2")
    assert new is not None and new["number"] == 3


def test_optunas_pages_name_what_they_show(tiny: Any, tmp_path: Path) -> None:
    """Objectives by name; of a trial its point and what became of it; what parameters mean."""
    ratio = "pruning.ratio={low: 0.5, high: 0.9, log: true}"
    experiment, folder = tiny(ratio, MANY), StudyFolder(tmp_path, "study")
    folder.path.mkdir()
    searcher = StudySearch(experiment, folder)
    for number, state in enumerate(("complete", "failed", "stopped")):
        searcher.suggest(f"a{number}")
        folder.write_trial(make_trial(number, state=state, reason=f"because {number}"))
    result = {"retention": 1.0, "compression": 2.0}
    searcher.on_trial_complete("a0", result)
    searcher.on_trial_complete("a0", result)  # again, after it has ended
    searcher.on_trial_complete("a1", error=True)
    searcher.end()  # the third is cut off
    StudySearch(experiment, folder)
    study = optuna.load_study(study_name="study", storage=storage(folder))
    assert study.metric_names == ["retention", "compression"]
    assert study.user_attrs["ratio_density"].startswith("1 - pruning.ratio: ")  # a row each
    words = ["complete: because 0", "failed: because 1", "given up: because 2"]
    for number, (trial, record) in enumerate(zip(study.trials, folder.trials(), strict=True)):
        told = trial.user_attrs
        point = next(point for point in record.points if point.name == told["point"])
        figures = (point.sparsity, point.returned.value)
        assert (told["sparsity"], told["return"]) == pytest.approx(figures, rel=1e-5)
        assert all(len(str(told[name])) <= 8 for name in ("sparsity", "return", "retention"))
        assert told["ended"] == words[number] and told["plan"] == record.plan.label


def ended(folder: StudyFolder, number: int, progress: float, state: str = "complete") -> None:
    record = make_trial(number, state=state)
    last = record.points[-1].model_copy(update={"progress": progress})
    folder.write_trial(record.model_copy(update={"points": [*record.points[:-1], last]}))


@pytest.mark.parametrize("restart", [False, True])
def test_plans_that_lasted_are_run_with_several_seeds(
    tiny: Any, tmp_path: Path, restart: bool
) -> None:
    """One that collapsed, was stopped or failed is not repeated; nor is a repeat."""
    space = "pruning.ratio={low: 0.5, high: 0.9}"
    experiment = tiny("search.seeds=3", "search.probes=0", space, MANY)
    folder = StudyFolder(tmp_path, "study")
    folder.path.mkdir()
    searcher, plans = StudySearch(experiment, folder), []
    fates = {1: (0.5, "complete"), 4: (0.4, "stopped")}
    for number in range(10):
        config = searcher.suggest(f"a{number}")
        assert config is not None and config["number"] == number
        plans.append(str(config["plan"]))
        ended(folder, number, *fates.get(number, (1.0, "complete")))
        searcher.on_trial_complete(f"a{number}", {"retention": 1.0, "compression": 2.0})
        if restart:
            searcher = StudySearch(experiment, folder)
    # Plan 0 thrice, though its second seed collapsed.
    assert plans[0] == plans[1] == plans[2]
    assert plans[3] == plans[4] == plans[5] and plans[6] == plans[7] == plans[8]
    assert len(set(plans)) == 4


@pytest.mark.parametrize("restart", [False, True])
def test_it_is_told_what_chose_a_plan(tiny: Any, tmp_path: Path, restart: bool) -> None:
    """In Optuna's database as well, and of a trial that another driver goes on with."""
    changes = (
        "search.first=[{ratio: 0.6}]",
        "search.probes=1",
        "search.seeds=2",
        "search.sampler=tpe",
    )
    experiment = tiny(*changes, "search.trials=9", "pruning.ratio={low: 0.5, high: 0.9}")
    folder = StudyFolder(tmp_path, "study")
    folder.path.mkdir()
    searcher, told = StudySearch(experiment, folder), []
    for number in range(5):
        config = searcher.suggest(f"a{number}")
        if restart:
            searcher = StudySearch(experiment, folder)
            assert searcher.suggest(f"a{number}") == config
        assert config is not None
        told.append(config["chosen_by"])
        ended(folder, number, progress=1.0)
        searcher.on_trial_complete(f"a{number}", {"retention": 1.0, "compression": 2.0})
    assert told == ["first", "probe", "repeat", "repeat", "tpe"]
    study = optuna.load_study(study_name="study", storage=storage(folder))
    assert [trial.user_attrs["chosen_by"] for trial in study.trials] == told


def test_screened_plans_and_a_grids_are_told_as_such(tiny: Any, tmp_path: Path) -> None:
    both = "search.first=[{ratio: 0.6}]"
    ratios = "pruning.ratio=[0.5, 0.6, 0.7]"
    begins = ("search.screening=1", "search.probes=1", "search.sampler=tpe")
    chosen = tiny(both, ratios, *begins, "search.trials=5")
    lattice = tiny(
        *(both, ratios, "search.sampler=grid", "search.seeds=2", "search.trials=5"),
        *("pruning.criterion=magnitude", "pruning.allocation=erk", "pruning.schedule=cubic"),
    )
    for name, experiment, screened, expected in (
        ("screened", chosen, [{"ratio": 0.7}], ["first", "screening", "probe", "tpe", "tpe"]),
        ("grid", lattice, [], ["first", "first", "grid", "grid", "grid"]),
    ):
        folder = StudyFolder(tmp_path, name)
        folder.path.mkdir()
        searcher = StudySearch(experiment, folder, screened=screened)
        configs = [searcher.suggest(f"a{number}") for number in range(5)]
        assert [config and config["chosen_by"] for config in configs] == expected


def test_what_collapsed_is_not_repeated(tiny: Any, tmp_path: Path) -> None:
    space = "pruning.ratio={low: 0.5, high: 0.9}"
    experiment = tiny("search.seeds=3", "search.probes=0", space, MANY)
    folder = StudyFolder(tmp_path, "study")
    folder.path.mkdir()
    searcher, plans = StudySearch(experiment, folder), set()
    for number, (progress, state) in enumerate(
        [(0.5, "complete"), (0.5, "stopped"), (1.0, "failed")]
    ):
        plans.add(str(searcher.suggest(f"a{number}")["plan"]))  # type: ignore[index]
        ended(folder, number, progress, state)
        searcher.on_trial_complete(
            f"a{number}", {"retention": 1.0, "compression": 2.0}, error=state == "failed"
        )
    plans.add(str(searcher.suggest("b")["plan"]))  # type: ignore[index]
    assert len(plans) == 4


@pytest.mark.parametrize(
    ("result", "error"),
    [
        ({"retention": math.nan, "compression": 2.0}, False),
        ({"compression": 2.0}, False),
        ({"retention": 1.0, "compression": math.inf}, False),
        ({"retention": 1.0, "compression": 2.0, "constraints/max_macs": math.nan}, False),
        (None, False),
        (None, True),
    ],
)
def test_no_optuna_trial_is_left_running(
    tiny: Any, tmp_path: Path, result: dict[str, float] | None, error: bool
) -> None:
    folder = StudyFolder(tmp_path, "study")
    folder.path.mkdir()
    searcher = StudySearch(tiny(), folder)
    searcher.suggest("a")
    searcher.on_trial_complete("a", result, error)
    assert states(folder) == {0: optuna.trial.TrialState.FAIL}


HOLDS = """
import sqlite3, sys, time
held = sqlite3.connect(sys.argv[1], isolation_level=None)
held.execute("BEGIN IMMEDIATE")
print("held", flush=True)
time.sleep(4)
held.execute("ROLLBACK")
"""


def saves_slowly(_: Any) -> None:
    time.sleep(2.5)


@pytest.mark.parametrize(
    "slow",
    ["sampler", pytest.param("disk", marks=SLOW), "lock", pytest.param("mount", marks=SLOW)],
)
def test_what_keeps_a_suggestion_waiting_is_told_as_what_it_is(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    monkeypatch.setattr("tuners.search.patience._PATIENCE_S", 0.3)
    folder, told = StudyFolder(tmp_path, "study"), list[str]()
    folder.path.mkdir()
    searcher = StudySearch(tiny(), folder, tell=told.append)
    database = folder.path / "optuna.db"
    waits = f"; the search waits for {database}"
    if slow == "sampler":
        chosen = searcher._choose
        monkeypatch.setattr(searcher, "_choose", lambda trials: (time.sleep(1), chosen(trials)))
        expected = []
    elif slow == "disk":
        engine = searcher._ot_study._storage._backend.engine
        # After the change has been made, and before it is saved.
        sqlalchemy.event.listen(engine, "commit", saves_slowly)
        searcher._patiently(lambda: searcher._ot_study.set_user_attr("some", "value"))
        sqlalchemy.event.remove(engine, "commit", saves_slowly)
        expected = [f"writing to Optuna's database takes long{waits}"]
    elif slow == "lock":
        other = subprocess.Popen([sys.executable, "-c", HOLDS, database], stdout=subprocess.PIPE)
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        expected = [f"Optuna's database is locked{waits}"]
    else:
        searcher._patiently(lambda: (database.rename(tmp_path / "away"), time.sleep(3)))
        (tmp_path / "away").rename(database)
        reason = "unable to open database file"
        expected = [f"Optuna's database does not answer ({reason}){waits}"]
    assert searcher.suggest("a") is not None
    assert list(dict.fromkeys(told)) == expected


def test_less_is_better_where_it_is(tiny: Any, tmp_path: Path) -> None:
    experiment = tiny("search.objectives=[return_low, macs, bytes, latency_us, hypervolume]")
    folder = StudyFolder(tmp_path, "study")
    folder.path.mkdir()
    StudySearch(experiment, folder)
    study = optuna.load_study(study_name="study", storage=folder.optuna_url)
    named = [direction.name for direction in study.directions]
    assert named == ["MAXIMIZE", "MINIMIZE", "MINIMIZE", "MINIMIZE", "MAXIMIZE"]


@pytest.mark.parametrize(
    ("state", "reason", "objectives", "expected"),
    [
        ("complete", "", "[retention, compression]", "COMPLETE"),
        ("stopped", "", "[retention, compression]", "COMPLETE"),
        ("running", "", "[retention, compression]", "COMPLETE"),  # as Tune's schedulers leave it
        ("stopped", SEARCH_TIME_USED, "[retention, compression]", "FAIL"),
        ("complete", "", "[retention]", "COMPLETE"),
        ("stopped", "", "[retention]", "PRUNED"),  # it might have fallen yet
    ],
)
def test_optuna_is_told_what_a_trial_has_delivered(
    tiny: Any, tmp_path: Path, state: str, reason: str, objectives: str, expected: str
) -> None:
    """Also where a killed driver's stopped trial is issued again."""
    experiment = tiny(f"search.objectives={objectives}")
    folder = StudyFolder(tmp_path, "study")
    folder.path.mkdir()
    StudySearch(experiment, folder).suggest("a")
    folder.write_trial(make_trial(0, rounds=2, state=state, reason=reason))
    again = StudySearch(experiment, folder)
    again.suggest("b")
    figures = {"retention": 0.2, "compression": 1.1, "constraints/max_macs": 0.5}
    again.on_trial_complete("b", figures)
    (told,) = optuna.load_study(study_name="study", storage=folder.optuna_url).trials
    assert told.state.name == expected
    if expected == "COMPLETE":
        assert told.values == [figures[name] for name in experiment.search.objectives]
        assert told.constraints == {"max_macs": 0.5}
    else:
        assert told.values is None
    assert again.suggest("c") is not None  # the sampler bears it
