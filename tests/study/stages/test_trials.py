"""The search over a study's trials: what a killed driver left, and trials that end early."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from prune_search.experiment.search_section import Search
from prune_search.records.folder import StudyFolder
from prune_search.records.objectives import objectives
from prune_search.records.reasons import FAILED, SEARCH_STEPS_USED, STOPPED_BY_SEARCH, stopped_by
from prune_search.trial.rounds import TrialRounds
from tests.studies import BASELINE, make_trial
from tests.study.driving import complete, driven
from tuners.display.live import Progress
from tuners.report.study_report import report
from tuners.search.database import states
from tuners.search.searcher import StudySearch
from tuners.study.creation import create
from tuners.study.driver import run
from tuners.study.stages.stoppers import Budget
from tuners.study.stages.trials import close

pytestmark = pytest.mark.timeout(400)


@pytest.mark.slow
def test_tunes_own_scheduler_stops_trials_of_one_objective(tiny: Any, shared_storage: Path) -> None:
    """The second trial is worse than the first at its first rung."""
    experiment = tiny(
        "search.objectives=[sparsity]",
        "search.scheduler={name: asha, options: {reduction_factor: 2}}",
        "search.sampler=grid",
        "pruning={criterion: magnitude, allocation: uniform, schedule: one_shot,"
        " ratio: [0.9, 0.5], rounds: 2, env_steps: 2000, floor: 0.0}",
        "search.retention=0.0",
        storage=shared_storage,
    )
    folder = complete(experiment, "asha")
    first, second = folder.trials()
    assert (first.state, len(first.points)) == ("complete", 2)
    assert (second.state, len(second.points)) == ("stopped", 1)
    assert second.reason == stopped_by("asha")
    assert [state.name for state in states(folder).values()] == ["COMPLETE", "COMPLETE"]


@pytest.mark.slow
def test_a_stopped_trial_says_so_and_is_not_taken_up_again(
    tiny: Any, shared_storage: Path, tmp_path: Path
) -> None:
    """Where only a doubled front counts, the third of three like trials is stopped."""
    experiment = tiny(
        "search.trials=3", "search.stopping={confidence: 0.4, gain: 1.0}",
        "pruning={criterion: magnitude, allocation: uniform, schedule: one_shot, ratio: 0.3,"
        " lr_scale: 0.001, rounds: 2, env_steps: 2000, floor: 0.0}", storage=shared_storage,
    )  # fmt: skip
    with (tmp_path / "progress.txt").open("w") as stream:
        folder = complete(experiment, "stopped", Console(file=stream, width=200))
    *first, second = folder.trials()
    assert {(one.state, len(one.points)) for one in first} == {("complete", 2)}
    assert (second.state, len(second.points)) == ("stopped", 1)
    assert second.reason.startswith("no longer improves the front: for that it would have to")
    assert f"t02 given up: {second.reason}" in (tmp_path / "progress.txt").read_text()
    told = optuna.load_study(study_name="stopped", storage=folder.optuna_url).trials[2]
    figures = objectives(second, experiment.search.retention)
    assert told.state is optuna.trial.TrialState.COMPLETE
    assert told.values == [figures[name] for name in experiment.search.objectives]
    found = report(folder, experiment)
    assert found.env_steps_saved == second.plan.env_steps - second.env_steps > 0
    assert second.points[0] in found.points
    run(folder, experiment, Progress(experiment, "stopped", folder.trials(), Console(quiet=True)))
    assert folder.trials() == [*first, second]
    rounds = TrialRounds(experiment, folder, BASELINE, 2, second.plan)
    assert rounds.done and rounds.step() == second.points[-1]  # nothing is built or trained


@pytest.mark.parametrize(
    ("told", "env_steps", "expected"),
    [
        (None, None, ("running", "")),  # to be taken up again
        (TrialState.COMPLETE, None, ("stopped", STOPPED_BY_SEARCH)),
        (TrialState.FAIL, None, ("failed", FAILED)),
        (None, 10, ("stopped", SEARCH_STEPS_USED)),
    ],
)
def test_what_a_killed_driver_left_open_is_closed(
    tiny: Any, tmp_path: Path, told: Any, env_steps: int | None, expected: tuple[str, str]
) -> None:
    """Optuna knows how a trial ended, and its record does not yet."""
    experiment, folder = tiny(), StudyFolder(tmp_path, "study")
    folder.path.mkdir()
    searcher = StudySearch(experiment, folder)
    searcher.suggest("a")
    folder.write_trial(make_trial(0, rounds=1, state="running", reason=""))
    study = optuna.load_study(study_name="study", storage=folder.optuna_url)
    if told is not None:
        values = [1.0, 2.0] if told is TrialState.COMPLETE else None
        study.tell(0, values, state=told)
    budget = Budget(Search(env_steps=env_steps), folder)
    close(driven(folder, experiment), searcher, budget)
    (record,) = folder.trials()
    assert (record.state, record.reason) == expected
    assert (states(folder)[0] is TrialState.FAIL) == (record.state == "failed" or record.cut_off)


@pytest.mark.slow
def test_a_trial_that_fails_does_not_end_the_study(
    tiny: Any, shared_storage: Path, tmp_path: Path
) -> None:
    """An environment that breaks once the search begins, and is whole again after one failure."""
    experiment = tiny(
        "environment.modules=[tests.environments]",
        "environment.id=Brittle-v0",
        f"environment.config={{mark: {tmp_path / 'mark'}}}",
        "search.trials=2",
        "search.retries=0",
        "pruning.criterion=magnitude",
        storage=shared_storage,
    )
    (tmp_path / "mark").write_text("whole")
    folder = create(experiment, "brittle", "tiny")

    class Breaking(Progress):
        def begin_search(self, baseline: Any) -> None:
            (tmp_path / "mark").write_text("broken")
            super().begin_search(baseline)

        def note(self, text: str) -> None:
            notes.append(text)
            (tmp_path / "mark").write_text("whole")

    notes: list[str] = []
    run(folder, experiment, Breaking(experiment, "brittle", [], Console(quiet=True)))
    assert [trial.state for trial in folder.trials()] == ["failed", "complete"]
    reason = folder.trials()[0].reason
    assert re.fullmatch(
        r"RuntimeError: the gearbox broke \(.*environments.py line \d+, reset\)", reason
    )
    assert notes == [f"t00 failed: {reason}"]
    assert list(states(folder).values()) == [
        optuna.trial.TrialState.FAIL,
        optuna.trial.TrialState.COMPLETE,
    ]
