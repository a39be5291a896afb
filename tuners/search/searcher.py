"""Tune's OptunaSearch over a study that outlives its driver.

Optuna's database holds every suggestion and every result, and each trial's folder how far it
came; the searcher has no other state. A resumed study first issues the trials that the database
has as running, with the parameters they had, then asks for new ones.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial, TrialState
from ray.tune.search.optuna import OptunaSearch

from prune_search.experiment.schema import Experiment
from prune_search.records.folder import StudyFolder
from prune_search.records.models import TrialRecord
from prune_search.records.objectives import OBJECTIVES
from prune_search.trial.trainable import MEASURED
from tuners.search.beginnings import FROM, grid, observed
from tuners.search.database import (
    LOCKED_S,
    annotate,
    introduce,
    push_search,
    result_of,
    storage,
)
from tuners.search.patience import Patience
from tuners.search.probes import probe
from tuners.search.samplers import sampler
from tuners.search.space import Space, parameters
from tuners.search.thawing import go_on, number_of, thaw, thaws
from tuners.search.usual import probes_of, sampler_of
from tuners.spans import SUGGEST, TELL, span

PLANNED = "planned"
"""Optuna's user attribute of a study: the parameters of the trials that it begins with."""
REPEAT = "repeats"
"""Optuna's user attribute of a trial that runs another's plan again: that one's number."""
CHOSEN_BY = "chosen_by"
"""Optuna's user attribute of a trial, and a field of its record: what chose its plan."""
FIRST, SCREENING, PROBE, REPEATED = "first", "screening", "probe", "repeat"


