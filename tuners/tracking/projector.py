"""MLflow as a view of a study: the study's folder is the truth, and is projected into runs.

Whatever changes is marked, and a thread brings MLflow's runs in line with the records, however
often it takes. So a server that is away, a kill or a resumption neither loses nor doubles
anything, and trials never wait for MLflow.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from prune_search.errors import one_line
from prune_search.experiment.schema import Experiment
from prune_search.records.folder import StudyFolder
from prune_search.records.fronts import front
from prune_search.records.models import StudyRecord, TrialRecord, trial_name
from prune_search.records.returns import Return
from tuners.plots.front import front_figure, front_html, study_figure, study_html
from tuners.plots.search import curve_figure, importances_figure
from tuners.report.study_report import StudyReport, report
from tuners.tracking.mlflow.runs import (
    SUMMARY,
    importances_json,
    levels_json,
    study_id,
    summary_run,
    table_json,
    trial_run,
)
from tuners.tracking.mlflow.store import IMPORTANCES, LEVELS, TABLE, Artifacts, Store, described
from tuners.tracking.mlflow.views import compare_url, runs_url

_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
# The summary is of all trials, and takes the longer the more there are.
_SUMMARY_SHARE = 0.1  # of the time, at most, while the study runs


def default_uri(storage: Path) -> str:
    """The SQLite file in the storage folder."""
    return f"sqlite:///{storage.expanduser().resolve() / 'mlflow.db'}"


@dataclass(frozen=True)
class TrackerReport:
    """What MLflow has of a study."""

    pending: list[str]
    """What is not projected yet: trials' names, `summary`; `prune-search resume` catches up."""
    problem: str
    """What was wrong the last time, in one line; empty when all went well."""
    experiment_id: str | None
    """None when MLflow was never reached."""
    runs: dict[str, str]
    """Run ids by trial name; the study's own under `summary`."""
    runs_url: str
    compare_url: str
    """Compares the trials that have points; empty for fewer than two."""


