"""A trial as Ray Tune runs it: one actor, one round a step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ray import tune
from ray.exceptions import RayError
from ray.tune.result import DONE

from prune_search.errors import TrialError, lost
from prune_search.experiment import Experiment
from prune_search.pareto import objectives, violations
from prune_search.pruning import Plan
from prune_search.record import BaselineRecord, StudyFolder
from prune_search.training.algorithm import process_settings
from prune_search.training.rounds import TrialRounds
from prune_search.watch import Watch


class PruningTrial(tune.Trainable):
    """Runs the rounds of one trial after another, in one process that Tune reuses.

    A trial's own folder says how far it came, so that a trial that is started again, by Tune after
    a failure or by a resumed study, goes on by itself.

    Config: `number` and `plan`, the fields of `Plan`. Parameters: `experiment`, `storage`, `study`
    and `baseline`.
    """

    def setup(
        self,
        config: dict[str, Any],
        experiment: Experiment,
        storage: str,
        study: str,
        baseline: BaselineRecord,
    ) -> None:
        process_settings(experiment.resources.threads)
        self._experiment, self._baseline = experiment, baseline
        self._folder = StudyFolder(storage, study)
        self._watch = Watch(experiment.search, experiment.resources)
        self._rounds: TrialRounds | None = None

    def _begin(self, config: dict[str, Any]) -> TrialRounds:
        plan = Plan.model_validate(config["plan"])
        return TrialRounds(self._experiment, self._folder, self._baseline, config["number"], plan)

    def step(self) -> dict[str, Any]:
        with self._watched(self.config["number"]):
            # Tune tries again what fails in a step, but not what fails before the first one.
            if self._rounds is None:
                self._rounds = self._begin(self.config)
            point = self._rounds.step()
        record, search = self._rounds.record, self._experiment.search
        return {
            "number": point.trial,
            "round": point.round,
            "env_steps": point.env_steps,
            **objectives(record, search.retention),
            "constraints": violations(record, search, self._baseline),
            DONE: self._rounds.done,
        }

    @contextmanager
    def _watched(self, number: int) -> Iterator[None]:
        """Limits of time and memory hold; what Ray says of lost processes is one line."""
        with self._watch.round(self._folder.trial_path(number)):
            try:
                yield
            except RayError as error:
                raise TrialError(lost(error)) from error

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        with suppress(RayError):  # of the trial before, whose processes may be lost
            self.cleanup()
        return True

    def cleanup(self) -> None:
        rounds, self._rounds = self._rounds, None
        if rounds is not None:
            rounds.stop()
