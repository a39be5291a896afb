"""What Tune tells the driver about trials, passed on to the display and to MLflow."""

from __future__ import annotations

from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.result import DONE

from prune_search.record import StudyFolder, TrialRecord, trial_name
from tuners.progress import Progress
from tuners.stopping import Budget
from tuners.tracking import Tracker


class StudyCallback(tune.Callback):
    """Follows the trials' folders as Tune reports on them.

    A trial writes its own record while it lives; the driver only closes the record of a trial
    that failed for good or that the search's budget ended.
    """

    def __init__(
        self, folder: StudyFolder, progress: Progress, tracker: Tracker, budget: Budget
    ) -> None:
        self._folder, self._progress = folder, progress
        self._tracker, self._budget = tracker, budget

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks to restore them later; a resumed study makes its own.
        return {}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        self._progress.trial_started(trial.config["number"])

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        self._changed(trial)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        if self._budget.reason and not (trial.last_result or {}).get(DONE):
            self._close(trial, "complete", self._budget.reason)
        self._changed(trial)

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        number = trial.config["number"]
        self._progress.note(f"{trial_name(number)} failed and goes on: {failure(trial)}")

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        self._close(trial, "failed", failure(trial))
        self._progress.note(f"{trial_name(trial.config['number'])} failed: {failure(trial)}")
        self._changed(trial)

    def _close(self, trial: Trial, state: str, reason: str) -> None:
        record = self._folder.trial(trial.config["number"]) or TrialRecord(
            number=trial.config["number"],
            plan=trial.config["plan"],
            state="running",
            started=trial.start_time or 0.0,
        )
        if record.state == "running":
            self._folder.write_trial(record.model_copy(update={"state": state, "reason": reason}))

    def _changed(self, trial: Trial) -> None:
        number = trial.config["number"]
        record = self._folder.trial(number)
        if record is not None:
            self._progress.trial_changed(record)
            self._tracker.trial_changed(number)


def failure(trial: Trial) -> str:
    """Why a trial failed, in one line."""
    error = trial.get_error()
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    if not lines:
        return type(cause).__name__
    # A remote error's text is a traceback, whose last line says what went wrong.
    text = lines[-1] if "Traceback" in str(cause) or len(lines) > 3 else " ".join(lines)
    return text[:300]
