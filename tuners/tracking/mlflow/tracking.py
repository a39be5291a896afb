"""MLflow as a tracker: runs, their artifacts, and where they are to be seen."""

from __future__ import annotations

from pathlib import Path

from prune_search.experiment.schema import Experiment
from prune_search.records.folder import StudyFolder
from prune_search.records.fronts import front
from prune_search.records.models import FinalRecord, StudyRecord, TrialRecord
from tuners.page.held import held
from tuners.page.page import html
from tuners.plots.front import front_html, study_figure, study_html
from tuners.plots.search import curve_figure, importances_figure
from tuners.report.study_report import StudyReport
from tuners.tracking.base import TRACKERS, Where, register_tracker
from tuners.tracking.mlflow.client import described
from tuners.tracking.mlflow.runs import (
    importances_json,
    levels_json,
    study_id,
    summary_run,
    table_json,
    trial_run,
)
from tuners.tracking.mlflow.store import IMPORTANCES, LEVELS, TABLE, Artifacts, Store
from tuners.tracking.mlflow.views import compare_url, runs_url


def default_uri(storage: Path) -> str:
    """The SQLite file in the storage folder."""
    return f"sqlite:///{storage.expanduser().resolve() / 'mlflow.db'}"


class MlflowTracking:
    """A study in MLflow: one run a trial, and one for the study."""

    def __init__(self, folder: StudyFolder, experiment: Experiment, uri: str) -> None:
        self._folder, self._experiment = folder, experiment
        self._store = Store(folder, experiment, uri)

    @property
    def place(self) -> str:
        return f"MLflow at {self._store.uri}"

    def connect(self) -> None:
        self._store.connect()

    def disconnect(self) -> None:
        self._store.disconnect()

    def project_trial(
        self, study: StudyRecord, trial: TrialRecord, final: FinalRecord | None, *, over: bool
    ) -> None:
        experiment, path = self._experiment, self._folder.path
        self._store.write(
            trial_run(study, trial, experiment, final, over=over),
            lambda: _trial_artifacts(study, trial, experiment, final, path),
        )

    def project_study(self, study: StudyRecord, found: StudyReport, *, over: bool) -> None:
        self._store.show([trial.plan for trial in found.trials])
        self._store.write(
            summary_run(study, found, self._experiment, over=over),
            lambda: _summary_artifacts(found, self._folder),
        )

    def finish(self) -> None:
        self._store.remember()

    def described(self, error: Exception) -> str:
        return described(error)

    def where(self) -> Where:
        store, study = self._store, self._folder.study()
        known, experiment_id = dict(store.runs), store.experiment_id
        if not experiment_id:
            return Where(None, known)
        compared = [
            known[trial.name]
            for trial in self._folder.trials()
            if trial.points and trial.name in known
        ]
        return Where(
            experiment_id,
            known,
            runs_url=runs_url(store.ui, experiment_id, study_id(study)) if study else "",
            compare_url=(
                compare_url(store.ui, experiment_id, compared) if len(compared) > 1 else ""
            ),
        )


@register_tracker("mlflow")
def mlflow_tracking(folder: StudyFolder, experiment: Experiment) -> MlflowTracking:
    """The tracker of the experiment's address."""
    uri = experiment.tracking.uri or default_uri(folder.path.parent)
    return MlflowTracking(folder, experiment, uri)


TRACKERS.close()


def _trial_artifacts(
    study: StudyRecord,
    trial: TrialRecord,
    experiment: Experiment,
    final: FinalRecord | None,
    folder: Path,
) -> Artifacts:
    if not trial.points or not study.baseline:
        return {}
    floor = study.baseline.return_at(experiment.pruning.floor)
    bound = study.baseline.return_at(experiment.evaluation.holds_at)
    title = f"{study.name} {trial.name}: {trial.plan.label}"
    return {
        LEVELS: levels_json(trial.points),
        TABLE: table_json(front(trial.points), folder, final, bound),
        # Drawn once: with another form of it, a study of short trials would draw all the time.
        "front.html": front_html(
            trial.points,
            study.baseline,
            floor,
            control=study.control,
            final=final.points if final else {},
            labels={trial.number: trial.plan.label},
            title=title,
        ),
    }


def _summary_artifacts(found: StudyReport, folder: StudyFolder) -> Artifacts:
    files: Artifacts = {}
    if folder.experiment_file.is_file():
        files["experiment.yaml"] = folder.experiment_file.read_text(encoding="utf-8")
    if not found.front or not found.baseline:
        return files
    files["report.html"] = html(held(found, folder))
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
            [item.point for item in found.front], found.folder, found.final, found.bound
        ),
        "front.png": study_figure(found),
        "front.html": study_html(found),
    }
