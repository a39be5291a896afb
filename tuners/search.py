"""Tune's OptunaSearch over a study that outlives its driver.

Optuna's database holds every suggestion and every result, and each trial's folder how far it
came; the searcher has no other state. A resumed study first issues the trials that the database
has as running, with the parameters they had, then asks for new ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import Trial, TrialState
from ray.tune.search.optuna import OptunaSearch

from prune_search.experiment import MINIMISED, Experiment, Search
from prune_search.record import StudyFolder
from tuners.optuna_study import storage
from tuners.space import parameters, suggest


def sampler(search: Search, number: int) -> optuna.samplers.BaseSampler:
    """The sampler for the trial of this number.

    Each trial has random numbers of its own, so that a suggestion depends on the seed, its number
    and the results before it, and not on how often the driver was started.
    """
    seed = (search.seed * 1_000_003 + number) % 2**32
    if search.sampler == "tpe":
        return optuna.samplers.TPESampler(
            multivariate=True, group=True, constant_liar=True, seed=seed, n_startup_trials=8
        )
    if search.sampler == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed)
    return optuna.samplers.RandomSampler(seed=seed)


class StudySearch(OptunaSearch):
    """Suggests plans; see the module's description.

    Args:
        experiment: the study's experiment.
        folder: its folder, where Optuna's database is.
        layers: names of the prunable kernels, where their densities may be searched.
    """

    def __init__(
        self, experiment: Experiment, folder: StudyFolder, layers: Sequence[str] = ()
    ) -> None:
        self._experiment, self._folder = experiment, folder
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
        if not self._ot_study.get_trials(deepcopy=False):
            for given in experiment.search.first:
                self._ot_study.enqueue_trial(parameters(given, experiment.pruning))
        self._left = [
            trial._trial_id
            for trial in self._ot_study.get_trials(deepcopy=False)
            if trial.state is TrialState.RUNNING
        ]

    @property
    def finished(self) -> int:
        """Trials that have ended, complete or failed."""
        trials = self._ot_study.get_trials(deepcopy=False)
        return sum(trial.state.is_finished() for trial in trials)

    def _define(self, trial: Any) -> dict[str, Any]:
        plan = suggest(trial, self._experiment.pruning, self._layers)
        return {"number": trial.number, "plan": plan.model_dump()}

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        if trial_id not in self._ot_trials:
            if self._left:
                # Suggesting to a trial that has its parameters gives them back.
                self._ot_trials[trial_id] = Trial(self._ot_study, self._left.pop(0))
            else:
                trials = self._ot_study.get_trials(deepcopy=False)
                number = sum(trial.state is not TrialState.WAITING for trial in trials)
                self._ot_study.sampler = sampler(self._experiment.search, number)
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
        record = self._folder.trial(self._ot_trials[trial_id].number)
        if error or not all(math.isfinite(value) for value in values):
            # OptunaSearch would leave the trial running for ever.
            result, error, limits = None, True, {}
        elif record is not None and record.state != "complete":
            # Stopped before its end: what it has so far is no result to learn from.
            result, limits = None, {}
        for name, violation in limits.items():
            self._ot_trials[trial_id].set_constraint(name, violation)
        super().on_trial_complete(trial_id, result=result, error=error)
