"""MLflow stores for tests: studies projected into them, and what they hold then."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prune_search.experiment.schema import Experiment
from prune_search.records.folder import StudyFolder
from prune_search.records.models import Point
from tests.studies import make_experiment, mlflow_tracker
from tuners.tracking.mlflow.tracking import default_uri
from tuners.tracking.projector import TrackerReport

ARTIFACTS = ["best_at_sparsity.json", "front.html", "front.json"]


def client_of(storage: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(default_uri(storage))


def tracked(
    storage: Path, folder: StudyFolder, experiment: Experiment | None = None
) -> TrackerReport:
    """Projects a study to its end, as the driver does."""
    tracker = mlflow_tracker(folder, experiment or make_experiment(), default_uri(storage))
    tracker.start()
    return tracker.finish(timeout_s=60)


def contents(storage: Path) -> dict[str, Any]:
    """All that MLflow holds, down to each metric's history."""
    client = client_of(storage)
    found = {}
    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id]):
            run_id = run.info.run_id
            history = {
                key: sorted(
                    (item.step, item.value, item.timestamp)
                    for item in client.get_metric_history(run_id, key)
                )
                for key in run.data.metrics
            }
            files = sorted(item.path for item in client.list_artifacts(run_id))
            found[run_id] = (run.info.status, run.data.params, run.data.tags, history, files)
    return found


def by_trial(storage: Path, report: TrackerReport) -> dict[str, Any]:
    client = client_of(storage)
    return {key: client.get_run(run_id) for key, run_id in report.where.runs.items()}


@dataclass(frozen=True)
class Finished:
    """A study that is over, and its runs."""

    storage: Path
    folder: StudyFolder
    report: TrackerReport
    runs: dict[str, Any]
    """MLflow's, by trial name."""

    def files(self, key: str) -> list[str]:
        found = client_of(self.storage).list_artifacts(self.report.where.runs[key])
        return [item.path for item in found]

    def history(self, key: str, metric: str) -> list[Any]:
        found: list[Any] = client_of(self.storage).get_metric_history(
            self.report.where.runs[key], metric
        )
        return found


def curve(finished: Finished, key: str) -> list[tuple[float, float]]:
    """A run's front as MLflow's chart draws it: pairs by step, which must tell all points apart."""
    found = [finished.history(key, f"front/{axis}") for axis in ("sparsity", "return")]
    across, up = ({item.step: item.value for item in history} for history in found)
    assert across.keys() == up.keys() and len(up) == len(found[1])
    return [(across[step], up[step]) for step in sorted(up)]


def short(value: float) -> float:
    return float(f"{value:.6g}")


def finished_points(finished: Finished) -> list[Point]:
    return [point for trial in finished.folder.trials() for point in trial.points]


def wait_for(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)
