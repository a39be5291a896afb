"""Writes runs to MLflow: found again before any is made, and written only where changed."""

from __future__ import annotations

import getpass
import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

from prune_search.experiment.schema import Experiment
from prune_search.plan.plan import Plan
from prune_search.records.folder import StudyFolder
from prune_search.records.models import StudyRecord
from prune_search.records.record import Record
from tuners.tracking.mlflow.client import client_of, experiment_named
from tuners.tracking.mlflow.runs import FRONT_RETURN, ROUNDS_RETURN, Metric, Run, study_id
from tuners.tracking.mlflow.views import view_tags

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UI = "http://127.0.0.1:5000"
"""Where `prune-search ui` shows a store that is not a server itself."""

LEVELS, TABLE, IMPORTANCES = "best_at_sparsity.json", "front.json", "importances.json"
_CURVES = (FRONT_RETURN, ROUNDS_RETURN)
"""By these a run is found to draw points that are none any more."""
_BATCH = 500  # metrics a request; MLflow takes up to 1,000

Artifacts: TypeAlias = "dict[str, str | Figure]"
"""By file name: a text, or a picture."""


class Tracked(Record):
    """What the study's folder keeps about MLflow, in mlflow.json; it may be deleted."""

    uri: str
    experiment_id: str
    runs: dict[str, str]
    """Run ids by trial name; the study's own under `summary`."""
    artifacts: dict[str, str]
    """What each run's artifacts were drawn from, as a hash."""


