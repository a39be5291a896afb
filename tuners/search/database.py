"""A study in Optuna's database: opened, told of trials, and asked which choices mattered.

Imports no Ray, for commands that only look.
"""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState
from sqlalchemy.exc import DatabaseError

from prune_search.errors import UserError
from prune_search.records.folder import StudyFolder
from prune_search.records.fronts import delivered
from prune_search.records.models import TrialRecord
from prune_search.records.objectives import OBJECTIVES
from tuners.search.parameters import MEANINGS
from tuners.search.thawing import number_of
from tuners.words import outcome

LOCKED_S = 900.0
"""Seconds that a study which runs waits for a database that another process holds locked."""
_DIGITS = 6  # of figures that are read and not computed with
_FEWEST, _TOP = 8, 5  # trials below which importances say nothing; good ones that tell them best


def storage(folder: StudyFolder, locked_s: float = 60.0) -> optuna.storages.RDBStorage:
    """Optuna's storage of a study.

    Args:
        folder: the study's.
        locked_s: seconds to wait while another process holds the file locked.

    Raises:
        UserError: the file is not Optuna's, or can't be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        return optuna.storages.RDBStorage(
            folder.optuna_url, engine_kwargs={"connect_args": {"timeout": locked_s}}
        )
    except DatabaseError as error:
        raise UserError(
            f"{folder.optuna_file}: not a readable database of Optuna: {error.orig}"
        ) from None


def push_search(folder: StudyFolder) -> None:
    """Has Optuna's database, whole as it stands, in the study's mirror, if there is one.

    Raises:
        OSError: the mirror does not answer.
    """
    if not folder.mirror.used:
        return
    copy = folder.snapshot_file
    copy.unlink(missing_ok=True)
    with (
        closing(sqlite3.connect(folder.optuna_file)) as source,
        closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)
    folder.mirror.push(copy)


def result_of(trial: TrialRecord, objectives: Iterable[str]) -> TrialState:
    """What a trial that has ended is to Optuna's samplers, where its figures are finite.

    One that was stopped is a result like any other: what it has delivered, going on could only have
    made sparser. As pruned it would be taken for worse than all that are complete, also where it
    was stopped because the front's best points were its own. Only where nothing but returns is
    asked for it is pruned: those fall as a trial is pruned on, and the first to be stopped would be
    the best. One that the search's budget cut off is none, failed: samplers leave it out.
    """
    if trial.state == "failed" or trial.cut_off:
        return TrialState.FAIL
    falling = all(OBJECTIVES[name].falls for name in objectives)
    if trial.state != "complete" and (not trial.points or falling):
        return TrialState.PRUNED
    return TrialState.COMPLETE


def introduce(study: optuna.Study, objectives: Sequence[str]) -> None:
    """What Optuna's own pages need to be read by: names of objectives, and of parameters."""
    if not MEANINGS.keys() - study.user_attrs.keys():
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(list(objectives))
    for name, meaning in MEANINGS.items():
        study.set_user_attr(name, meaning)


def annotate(trial: optuna.Trial, record: TrialRecord | None, retention: float) -> None:
    """What Optuna's own pages show of a trial, as user attributes; before it is told as ended.

    Args:
        trial: Optuna's.
        record: ours; None where it never began.
        retention: `search.retention`, which the point that is named holds, if any does.
    """
    if record is None:
        return
    remark = f": {record.remark}" if record.remark else ""
    found: dict[str, Any] = {"plan": record.plan.label, "ended": f"{outcome(record)}{remark}"}
    if record.points:
        point = delivered(record.points, retention)
        figures = {
            "sparsity": point.sparsity,
            "return": point.returned.value,
            "retention": point.retention,
        }
        found |= {"point": point.name}
        found |= {name: float(f"{value:.{_DIGITS}g}") for name, value in figures.items()}
    for name, value in found.items():
        trial.set_user_attr(name, value)


def states(folder: StudyFolder) -> dict[int, TrialState]:
    """The state of each trial in Optuna, by our number; the last, where it went on."""
    study = optuna.load_study(study_name=folder.name, storage=storage(folder, LOCKED_S))
    return {number_of(trial): trial.state for trial in study.get_trials(deepcopy=False)}


def importances(folder: StudyFolder) -> dict[str, float]:
    """How much each searched field of `pruning` mattered for good trials, the most first.

    PED-ANOVA (Watanabe, Bansal & Hutter 2023) over the trials that are results: how far the best
    ones' choices are from those of all. Shares that add up to 1.
    Empty while there are fewer than eight, and where nothing was searched.
    """
    if not folder.optuna_url.startswith("sqlite") or not folder.optuna_file.is_file():
        return {}
    try:
        study = optuna.load_study(study_name=folder.name, storage=storage(folder))
    except KeyError:  # killed before it had one
        return {}
    complete = len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
    if complete < _FEWEST:
        return {}
    evaluator = PedAnovaImportanceEvaluator(target_quantile=min(0.5, max(0.1, _TOP / complete)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that values were rare among the conditional ones
        found = get_param_importances(study, evaluator=evaluator)
    return _by_field(found)


def _by_field(found: Mapping[str, float]) -> dict[str, float]:
    """Adds up what stands for one field: see `tuners.search.space` for the parameters' names."""
    fields: dict[str, float] = {}
    for parameter, share in found.items():
        field = parameter.partition(" ")[0].removesuffix("_density")
        field = "densities" if field == "density" else field
        fields[field] = fields.get(field, 0.0) + share
    return dict(sorted(fields.items(), key=lambda item: -item[1]))
