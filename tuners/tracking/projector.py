"""A tracker kept in line with a study: the study's folder is the truth, and is projected.

Whatever changes is marked, and a thread brings the tracker in line with the records, however often
it takes. So a server that is away, a kill or a resumption neither loses nor doubles anything, and
trials never wait for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from prune_search.errors import check_known, one_line
from prune_search.experiment.schema import Experiment
from prune_search.plan.axes import NONE
from prune_search.records.folder import StudyFolder
from prune_search.records.models import TrialRecord
from tuners.report.study_report import report
from tuners.spans import PROJECT, span
from tuners.tracking.base import TRACKERS, Tracking, Where

_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
# The summary is of all trials, and takes the longer the more there are.
_SUMMARY_SHARE = 0.1  # of the time, at most, while the study runs


SUMMARY = "summary"
"""What the study itself is among the keys of what is projected."""


@dataclass(frozen=True)
class TrackerReport:
    """What a tracker has of a study."""

    pending: list[str]
    """What is not projected yet: trials' names, `summary`; `prune-search resume` catches up."""
    problem: str
    """What was wrong the last time, in one line; empty when all went well."""
    where: Where
    """Where it is to be seen."""


class Tracker:
    """Projects a study's records, in a thread of its own; nothing without a tracker."""

    def __init__(
        self,
        folder: StudyFolder,
        experiment: Experiment,
        tracking: Tracking | None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._folder, self._experiment = folder, experiment
        self._tracking = tracking
        self._wake = threading.Condition()
        self._changed: dict[str, int] = {}  # what to project: how often it was marked
        self._trials: dict[str, TrialRecord] = {}  # as they were when they were marked
        self._projecting = threading.Lock()  # catch_up works in its caller's thread
        self._closing = self._stopped = False
        self._problem, self._tell = "", tell
        self._summary_at = 0.0  # by time.monotonic(): not before
        self._thread: threading.Thread | None = None

    @property
    def name(self) -> str:
        """The tracker's, without its address; empty where there is none."""
        return self._tracking.place.partition(" at ")[0] if self._tracking else ""

    @property
    def problem(self) -> str:
        """What keeps the tracker from being up to date, in one line; empty when nothing does."""
        return self._problem

    def start(self) -> None:
        """Starts the thread."""
        if self._thread is None and self._tracking is not None:
            self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
            self._thread.start()

    def trial_changed(self, record: TrialRecord) -> None:
        """Marks a trial, and the study with it, as changed. Never waits."""
        self._mark([record])

    def catch_up(self) -> TrackerReport:
        """Projects everything once, before it returns; what fails stays pending."""
        self._mark(self._folder.trials())
        self._summary_at = 0.0
        self._sweep()
        return self._report()

    def finish(self, timeout_s: float) -> TrackerReport:
        """Projects everything and stops; a trial that is still running counts as interrupted.

        What is pending after the timeout is projected when the study is resumed or finished again.
        """
        self._closing = True
        self._mark(self._folder.trials())
        self.start()
        with self._wake:
            self._wake.wait_for(
                lambda: not self._changed and not self._projecting.locked(), timeout_s
            )
            self._stopped = True
            self._wake.notify_all()
        return self._report()

    def _mark(self, trials: Iterable[TrialRecord]) -> None:
        if self._tracking is None:
            return
        marked = {trial.name: trial for trial in trials}
        with self._wake:
            self._trials |= marked
            for key in (*marked, SUMMARY):
                self._changed[key] = self._changed.get(key, 0) + 1
            self._wake.notify_all()

    def _work(self) -> None:
        pause = 0.0
        while True:
            with self._wake:
                if pause:
                    # finish() cuts a long pause short, but must not hammer a server that is away.
                    self._wake.wait_for(lambda: self._closing, pause)
                    self._wake.wait_for(lambda: self._stopped, _SHORTEST_PAUSE_S)
                early = self._summary_at - time.monotonic() if self._changed else None
                self._wake.wait_for(lambda: self._due() or self._stopped, early)
                if self._stopped:
                    return
            pause = 0.0 if self._sweep() else min(2 * pause + 1, _LONGEST_PAUSE_S)
            with self._wake:
                self._wake.notify_all()

    def _due(self) -> list[tuple[str, int]]:
        """What is to be projected now, and how often it was marked; the summary last."""
        early = not self._closing and time.monotonic() < self._summary_at
        due = [item for item in self._changed.items() if not (early and item[0] == SUMMARY)]
        return sorted(due, key=lambda item: (item[0] == SUMMARY, item[0]))

    @span(PROJECT)
    def _sweep(self) -> bool:
        """Projects what is due, each once; whether all went well."""
        tracking, problem = self._tracking, ""
        if tracking is None:
            return True
        with self._wake:
            marked = self._due()
        with self._projecting:
            for key, times in marked:
                began = time.monotonic()
                try:
                    tracking.connect()
                except Exception as error:  # a study does not end for a tracker's sake
                    problem = f"{tracking.place}: {tracking.described(error)}"
                    break
                try:
                    self._project(tracking, key)
                except Exception as error:
                    problem = f"{tracking.place}: {key}: {tracking.described(error)}"
                    tracking.disconnect()
                    continue
                if key == SUMMARY:
                    ended = time.monotonic()
                    self._summary_at = ended + (ended - began) * (1 / _SUMMARY_SHARE - 1)
                with self._wake:
                    if self._changed.get(key) == times:  # else it has changed again meanwhile
                        del self._changed[key]
                    self._wake.notify_all()
            try:
                tracking.finish()
            except OSError as error:
                problem = problem or f"{tracking.place}: {one_line(error)}"
        if problem and not self._problem:
            self._tell(f"{problem}; the study goes on, and is caught up there")
        elif self._problem and not problem:
            self._tell(f"{self.name} is back, and up to date")
        self._problem = problem
        return not problem

    def _project(self, tracking: Tracking, key: str) -> None:
        study = self._folder.study()
        if study is None:
            raise ValueError("the study has no record yet")
        if key == SUMMARY:
            found = report(self._folder, self._experiment)
            tracking.project_study(study, found, over=self._closing)
            return
        final = self._folder.final()
        tracking.project_trial(study, self._trials[key], final, over=self._closing)

    def _report(self) -> TrackerReport:
        with self._wake:
            pending = sorted(self._changed)
        return TrackerReport(
            pending=pending,
            problem=self._problem if pending else "",
            where=self._tracking.where() if self._tracking else Where(),
        )


def check_tracker(experiment: Experiment) -> None:
    """Whether there is a tracker of the name that `tracking.to` gives.

    Raises:
        UserError: there is none.
    """
    from tuners.tracking.mlflow import tracking  # noqa: F401 - it is registered

    check_known("tracking.to", experiment.tracking.to, [*TRACKERS, NONE])


def tracking_of(folder: StudyFolder, experiment: Experiment) -> Tracking | None:
    """The study's tracker, as `tracking.to` names it; None where it is `none`.

    Raises:
        ValueError: there is none of this name.
    """
    from tuners.tracking.mlflow import tracking  # noqa: F401 - it is registered

    name = experiment.tracking.to
    return None if name == NONE else TRACKERS.find(name)(folder, experiment)