class Tracker:
    """Projects a study's records into MLflow, in a thread of its own."""

    def __init__(
        self,
        folder: StudyFolder,
        experiment: Experiment,
        uri: str,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._folder, self._experiment = folder, experiment
        self._store = Store(folder, experiment, uri)
        self._wake = threading.Condition()
        self._changed: dict[str, int] = {}  # what to project: how often it was marked
        self._projecting = threading.Lock()  # catch_up works in its caller's thread
        self._closing = self._stopped = False
        self._problem, self._tell = "", tell
        self._summary_at = 0.0  # by time.monotonic(): not before
        self._thread: threading.Thread | None = None

    @property
    def problem(self) -> str:
        """What keeps MLflow from being up to date, in one line; empty when nothing does."""
        return self._problem

    def start(self) -> None:
        """Starts the thread."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
            self._thread.start()

    def trial_changed(self, number: int) -> None:
        """Marks a trial, and the study with it, as changed. Never waits."""
        self._mark({trial_name(number), SUMMARY})

    def catch_up(self) -> TrackerReport:
        """Projects everything once, before it returns; what fails stays pending."""
        self._mark(self._everything())
        self._summary_at = 0.0
        self._sweep()
        return self._report()

    def finish(self, timeout_s: float) -> TrackerReport:
        """Projects everything and stops; a trial that is still running counts as interrupted.

        What is pending after the timeout is projected when the study is resumed or finished again.
        """
        self._closing = True
        self._mark(self._everything())
        self.start()
        with self._wake:
            self._wake.wait_for(
                lambda: not self._changed and not self._projecting.locked(), timeout_s
            )
            self._stopped = True
            self._wake.notify_all()
        return self._report()

    def _everything(self) -> set[str]:
        return {trial.name for trial in self._folder.trials()} | {SUMMARY}

    def _mark(self, keys: set[str]) -> None:
        with self._wake:
            for key in keys:
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

    def _sweep(self) -> bool:
        """Projects what is due, each once; whether all went well."""
        with self._wake:
            marked = self._due()
        problem = ""
        with self._projecting:
            for key, times in marked:
                began = time.monotonic()
                try:
                    self._store.connect()
                except Exception as error:  # a study does not end for MLflow's sake
                    problem = f"MLflow at {self._store.uri}: {described(error)}"
                    break
                try:
                    self._project(key)
                except Exception as error:
                    problem = f"MLflow at {self._store.uri}: {key}: {described(error)}"
                    self._store.disconnect()
                    continue
                if key == SUMMARY:
                    ended = time.monotonic()
                    self._summary_at = ended + (ended - began) * (1 / _SUMMARY_SHARE - 1)
                with self._wake:
                    if self._changed.get(key) == times:  # else it has changed again meanwhile
                        del self._changed[key]
                    self._wake.notify_all()
            try:
                self._store.remember()
            except OSError as error:
                problem = problem or f"mlflow.json: {one_line(error)}"
        if problem and not self._problem:
            self._tell(f"{problem}; the study goes on, MLflow is caught up")
        elif self._problem and not problem:
            self._tell("MLflow is back, and up to date")
        self._problem = problem
        return not problem

    def _project(self, key: str) -> None:
        folder, experiment = self._folder, self._experiment
        study = folder.study()
        if study is None:
            raise ValueError("the study has no record yet")
        if key == SUMMARY:
            found = report(folder, experiment)
            self._store.show([trial.plan for trial in found.trials])
            self._store.write(
                summary_run(study, found, experiment, over=self._closing),
                lambda: _summary_artifacts(found, folder),
            )
            return
        trial = folder.trial(int(key[1:]))
        final = folder.final()
        finals = final.points if final else {}
        if trial is not None:
            self._store.write(
                trial_run(study, trial, experiment, finals, over=self._closing),
                lambda: _trial_artifacts(study, trial, experiment, finals, folder.path),
            )

    def _report(self) -> TrackerReport:
        with self._wake:
            pending = sorted(self._changed)
        store, base = self._store, self._store.ui
        known, experiment_id = dict(store.runs), store.experiment_id
        study = self._folder.study()
        compared = [
            known[trial.name]
            for trial in self._folder.trials()
            if trial.points and trial.name in known
        ]
        return TrackerReport(
            pending=pending,
            problem=self._problem if pending else "",
            experiment_id=experiment_id,
            runs=known,
            runs_url=(
                runs_url(base, experiment_id, study_id(study)) if experiment_id and study else ""
            ),
            compare_url=(
                compare_url(base, experiment_id, compared)
                if experiment_id and len(compared) > 1
                else ""
            ),
        )


def _trial_artifacts(
    study: StudyRecord,
    trial: TrialRecord,
    experiment: Experiment,
    finals: Mapping[str, Return],
    folder: Path,
) -> Artifacts:
    if not trial.points or not study.baseline:
        return {}
    floor = study.baseline.return_at(experiment.pruning.floor)
    bound = study.baseline.return_at(experiment.evaluation.holds_at)
    title = f"{study.name} {trial.name}: {trial.plan.label}"
    drawn = (trial.points, study.baseline, floor)
    labels = {trial.number: trial.plan.label}
    return {
        LEVELS: levels_json(trial.points),
        TABLE: table_json(front(trial.points), folder, finals, bound),
        "front.png": front_figure(*drawn, control=study.control, final=finals, title=title),
        "front.html": front_html(
            *drawn, control=study.control, final=finals, labels=labels, title=title
        ),
    }


def _summary_artifacts(found: StudyReport, folder: StudyFolder) -> Artifacts:
    files: Artifacts = {}
    if folder.experiment_file.is_file():
        files["experiment.yaml"] = folder.experiment_file.read_text(encoding="utf-8")
    if not found.front or not found.baseline:
        return files
    if found.importances:
        files[IMPORTANCES] = importances_json(found.importances)
        files["importances.png"] = importances_figure(
            found.importances, f"{found.name}: which choices mattered"
        )
    return {
        **files,
        "hypervolume.png": curve_figure(found.curve, f"{found.name}: {found.environment}"),
        LEVELS: levels_json(found.points),
        TABLE: table_json(
            [item.point for item in found.front], found.folder, found.finals, found.bound
        ),
        "front.png": study_figure(found),
        "front.html": study_html(found),
    }