class Store:
    """The runs of one study in MLflow. Not safe for several threads."""

    def __init__(self, folder: StudyFolder, experiment: Experiment, uri: str) -> None:
        self.uri = uri
        self.experiment_id: str | None = None
        self.runs: dict[str, str] = {}
        self._folder, self._name = folder, experiment.tracking.experiment
        self._client: Any = None
        self._cache = folder.tracker_file("mlflow")
        self._remembered: Tracked | None = None
        self._shown: dict[str, str] = {}  # the experiment's tags
        self._digests: dict[str, str] = {}
        self._status: dict[str, str] = {}
        self._tags: dict[str, dict[str, str]] = {}
        self._logged: dict[str, set[Metric]] = {}
        self._drawn: dict[str, list[str]] = {}  # of the runs that were there: which curves they had

    @property
    def ui(self) -> str:
        """Where the store is to be looked at."""
        return self.uri if self.uri.startswith("http") else UI

    def disconnect(self) -> None:
        """Forgets what was known of the store, which may have been emptied or replaced."""
        self._client = None

    def connect(self) -> None:
        """Finds or makes the experiment, and finds the study's runs in it, by their tags."""
        if self._client is not None:
            return
        study = self._folder.study()
        if study is None:
            raise ValueError("the study has no record yet")
        client = client_of(self.uri)
        self.experiment_id = self._experiment(client, study)
        self.runs, self._status, self._tags, self._logged, self._drawn = {}, {}, {}, {}, {}
        page = None
        while True:
            found = client.search_runs(
                [self.experiment_id],
                f"tags.study_id = '{study_id(study)}'",
                order_by=["attributes.start_time ASC"],
                page_token=page,
            )
            for run in found:
                key = run.data.tags.get("trial", run.data.tags["kind"])
                # The first is kept, should two processes ever have made one each.
                if self.runs.setdefault(key, run.info.run_id) == run.info.run_id:
                    self._status[key] = run.info.status
                    self._tags[key] = dict(run.data.tags)
                    self._drawn[key] = [name for name in _CURVES if name in run.data.metrics]
            page = found.token
            if not page:
                break
        cached = Tracked.read(self._cache)
        if cached is None or cached.uri != self.uri:
            cached = Tracked(uri=self.uri, experiment_id=self.experiment_id, runs={}, artifacts={})
        self._digests = {
            key: digest
            for key, digest in cached.artifacts.items()
            if cached.runs.get(key) == self.runs.get(key)
        }
        self._client = client

    def show(self, plans: Sequence[Plan]) -> None:
        """Brings the views of the experiment's page in line with what tells these trials apart."""
        study = self._folder.study()
        assert study is not None  # else nothing is connected
        for key, value in view_tags(study, plans).items():
            if self._shown.get(key) != value:
                self._client.set_experiment_tag(self.experiment_id, key, value)
                self._shown[key] = value

    def write(self, run: Run, artifacts: Callable[[], Artifacts]) -> None:
        """Brings one run in line with what it should be.

        Its artifacts follow once it has ended, where they would be others than those it has.
        """
        if self._superseded(run):
            self._put_aside(run.key)
        run_id = self._run_id(run)
        tags, logged = self._tags[run.key], self._logged.setdefault(run.key, set())
        new = [metric for metric in run.metrics if metric not in logged]
        changed = {key: value for key, value in run.tags.items() if tags.get(key) != value}
        self._log(run_id, {} if logged else run.params, new, changed)
        logged.update(new)
        tags.update(changed)
        if "reason" in tags and "reason" not in run.tags:
            self._client.delete_tag(run_id, "reason")
            del tags["reason"]
        if run.status != "RUNNING":
            self._draw(run, run_id, artifacts)
        if self._status[run.key] != run.status:
            if run.status == "RUNNING":
                self._client.update_run(run_id, status=run.status)
            else:
                self._client.set_terminated(run_id, run.status, run.ended_ms)
            self._status[run.key] = run.status

    def remember(self) -> None:
        """Keeps what is known of the runs, so that what they have is not drawn again."""
        if self.experiment_id is None:
            return
        known = Tracked(
            uri=self.uri,
            experiment_id=self.experiment_id,
            runs=dict(self.runs),
            artifacts=dict(self._digests),
        )
        if known != self._remembered:
            known.write(self._cache)
            self._remembered = known

    def _superseded(self, run: Run) -> bool:
        """Whether the run that is there draws points that are none any more.

        MLflow forgets no metric. So a study that was interrupted has a front that later points
        dominate, and a round that was lost with its node is drawn twice.
        """
        ended = run.status != "RUNNING"  # its front is drawn then, and not asked about before
        curves = [name for name in self._drawn.get(run.key, []) if ended or name != FRONT_RETURN]
        if not curves or (ended and self._digests.get(run.key) == self._digest(run)):
            return False
        # Asked once: what is logged from now on is not taken back.
        self._drawn[run.key] = [name for name in self._drawn[run.key] if name not in curves]
        given = {(metric.key, metric.step, metric.value) for metric in run.metrics}
        return any(
            (name, drawn.step, drawn.value) not in given
            for name in curves
            for drawn in self._client.get_metric_history(self.runs[run.key], name)
        )

    def _put_aside(self, key: str) -> None:
        """Has another run be made in place of one.

        It leaves the study's views before it is deleted, which takes the rights of its owner.
        """
        from mlflow.exceptions import MlflowException

        run_id, tags = self.runs[key], self._tags[key]
        self._client.set_tag(run_id, "kind", "superseded")
        for tag in ("study", "study_id"):  # the last is what it is found by
            if tag in tags:
                self._client.delete_tag(run_id, tag)
        with suppress(MlflowException):
            self._client.delete_run(run_id)
        del self.runs[key]
        for known in (self._status, self._tags, self._logged, self._drawn, self._digests):
            known.pop(key, None)

    def _run_id(self, run: Run) -> str:
        if run.key not in self.runs:
            made = self._client.create_run(
                self.experiment_id, run.started_ms, {**run.tags, "mlflow.user": _user()}, run.name
            )
            self.runs[run.key] = made.info.run_id
            self._status[run.key] = made.info.status
            self._tags[run.key] = dict(run.tags)
        return self.runs[run.key]

    def _log(
        self, run_id: str, params: dict[str, str], metrics: list[Metric], tags: dict[str, str]
    ) -> None:
        from mlflow import entities

        head, rest = metrics[:_BATCH], metrics[_BATCH:]
        if head or params or tags:
            self._client.log_batch(
                run_id,
                [entities.Metric(item.key, item.value, item.time_ms, item.step) for item in head],
                [entities.Param(key, value) for key, value in params.items()],
                [entities.RunTag(key, value) for key, value in tags.items()],
            )
        if rest:
            self._log(run_id, {}, rest, {})

    def _draw(self, run: Run, run_id: str, artifacts: Callable[[], Artifacts]) -> None:
        digest = self._digest(run)
        if self._digests.get(run.key) == digest:
            return
        files = artifacts()
        for name, content in files.items():
            if isinstance(content, str):
                self._client.log_text(run_id, content, name)
            else:
                self._client.log_figure(run_id, content, name, save_kwargs={"dpi": 130})
        # The first is what the Table tab opens with.
        tables = [name for name in (LEVELS, TABLE, IMPORTANCES) if name in files]
        if tables:
            # What log_table would have done; but log_table appends to a table that is there.
            logged = json.dumps([{"path": name, "type": "table"} for name in tables])
            self._client.set_tag(run_id, "mlflow.loggedArtifacts", logged)
        self._digests[run.key] = digest

    def _digest(self, run: Run) -> str:
        source = repr((run.params, run.metrics, run.tags, str(self._folder.path)))
        return hashlib.sha256(source.encode()).hexdigest()[:16]

    def _experiment(self, client: Any, study: StudyRecord) -> str:
        found = experiment_named(client, self.uri, self._name, view_tags(study, []))
        self._shown = dict(found.tags)
        return str(found.experiment_id)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "unknown"