class StudySearch(OptunaSearch):
    """Suggests plans; see the module's description.

    Args:
        experiment: the study's experiment.
        folder: its folder, where Optuna's database is.
        layers: names of the prunable kernels, where their densities may be searched.
        screened: trials to begin with after `search.first`, as that gives them.
        tell: gets a line for the user when Optuna's database keeps the search waiting.
        goes_on: gets the record of a trial that goes on after it had been given up.
    """

    def __init__(
        self,
        experiment: Experiment,
        folder: StudyFolder,
        layers: Sequence[str] = (),
        screened: Sequence[dict[str, Any]] = (),
        tell: Callable[[str], None] = lambda _: None,
        goes_on: Callable[[TrialRecord], None] = lambda _: None,
    ) -> None:
        self._experiment, self._folder = experiment, folder
        self._plan_of = Space(experiment.pruning, layers)
        self._goes_on = goes_on
        self._sampled: int | None = None  # Optuna's number of the trial that the sampler is for
        study = folder.study()
        self._baseline = study.baseline if study else None  # there before the search begins
        objectives = list(experiment.search.objectives)
        database = storage(folder, LOCKED_S)
        self._patiently = Patience(folder, database.engine, tell)
        super().__init__(
            space=self._define,
            metric=objectives,
            mode=["min" if OBJECTIVES[name].minimised else "max" for name in objectives],
            sampler=self._sampler_for(0),
            study_name=folder.name,
            storage=database,
        )
        introduce(self._ot_study, objectives)
        self._learn()
        self._planned = self._begin([*experiment.search.first, *screened])
        is_grid = experiment.search.sampler == "grid"
        self.trials = len(self._planned) if is_grid else experiment.search.trials
        """How many the study has in all: as many as were asked for, or as the grid has."""

    @property
    def done(self) -> bool:
        """Whether all trials have ended, in whatever way, and none that went on still runs."""
        trials = self._ot_study.get_trials(deepcopy=False)
        running = any(trial.state is TrialState.RUNNING for trial in trials)
        return not running and self._begun(trials) >= self.trials

    def _begun(self, trials: Sequence[FrozenTrial]) -> int:
        """How many of the study's own have begun, each counted once however often it goes on."""
        waiting = TrialState.WAITING
        own = (trial for trial in trials if FROM not in trial.user_attrs and not thaws(trial))
        return sum(trial.state is not waiting for trial in own)

    def end(self) -> None:
        """Tells Optuna of the trials that the end of the whole search has cut off: no result.

        Tune doesn't: they would be running for ever. Samplers leave out what has failed; what was
        pruned they would take for bad.
        """
        known = {record.number: record for record in self._folder.trials()}
        for trial in self._ot_study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._annotate(Trial(self._ot_study, trial._trial_id), known.get(number_of(trial)))
            self._ot_study.tell(trial.number, state=TrialState.FAIL)

    def _annotate(self, trial: Trial, record: TrialRecord | None) -> None:
        annotate(trial, record, self._experiment.search.retention)

    def _learn(self) -> None:
        """Adds what earlier studies have measured, unless an earlier driver has."""
        trials = self._ot_study.get_trials(deepcopy=False)
        known = {trial.user_attrs.get(FROM) for trial in trials}
        if len(trials) == len(known - {None}):  # no trial of its own yet
            for earlier in observed(self._experiment, self._folder.path.parent, self._plan_of):
                if earlier.user_attrs[FROM] not in known:
                    self._ot_study.add_trial(earlier)

    def _begin(self, first: Sequence[dict[str, Any]]) -> list[dict[str, Any] | None]:
        """Parameters of the trials that the study begins with, as its first driver had them.

        None for a probe, whose parameters those before it decide.
        """
        known: list[dict[str, Any] | None] | None = self._ot_study.user_attrs.get(PLANNED)
        if known is None:
            known = self._plan(first)
            self._ot_study.set_user_attr(PLANNED, known)
        return known

    def _plan(self, first: Sequence[dict[str, Any]]) -> list[dict[str, Any] | None]:
        search, pruning = self._experiment.search, self._experiment.pruning
        planned = [parameters(given, pruning) for given in first]
        if search.sampler == "grid":
            every = chain(planned, grid(pruning))
            repeated = (chosen for chosen in every for _ in range(search.seeds))
            return list(islice(repeated, search.trials))
        return [*planned, *[None] * probes_of(search)][: search.trials]

    def _sampler_for(self, number: int) -> BaseSampler:
        search, pruning = self._experiment.search, self._experiment.pruning
        trials = self._folder.trials
        return sampler(search, number, self._plan_of, trials, self._baseline, pruning)

    def _define(self, trial: Any) -> dict[str, Any]:
        plan, by = self._plan_of(trial), self._chosen_by(trial)
        chosen = getattr(self._ot_study.sampler, "thaws", None)
        if chosen is not None and trial.number == self._sampled:
            thaw(trial, chosen)
        if thaws(trial) and (record := go_on(self._folder, trial)):
            self._goes_on(record)
        number = number_of(trial)
        return {
            "number": number,
            "begun": trial.number,
            "plan": plan.model_dump(),
            CHOSEN_BY: by,
        }

    def _chosen_by(self, trial: Any) -> str:
        """What chose a trial's plan; kept with the trial, as another driver may go on with it."""
        known: str | None = trial.user_attrs.get(CHOSEN_BY)
        if known is None:
            named = sampler_of(self._experiment.search)
            known = getattr(self._ot_study.sampler, "chosen_by", named)
            trial.set_user_attr(CHOSEN_BY, known)
        return known

    @span(SUGGEST)
    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        config = self._patiently(lambda: self._suggest(trial_id))
        push_search(self._folder)  # a driver elsewhere goes on from there
        return config

    def _suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if trial_id not in self._ot_trials:
            trials = self._ot_study.get_trials(deepcopy=False)
            held = {trial._trial_id for trial in self._ot_trials.values()}
            left = [
                trial._trial_id
                for trial in trials
                if trial.state is TrialState.RUNNING and trial._trial_id not in held
            ]
            if left:
                # Suggesting to a trial that has its parameters gives them back.
                self._ot_trials[trial_id] = Trial(self._ot_study, left[0])
            elif self._begun(trials) >= self.trials:
                return str(self.FINISHED)
            else:
                self._choose(trials)
                number = sum(trial.state is not TrialState.WAITING for trial in trials)
                self._ot_study.sampler, self._sampled = self._sampler_for(number), number
        config: dict[str, Any] | str | None = super().suggest(trial_id)
        return config

    def _choose(self, trials: Sequence[FrozenTrial]) -> None:
        """Has what is planned come next, then a plan that lasted and has had too few seeds."""
        own = [trial for trial in trials if FROM not in trial.user_attrs]
        if any(trial.state is TrialState.WAITING for trial in own):
            return  # an earlier driver was killed before it took it
        begun = sum(REPEAT not in trial.user_attrs for trial in own)
        if begun < len(self._planned):
            search, pruning = self._experiment.search, self._experiment.pruning
            chosen = self._planned[begun]
            by = self._planned_by(begun)
            if chosen is None:
                number = self._planned[:begun].count(None)
                probed = probe(number, self._folder.trials(), pruning, search.retention)
                chosen = parameters(probed, pruning)
            self._ot_study.enqueue_trial(chosen, user_attrs={CHOSEN_BY: by})
            return
        seeds = self._experiment.search.seeds
        if seeds == 1 or self._experiment.search.sampler == "grid":
            return
        lasted = {record.number for record in self._folder.trials() if record.lasted}
        seen = Counter(_key(trial) for trial in own if not thaws(trial))
        for trial in own:
            complete = trial.state is TrialState.COMPLETE and trial.number in lasted
            if complete and seen[_key(trial)] < seeds:
                attributes = {REPEAT: trial.number, CHOSEN_BY: REPEATED}
                self._ot_study.enqueue_trial(trial.params, user_attrs=attributes)
                return

    def _planned_by(self, begun: int) -> str:
        """What chose a trial that the study begins with."""
        search = self._experiment.search
        grid = search.sampler == "grid"
        place = begun // search.seeds if grid else begun  # a grid has each plan's seeds in a row
        if place < len(search.first):
            return FIRST
        if self._planned[begun] is None:
            return PROBE
        return "grid" if grid and place >= len(search.first) + search.screening else SCREENING

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        report = super().on_trial_result
        self._patiently(lambda: report(trial_id, result))

    @span(TELL)
    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        if trial_id in self._completed_trials:
            return
        trial, result = self._ot_trials[trial_id], result or {}
        # Tune has flattened it.
        limits = {
            key.removeprefix("constraints/"): float(value)
            for key, value in result.items()
            if key.startswith("constraints/")
        }
        values = [float(result.get(name, math.nan)) for name in self.metric]
        record = self._folder.trial(number_of(trial), result.get(MEASURED))
        state = TrialState.COMPLETE
        if error or not all(math.isfinite(value) for value in [*values, *limits.values()]):
            state = TrialState.FAIL
        elif record is not None:
            state = result_of(record, self._experiment.search.objectives)
        complete = state is TrialState.COMPLETE

        def tell() -> None:
            if not trial.storage.get_trial(trial._trial_id).state.is_finished():
                self._annotate(trial, record)
            if complete:
                for name, violation in limits.items():
                    trial.set_constraint(name, violation)
            self._ot_study.tell(
                trial, values if complete else None, state=state, skip_if_finished=True
            )

        # OptunaSearch would drop what the database does not take at once.
        self._patiently(tell)
        self._completed_trials.add(trial_id)
        push_search(self._folder)

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its searcher to restore it later; a resumed study makes its own.
        return self.__dict__ | {"_patiently": None, "_goes_on": None}

    def save(self, checkpoint_path: str) -> None:
        """Tune's copy of the searcher, which nothing reads."""
        Path(checkpoint_path).touch()


def _key(trial: FrozenTrial) -> tuple[tuple[str, Any], ...]:
    """The same for all seeds of a plan."""
    return tuple(sorted(trial.params.items()))
