"""Trials that were given up and go on after all, before a new one begins.

To Optuna they are trials of their own, since what it has been told of one stays; in the study's
folder the same trial has more rounds.
"""

from __future__ import annotations

from optuna.trial import FrozenTrial, Trial

from prune_search.records.folder import StudyFolder
from prune_search.records.models import TrialRecord

_THAWS = "thaws"
"""Optuna's user attribute of such a trial: the number of the one that goes on, and its round."""


def thaw(trial: Trial, record: TrialRecord) -> None:
    """Notes with Optuna's trial that it stands for one that goes on with its next round."""
    trial.set_user_attr(_THAWS, (record.number, len(record.points)))


def thaws(trial: Trial | FrozenTrial) -> bool:
    return _THAWS in trial.user_attrs


def number_of(trial: Trial | FrozenTrial) -> int:
    """Our number of the trial that this one is to Optuna."""
    number: int = trial.user_attrs[_THAWS][0] if thaws(trial) else trial.number
    return number


def go_on(folder: StudyFolder, trial: Trial) -> TrialRecord | None:
    """Has the trial that Optuna's stands for run again; its record, unless it has gone on already.

    So it does no harm when a driver was killed in between, and another one comes here again.
    """
    number, rounds = trial.user_attrs[_THAWS]
    record = folder.trial(number)
    if record is None or not record.given_up or len(record.points) != rounds:
        return None
    record = record.going_on()
    folder.write_trial(record)
    return record
