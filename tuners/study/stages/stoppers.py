"""When a trial or the whole search ends before its time."""

from __future__ import annotations

import time
from typing import Any

from ray.tune import Stopper

from prune_search.experiment.search_section import Search, Stopping
from prune_search.records.folder import StudyFolder
from prune_search.records.models import TrialRecord
from prune_search.records.reasons import SEARCH_STEPS_USED, SEARCH_TIME_USED
from prune_search.trial.trainable import MEASURED
from tuners.search.front_stopping import FrontStopping
from tuners.spans import FOLLOW, span


class Budget(Stopper):
    """Ends the whole search when its time or its env steps are used.

    Env steps count over all drivers of a study, the time from the start of this one.
    """

    def __init__(self, search: Search, folder: StudyFolder) -> None:
        self._time_s, self._env_steps = search.time_s, search.env_steps
        self._began = time.monotonic()
        self._steps = {trial.number: trial.env_steps for trial in folder.trials()}
        self._spent = sum(self._steps.values())

    @span(FOLLOW)
    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        number, steps = result["number"], result["env_steps"]
        self._spent += steps - self._steps.get(number, 0)
        self._steps[number] = steps
        return False

    @span(FOLLOW)
    def stop_all(self) -> bool:
        return bool(self.reason)

    @property
    def reason(self) -> str:
        """Which budget is used; empty while none is."""
        if self._time_s is not None and time.monotonic() - self._began > self._time_s:
            return SEARCH_TIME_USED
        if self._env_steps is not None and self._spent >= self._env_steps:
            return SEARCH_STEPS_USED
        return ""


class EarlyStopping(Stopper):
    """Asks `FrontStopping` after each round, and writes what it decides into the trial's record.

    The record is written before Tune stops the trial: a driver that is killed in between finds it.
    """

    def __init__(self, settings: Stopping, folder: StudyFolder, seeds: int = 1) -> None:
        self._folder, self._seeds = folder, seeds
        self._rule = FrontStopping(settings.confidence, settings.gain)
        self._rule.add(folder.trials())

    @span(FOLLOW)
    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        record = self._folder.trial(result["number"], result.get(MEASURED))
        if record is None or not record.points or record.points[-1].round != result["round"]:
            return False  # the round has not arrived in this machine's folder yet
        decision = self._rule.on_trial_result(record)
        if decision.stop and self._repeats(record):
            return False
        if decision.stop:
            stopped = {"state": "stopped", "reason": decision.reason}
            self._folder.write_trial(record.model_copy(update=stopped))
        return decision.stop

    def _repeats(self, record: TrialRecord) -> bool:
        """Whether its plan has run to its end before, and seeds were asked for.

        Were a repeat stopped where it does badly, only those that do well would be reported.
        """
        return self._seeds > 1 and any(
            other.plan == record.plan and other.state == "complete"
            for other in self._folder.trials()
        )

    def stop_all(self) -> bool:
        return False
