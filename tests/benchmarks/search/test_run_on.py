"""Stopped trials that run on: they come to what they would have, and are held against then."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from prune_search.errors import UserError
from prune_search.records.folder import StudyFolder
from prune_search.records.models import StudyRecord, TrialRecord
from prune_search.records.reasons import SEARCH_STEPS_USED, no_longer_improves
from prune_search.storage.mirror import Mirror
from prune_search.trial.rounds import TrialRounds
from tests.plans import SHORT, plan
from tests.studies import make_point
from tests.trial.test_strategies import figures
from tuners.benchmarks.search.run_on import run_on
from tuners.search.improvement import Stops

CHOSEN = plan(env_steps=2000, rounds=2, schedule="cubic", ratio=0.9)
STOPPED = no_longer_improves(0.9, 0.9, 0, 4)


def ran(experiment: Any, folder: StudyFolder, baseline: Any, number: int, rounds: int) -> None:
    """A trial's first rounds, trained here."""
    trial = TrialRounds(experiment, folder, baseline, number, CHOSEN)
    for _ in range(rounds):
        trial.step()
    trial.stop()


def stop(folder: StudyFolder, number: int, reason: str) -> TrialRecord:
    found = folder.trial(number)
    assert found is not None
    stopped = found.model_copy(update={"state": "stopped", "reason": reason})
    folder.write_trial(stopped)
    return stopped


def study_of(folder: StudyFolder, baseline: Any) -> None:
    folder.write_study(StudyRecord(name=folder.name, started=0.0, baseline=baseline))


@pytest.mark.slow
@pytest.mark.parametrize("mirrored", [False, True], ids=["here", "mirrored"])
def test_a_stopped_trial_comes_to_what_it_would_have(
    tiny: Any, baseline: Any, shared_storage: Path, tmp_path: Path, mirrored: bool
) -> None:
    uri = f"file://{tmp_path / 'store'}" if mirrored else None
    settings = [SHORT, *([f"mirror={uri}"] if uri else [])]
    experiment = tiny(*settings, storage=shared_storage)
    whole = StudyFolder(tmp_path, "whole")
    mirror = Mirror(shared_storage, uri)
    study = StudyFolder(shared_storage, f"stopped-{mirrored}", mirror)
    ran(experiment, whole, baseline, 3, rounds=2)
    ran(experiment, study, baseline, 3, rounds=1)
    stopped = stop(study, 3, STOPPED)
    if mirrored:  # another node has run it
        shutil.rmtree(study.path / stopped.points[-1].checkpoint)
    study_of(study, baseline)
    # The search's budget was used while this one ran: nobody took it for hopeless.
    cut = stopped.model_copy(update={"number": 4, "reason": SEARCH_STEPS_USED})
    study.write_trial(cut)
    expected = whole.trial(3)
    assert expected is not None
    first, last = expected.points
    assert last.sparsity > first.sparsity
    wrong = int(last.retention > 0.01)  # nothing else is as sparse
    assert run_on(study, experiment) == Stops(1, wrong)
    found = StudyFolder(study.path, "run-on").trials()
    assert [trial.number for trial in found] == [3] and found[0].state == "complete"
    assert [figures(point) for point in found[0].points] == [figures(first), figures(last)]
    assert study.trial(3) == stopped  # the study is as it was
    # It is found, and not run again. What was measured after it had been stopped is not asked.
    better = last.model_copy(update={"trial": 5, "retention": 2.0, "sparsity": 0.99})
    for time, told in ((stopped.points[-1].time + 1, wrong), (stopped.points[-1].time - 1, 0)):
        later = better.model_copy(update={"time": time})
        study.write_trial(
            expected.model_copy(update={"number": 5, "points": [later], "state": "complete"})
        )
        assert run_on(study, experiment) == Stops(1, told)
    assert StudyFolder(study.path, "run-on").trials() == found


def test_a_trial_that_cannot_run_on_is_told(tiny: Any, baseline: Any, tmp_path: Path) -> None:
    experiment = tiny("search.retries=0", storage=tmp_path)
    study = StudyFolder(tmp_path, "study")
    study_of(study, baseline)
    point = make_point(0, 1, 0.5, 1.0).model_copy(update={"checkpoint": "trials/t00/round-00"})
    (study.path / point.checkpoint).mkdir(parents=True)  # and nothing in it
    study.write_trial(
        TrialRecord(
            number=0, plan=CHOSEN, state="stopped", reason=STOPPED, started=0.0, points=[point]
        )
    )
    with pytest.raises(UserError, match="trial 0 of 'study' cannot run on: "):
        run_on(study, experiment)
