"""Trials that were given up and go on: in Optuna, in their records, in a study, after a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import optuna
import pytest
from rich.console import Console

from prune_search.plan.plan import Plan
from prune_search.records.folder import StudyFolder
from prune_search.records.models import TrialRecord
from prune_search.records.reasons import STOPPED_BY_SEARCH
from tests.studies import make_point
from tests.study.driving import complete
from tuners.search.database import states
from tuners.search.searcher import StudySearch

# One plan, of which a new trial would do over what has been done.
ONE_PLAN = (
    "pruning.criterion=magnitude",
    "pruning.criterion=random",
    "pruning.allocation=uniform",
    "pruning.schedule=linear",
    "pruning.ratio=0.9",
    "pruning.end=1.0",
    "pruning.rounds=4",
    "pruning.lr_scale={low: 0.001, high: 0.002}",
    "search.sampler=curves",
    "search.sampler_options={startup: 1, borrow: false}",
)


def ended(number: int, plan: Plan, rounds: int) -> TrialRecord:
    """A trial that the search has stopped after so many of its four rounds; complete with all."""
    points = [
        make_point(number, at, 0.225 * (at + 1), 480).model_copy(
            update={"progress": (at + 1) / 4, "env_steps": 500 * (at + 1)}
        )
        for at in range(rounds)
    ]
    fate = {"state": "complete"} if rounds == 4 else {"state": "stopped"}
    reason = STOPPED_BY_SEARCH if rounds < 4 else ""
    return TrialRecord(number=number, plan=plan, reason=reason, started=0.0, points=points, **fate)


def told(searcher: StudySearch, trial: str) -> None:
    searcher.on_trial_complete(trial, {"retention": 1.0, "compression": 2.0})


@pytest.mark.parametrize("killed", ["never", "before it went on", "as it had ended"])
def test_it_goes_on_in_its_own_record(tiny: Any, tmp_path: Path, killed: str) -> None:
    experiment = tiny(*ONE_PLAN, "search.trials=2")
    folder, went_on = StudyFolder(tmp_path, "mine"), list[int]()
    folder.path.mkdir()

    def driver() -> StudySearch:
        return StudySearch(experiment, folder, goes_on=lambda one: went_on.append(one.number))

    searcher = driver()
    first = searcher.suggest("a")
    assert first is not None and (first["number"], first["begun"]) == (0, 0)
    plan = Plan.model_validate(first["plan"])
    folder.write_trial(given_up := ended(0, plan, rounds=1))
    told(searcher, "a")
    second, trial = searcher.suggest("b"), "b"
    if killed == "before it went on":
        folder.write_trial(given_up)
        searcher, trial = driver(), "c"
        assert searcher.suggest("c") == second
    assert second is not None and (second["number"], second["begun"]) == (0, 1)
    assert second["plan"] == first["plan"] and second["chosen_by"] == "curves, thawed"
    (record,) = folder.trials()
    assert (record.state, record.reason, record.thawed) == ("running", "", [1])
    assert record.chosen_by == given_up.chosen_by
    assert went_on == [0] * (2 if killed == "before it went on" else 1)
    # Given up once more, two rounds later.
    folder.write_trial(ended(0, plan, rounds=3).model_copy(update={"thawed": [1]}))
    if killed == "as it had ended":
        searcher, trial = driver(), "c"
        assert searcher.suggest("c") == second
        (record,) = folder.trials()
        assert (record.state, record.thawed) == ("stopped", [1])  # told as it is
    told(searcher, trial)
    assert states(folder) == {0: optuna.trial.TrialState.COMPLETE}
    third = searcher.suggest("d")
    assert third is not None and (third["number"], third["begun"]) == (0, 2)
    assert folder.trials()[0].thawed == [1, 3]
    folder.write_trial(ended(0, plan, rounds=4).model_copy(update={"thawed": [1, 3]}))
    told(searcher, "d")
    last = searcher.suggest("e")
    assert last is not None and (last["number"], last["begun"]) == (3, 3)  # nothing is left of it
    assert not searcher.done and searcher.suggest("f") == searcher.FINISHED  # of two, both begun
    told(searcher, "e")
    assert searcher.done and driver().done


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_study_goes_on_with_what_it_has_given_up(
    tiny: Any, shared_storage: Path, tmp_path: Path
) -> None:
    """With a floor that no pruned policy is above, each trial is given up after a round."""
    experiment = tiny(
        *ONE_PLAN,
        "pruning.floor=0.94",
        "pruning.patience=1",
        "search.trials=3",
        storage=shared_storage,
    )
    log = tmp_path / "progress.txt"
    with log.open("w") as stream:
        folder = complete(experiment, "thawed", Console(file=stream, width=200))
    trials = folder.trials()
    rounds = sum(len(trial.thawed) for trial in trials)
    assert rounds > 0 and len(trials) == 3
    for trial in trials:
        assert [point.round for point in trial.points] == list(range(len(trial.points)))
        assert all(0 < first < len(trial.points) for first in trial.thawed)
        steps = [point.env_steps for point in trial.points]
        assert steps == sorted(set(steps)) and trial.ended
        sparsities = [point.sparsity for point in trial.points]
        assert sparsities == sorted(set(sparsities))  # it went on with the masks that it had
    text = log.read_text()
    assert text.count(" goes on after all, with round ") == rounds
    assert f"{len(trials)} of {len(trials)} trial" in text
    client = mlflow.MlflowClient(f"sqlite:///{shared_storage / 'mlflow.db'}")
    (found,) = client.search_experiments(filter_string="name = 'prune-search'")
    runs = client.search_runs([found.experiment_id], "tags.study = 'thawed'")
    assert len(runs) == 1 + len(trials) and {run.info.status for run in runs} == {"FINISHED"}
    assert any(run.data.tags.get("thawed") for run in runs)
