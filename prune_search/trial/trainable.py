"""A trial as Ray Tune runs it: one actor, one round a step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ray import tune
from ray.exceptions import RayError
from ray.tune.result import DONE

from prune_search.errors import EnvironmentFault, LostError, TrialError
from prune_search.experiment.extensions import import_extensions
from prune_search.experiment.schema import Experiment
from prune_search.plan.plan import Plan
from prune_search.ray_failures import lost
from prune_search.records.folder import StudyFolder
from prune_search.records.models import BaselineRecord
from prune_search.records.objectives import objectives
from prune_search.rllib.running import process_settings
from prune_search.storage.mirror import Mirror
from prune_search.trial.constraints import violations
from prune_search.trial.rounds import TrialRounds
from prune_search.trial.watchdog import Watch
from prune_search.user_code import culprit, of_code

FAILED = "failed"
"""Of a trial's last result: why it ends without another try; absent where it hasn't failed."""


MEASURED = "measured"
"""Of a trial's results: when its point was; see `StudyFolder.trial`."""


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
        import_extensions(experiment.modules)
        self._experiment, self._baseline = experiment, baseline
        self._folder = StudyFolder(storage, study, Mirror(storage, experiment.mirror))
        self._watch = Watch(experiment.search, experiment.resources)
        self._rounds: TrialRounds | None = None

    def _begin(self, config: dict[str, Any]) -> TrialRounds:
        plan = Plan.model_validate(config["plan"])
        return TrialRounds(
            self._experiment,
            self._folder,
            self._baseline,
            config["number"],
            plan,
            config["chosen_by"],
        )

    def step(self) -> dict[str, Any]:
        number, search = self.config["number"], self._experiment.search
        try:
            with self._watched(number):
                # Tune tries again what fails in a step, but not what fails before the first one.
                if self._rounds is None:
                    self._rounds = self._begin(self.config)
                point = self._rounds.step()
        except TrialError as error:
            # As far as this node has it: what it can't push or bring may be what has failed.
            record = next((t for t in self._folder.trials() if t.number == number), None)
            rounds = len(record.points) if record else 0
            final = isinstance(error, EnvironmentFault)
            if isinstance(error, LostError) or not (
                final or self._repeats(number, rounds, str(error))
            ):
                raise
            # Tune would try as often as it is allowed to; a trial that ends is left in peace. An
            # environment whose fault depends on how long its process has run would come through.
            return {
                "number": number,
                "round": rounds,  # in which it failed
                "env_steps": record.env_steps if record else 0,
                **dict.fromkeys(search.objectives, math.nan),
                FAILED: str(error),
                DONE: True,
            }
        record = self._rounds.record
        return {
            "number": point.trial,
            "round": point.round,
            MEASURED: point.time,
            "env_steps": point.env_steps,
            **objectives(record, search.retention),
            "constraints": violations(record, search, self._baseline),
            DONE: self._rounds.done,
        }

    @contextmanager
    def _watched(self, number: int) -> Iterator[None]:
        """Limits of time and memory hold; whatever else ends a round is told in one line."""
        with self._watch.round(self._folder.ended_file(number)):
            try:
                yield
            except TrialError:
                raise
            except RayError as error:
                kind = TrialError if of_code(error) else LostError
                raise kind(lost(error)) from error
            except Exception as error:
                raise TrialError(culprit(error)) from error

    def _repeats(self, number: int, rounds: int, reason: str) -> bool:
        """Whether a trial fails as it did before in the same round, or as another has for good.

        A round depends on its checkpoint and seed alone: what fails alike twice always does.
        """
        failure = f"{rounds} {reason}"
        file = self._folder.failure_file(number)
        before = file.read_text(encoding="utf-8") if file.is_file() else ""
        with suppress(OSError):  # then it is tried once more
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(failure, encoding="utf-8")
        known = {trial.reason for trial in self._folder.trials() if trial.state == "failed"}
        return failure == before or reason in known

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        with suppress(RayError):  # of the trial before, whose processes may be lost
            self.cleanup()
        return True

    def cleanup(self) -> None:
        rounds, self._rounds = self._rounds, None
        if rounds is not None:
            rounds.stop()
