"""Tune's OptunaSearch over a study that outlives its driver.

Optuna's database holds every suggestion and every result, and each trial's folder how far it
came; the searcher has no other state. A resumed study first issues the trials that the database
has as running, with the parameters they had, then asks for new ones.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from optuna.trial import Trial, TrialState
from ray.tune.search.optuna import OptunaSearch

from prune_search.experiment import MINIMISED, Experiment
from prune_search.mirror import Mirror
from prune_search.record import StudyFolder
from tuners.beginnings import FROM, grid, observed
from tuners.optuna_study import storage
from tuners.samplers import sampler
from tuners.space import parameters, suggest

SNAPSHOT = "optuna-snapshot.db"


class StudySearch(OptunaSearch):
    """Suggests plans; see the module's description.

    Args:
        experiment: the study's experiment.
        folder: its folder, where Optuna's database is.
        layers: names of the prunable kernels, where their densities may be searched.
        screened: trials to begin with after `search.first`, as that gives them.
    """

    def __init__(
        self,
        experiment: Experiment,
        folder: StudyFolder,
        layers: Sequence[str] = (),
        screened: Sequence[dict[str, Any]] = (),
    ) -> None:
        self._experiment, self._folder = experiment, folder
        self._mirror = Mirror(folder.path.parent, experiment.mirror)
        self._layers = layers
        objectives = list(experiment.search.objectives)
        super().__init__(
            space=self._define,
            metric=objectives,
            mode=["min" if name in MINIMISED else "max" for name in objectives],
            sampler=sampler(experiment.search, 0),
            study_name=folder.name,
            storage=storage(folder),
        )
        self.trials = self._begin([*experiment.search.first, *screened])
        """That the study has in all: as many as asked for, or as the grid has."""
        trials = self._ot_study.get_trials(deepcopy=False)
        self._left = [trial._trial_id for trial in trials if trial.state is TrialState.RUNNING]
        self._asked = sum(trial.state is not TrialState.WAITING for trial in trials)

    @property
    def finished(self) -> int:
        """Trials of this study that have ended, in whatever way."""
        trials = self._ot_study.get_trials(deepcopy=False)
        return sum(trial.state.is_finished() and FROM not in trial.user_attrs for trial in trials)

    def end(self) -> None:
        """Tells Optuna of the trials that the end of the whole search has cut short.

        Tune doesn't: they would be running for ever.
        """
        for trial in self._ot_study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._ot_study.tell(trial.number, state=TrialState.PRUNED)

    def _begin(self, first: Sequence[dict[str, Any]]) -> int:
        """Adds what a study begins with, unless an earlier driver has; how many trials it has."""
        search, pruning = self._experiment.search, self._experiment.pruning
        trials = self._ot_study.get_trials(deepcopy=False)
        known = {trial.user_attrs.get(FROM) for trial in trials}
        storage = self._folder.path.parent
        if len(trials) == len(known - {None}):  # no trial of its own yet
            for earlier in observed(self._experiment, storage, self._layers):
                if earlier.user_attrs[FROM] not in known:
                    self._ot_study.add_trial(earlier)
        planned = [parameters(given, pruning) for given in first]
        if search.sampler == "grid":
            planned += islice(grid(pruning), max(0, search.trials - len(planned)))
        own = sum(FROM not in trial.user_attrs for trial in trials)
        for chosen in planned[own:]:
            self._ot_study.enqueue_trial(chosen)
        return max(own, len(planned)) if search.sampler == "grid" else search.trials

    def _define(self, trial: Any) -> dict[str, Any]:
        plan = suggest(trial, self._experiment.pruning, self._layers)
        return {"number": trial.number, "plan": plan.model_dump()}

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        if trial_id not in self._ot_trials:
            if self._left:
                # Suggesting to a trial that has its parameters gives them back.
                self._ot_trials[trial_id] = Trial(self._ot_study, self._left.pop(0))
            else:
                self._ot_study.sampler = sampler(self._experiment.search, self._asked)
                self._asked += 1
        config: dict[str, Any] | None = super().suggest(trial_id)
        return config

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        result = result or {}
        # Tune has flattened it.
        limits = {
            key.removeprefix("constraints/"): float(value)
            for key, value in result.items()
            if key.startswith("constraints/")
        }
        values = [*(result.get(name, math.nan) for name in self.metric), *limits.values()]
        number = self._ot_trials[trial_id].number
        self._mirror.pull(self._folder.trial_file(number))
        record = self._folder.trial(number)
        if error or not all(math.isfinite(value) for value in values):
            # OptunaSearch would leave the trial running for ever.
            result, error, limits = None, True, {}
        elif record is not None and record.state != "complete":
            # Stopped before its end: what it has so far is no result to learn from.
            result, limits = None, {}
        for name, violation in limits.items():
            self._ot_trials[trial_id].set_constraint(name, violation)
        super().on_trial_complete(trial_id, result=result, error=error)


def snapshot(folder: StudyFolder) -> Path:
    """Optuna's database as it stands, whole, in a file beside it: `optuna-snapshot.db`."""
    path = folder.path / SNAPSHOT
    path.unlink(missing_ok=True)
    with (
        closing(sqlite3.connect(folder.path / "optuna.db")) as source,
        closing(sqlite3.connect(path)) as copy,
    ):
        source.backup(copy)
    return path
