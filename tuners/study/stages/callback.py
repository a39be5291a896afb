"""What Tune tells the driver about trials, passed on to the display and to MLflow."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from prune_search.ray_failures import last_failure
from prune_search.records.models import TrialRecord, trial_name
from prune_search.records.reasons import stopped_by
from prune_search.records.stages import FIRST, TRIALS
from prune_search.trial.trainable import FAILED, MEASURED
from prune_search.trial.watchdog import why_ended
from tuners.spans import FOLLOW, span
from tuners.study.stages.driven import DrivenStudy
from tuners.words import outcome

_LOOK_S = 1.0  # between two looks for trials that wait for room


class StudyCallback(tune.Callback):
    """Follows the trials' folders as Tune reports on them.

    A trial writes its own record while it lives; the driver closes that of one that failed for
    good, and of one that a scheduler of Tune's has stopped.
    """

    def __init__(self, study: DrivenStudy) -> None:
        self._study = study
        self._folder, self._progress, self._tracker = study.folder, study.progress, study.tracker
        self._search, self._waits = study.experiment.search, study.waits
        self._scheduler = self._search.scheduler.name if self._search.scheduler else ""
        self._looked = 0.0

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks to restore them later; a resumed study makes its own.
        return {}

    def on_step_begin(self, iteration: int, trials: list[Trial], **_: Any) -> None:
        now = time.monotonic()
        if now - self._looked > _LOOK_S:
            self._looked = now
            running = [t.config["number"] for t in trials if t.status == Trial.RUNNING]
            for number in running:
                found = self._folder.began_to_wait(number)
                if found:
                    self._progress.note(
                        f"{found}: {trial_name(number)} waits in {self._folder.path}"
                    )

    @span(FOLLOW)
    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        self._progress.trial_started(trial.config["number"])

    @span(FOLLOW)
    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        number = trial.config["number"]
        record = self._folder.trial(number, result.get(MEASURED))
        if record is not None and self._study.stage == FIRST:
            self._study.enter(TRIALS, ago=time.time() - record.started)
        self._changed(record)

    @span(FOLLOW)
    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **_: Any
    ) -> None:
        number, result = trial.config["number"], trial.last_result or {}
        if result.get(FAILED):
            self._failed(trial, result[FAILED])
            return
        record = self._folder.trial(number, result.get(MEASURED))
        if record is not None and record.state == "running":
            reason = {"state": "stopped", "reason": stopped_by(self._scheduler)}
            record = record.model_copy(update=reason)
            self._folder.write_trial(record, self._waits)
        self._changed(record)
        if record is not None and record.remark:
            self._progress.note(f"{record.name} {outcome(record)}: {record.remark}")

    @span(FOLLOW)
    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        number = trial.config["number"]
        self._progress.note(f"{trial_name(number)} failed and goes on: {self._failure(trial)}")

    @span(FOLLOW)
    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        self._failed(trial, self._failure(trial))

    def _failed(self, trial: Trial, reason: str) -> None:
        record = self._close(trial, reason)
        self._progress.note(f"{record.name} failed: {reason}")
        self._changed(record)

    def _failure(self, trial: Trial) -> str:
        ended = self._folder.ended_file(trial.config["number"])
        # Tune appends each failure to this file; trial.get_error() looks in the storage, where the
        # file arrives later.
        path = trial.error_file
        text = Path(path).read_text(encoding="utf-8") if path and Path(path).is_file() else ""
        return why_ended(ended, self._search) or last_failure(text)

    def _close(self, trial: Trial, reason: str) -> TrialRecord:
        record = self._folder.trial(trial.config["number"]) or TrialRecord(
            number=trial.config["number"],
            plan=trial.config["plan"],
            state="running",
            started=trial.run_metadata.start_time or time.time(),
        )
        record = record.model_copy(update={"state": "failed", "reason": reason})
        self._folder.write_trial(record, self._waits)
        return record

    def _changed(self, record: TrialRecord | None) -> None:
        if record is not None:
            self._progress.trial_changed(record)
            self._tracker.trial_changed(record)
