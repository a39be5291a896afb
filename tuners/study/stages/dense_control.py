"""The dense control of a study, trained beside its trials."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

from prune_search.ray_failures import lost
from prune_search.records.models import ControlRecord
from prune_search.trial.baselines.dense_control import control_folder, control_plan, train_control
from tuners.display.live import Progress
from tuners.report.advice import fallen
from tuners.study.placement import placed
from tuners.study.stages.driven import DrivenStudy


class Control:
    """Finds the control, or has Ray train it while the search goes on.

    Args:
        study: with its baseline, and with the control if an earlier driver has found it.
    """

    def __init__(self, study: DrivenStudy) -> None:
        self._storage, self._experiment = study.folder.path.parent, study.experiment
        self._baseline, self._request = study.baseline, study.request
        self._progress, self._record = study.progress, study.record.control
        self._know = study.know
        if self._record is None and self._experiment.baseline.control:
            folder = control_folder(self._storage, self._experiment, self._baseline)
            self._record = folder.record()
            if self._record is None:
                self._progress.control(control_plan(self._experiment.pruning).env_steps)
        self._task: Any = None
        self._place: Any = None

    def start(self) -> None:
        """Has it trained, unless it is there, or not asked for."""
        if self._record or self._task or not self._experiment.baseline.control:
            return
        steps = control_plan(self._experiment.pruning).env_steps
        self._progress.control(steps, begun=True)
        self._progress.note(f"dense control: trains on for {steps:,} env steps, prunes nothing")
        # A process that is lost is replaced, and goes on from the last finished round.
        retries = self._experiment.search.retries
        train, self._place = placed(train_control, self._request, retries)
        self._task = train.remote(self._storage, self._experiment, self._baseline)
        # What it was given is a trial's as soon as it has ended, not when the search has.
        over = (self._task, self._place, self._progress)
        threading.Thread(target=_free, args=over, name="control", daemon=True).start()

    def result(self) -> ControlRecord | None:
        """Waits for it; None where none was asked for, or its training failed."""
        import ray

        self.start()
        if self._task is not None:
            if not ray.wait([self._task], timeout=0)[0]:
                self._progress.begin("waiting for the dense control")
            try:
                self._record = ray.get(self._task)
                self._know(control_s=self._record.train_s)
                returned = self._record.returned
                self._progress.note(
                    f"dense control: return {returned.value:.1f} [{returned.low:.1f},"
                    f" {returned.high:.1f}], retention {self._record.retention:.2f}"
                )
                enough = self._experiment.search.retention
                if fell := fallen(self._record, self._baseline, enough):
                    self._progress.note(f"dense control: {fell}")
            except ray.exceptions.RayError as error:
                self._progress.note(
                    f"the dense control failed: {lost(error)}; points are compared with the"
                    " baseline, and resuming the study tries it again"
                )
            self.stop()
        return self._record

    def stop(self) -> None:
        """Ends what still trains; a later driver goes on from the last finished round."""
        import ray

        if self._task is not None:
            ray.cancel(self._task, force=True)
            ray.util.remove_placement_group(self._place)
            self._task = None


def _free(task: Any, place: Any, progress: Progress) -> None:
    """Gives the resources back once the task has ended, however it has."""
    import ray

    with suppress(Exception):  # Ray itself has ended
        ray.wait([task], timeout=None)
        progress.control_ended()
        ray.util.remove_placement_group(place)
