"""MLflow's server as users start it: PostgreSQL, artifacts in an object store, passwords."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import boto3
import psycopg
import pytest

from prune_search.errors import UserError
from prune_search.records.models import Point
from tests.cluster.servers import TrackingServer
from tests.studies import (
    end_study,
    make_experiment,
    make_point,
    make_study,
    make_trial,
    mlflow_tracker,
)
from tuners.tracking.mlflow.client import check_user, tracked_experiment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

USER, PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"


@pytest.fixture
def admin(tracking: TrackingServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(USER, "admin")
    monkeypatch.setenv(PASSWORD, tracking.admin_password)
    yield


def status(tracking: TrackingServer, host: str = "") -> tuple[int, str]:
    request = Request(f"{tracking.uri}/api/2.0/mlflow/experiments/search?max_results=1")
    if host:
        request.add_header("Host", host)
    try:
        with urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def test_nobody_enters_without_a_password(tracking: TrackingServer) -> None:
    assert status(tracking)[0] == 401
    # Known by its name in Kubernetes, and by no other.
    assert status(tracking, "mlflow:5000")[0] == 401
    assert status(tracking, "elsewhere:5000")[0] == 403


def test_a_wrong_password_is_one_line_before_any_training(
    tracking: TrackingServer, tmp_path: Path
) -> None:
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "tuners.cli", "run", "cartpole"),
            *("--set", f"tracking.uri={tracking.uri}", "--storage", str(tmp_path)),
        ],
        env={**os.environ, USER: "admin", PASSWORD: "a guess that is wrong"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    (begun,) = ended.stdout.splitlines()
    assert begun.endswith("loading RLlib, checking the experiment")
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"prune-search: tracking.uri: MLflow at {tracking.uri}: it asks for")
    assert USER in line and PASSWORD in line and "guess" not in line
    assert not list(tmp_path.glob("*/experiment.yaml"))


def test_a_running_study_is_told_so_and_catches_up(
    tracking: TrackingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_study(tmp_path, trials=1, name="late")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv(USER, raising=False)
    monkeypatch.delenv(PASSWORD, raising=False)
    refused = mlflow_tracker(folder, make_experiment(experiment="late"), tracking.uri).catch_up()
    assert refused.pending == ["summary", "t00"]
    assert "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in refused.problem
    with pytest.raises(UserError, match="it asks for a user and password"):
        tracked_experiment(tracking.uri, "late")

    monkeypatch.setenv(USER, "admin")
    monkeypatch.setenv(PASSWORD, tracking.admin_password)
    check_user(tracking.uri)
    assert (
        mlflow_tracker(folder, make_experiment(experiment="late"), tracking.uri).catch_up().pending
        == []
    )


def test_runs_lie_in_postgresql_and_artifacts_in_the_store(
    tracking: TrackingServer, tmp_path: Path, admin: None
) -> None:
    from mlflow import MlflowClient

    folder = make_study(tmp_path, trials=2, name="shared")
    end_study(folder)
    tracker = mlflow_tracker(folder, make_experiment(experiment="shared"), tracking.uri)
    tracker.start()
    report = tracker.finish(timeout_s=60)
    assert report.pending == [], report.problem
    client = MlflowClient(tracking.uri)
    files = {item.path for item in client.list_artifacts(report.where.runs["t00"])}
    assert files == {"best_at_sparsity.json", "front.html", "front.json"}

    with psycopg.connect(connection(tracking)) as database:
        found = database.execute(
            "SELECT key FROM latest_metrics WHERE run_uuid = %s", [report.where.runs["t00"]]
        )
        assert ("hypervolume",) in found.fetchall()
        assert database.execute("SELECT username FROM users").fetchall()[0] == ("admin",)
    assert (
        f"artifacts/{report.where.experiment_id}/{report.where.runs['t00']}/artifacts/front.json"
        in keys(tracking)
    )


def test_others_write_into_an_experiment_and_only_its_owner_deletes_it(
    tracking: TrackingServer, tmp_path: Path, admin: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient, MlflowException
    from mlflow.server import get_app_client

    owned = MlflowClient(tracking.uri).create_experiment("ours")
    get_app_client("basic-auth", tracking.uri).create_user("ada", "a long password")
    monkeypatch.setenv(USER, "ada")
    monkeypatch.setenv(PASSWORD, "a long password")
    folder = make_study(tmp_path, trials=1, name="adas")
    tracked = mlflow_tracker(folder, make_experiment(experiment="ours"), tracking.uri).catch_up()
    assert tracked.pending == [], tracked.problem
    with pytest.raises(MlflowException, match="Permission denied"):
        MlflowClient(tracking.uri).delete_experiment(owned)


def test_a_run_is_replaced_by_those_who_may_not_delete_it(
    tracking: TrackingServer, tmp_path: Path, admin: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had drawn is no longer on the front: it leaves the study, although it stays."""
    from mlflow import MlflowClient
    from mlflow.server import get_app_client

    MlflowClient(tracking.uri).create_experiment("theirs")
    get_app_client("basic-auth", tracking.uri).create_user("grace", "a long password")
    monkeypatch.setenv(USER, "grace")
    monkeypatch.setenv(PASSWORD, "a long password")
    folder = make_study(tmp_path, trials=0, name="replaced")
    experiment, client = make_experiment(experiment="theirs"), MlflowClient(tracking.uri)
    reports = []
    for trial in (make_trial(1, rounds=3, state="running"), make_trial(1, points=[])):
        folder.write_trial(trial.model_copy(update={"points": trial.points or [best_of_all()]}))
        tracker = mlflow_tracker(folder, experiment, tracking.uri)
        tracker.start()
        reports.append(tracker.finish(timeout_s=60))
        assert reports[-1].pending == [], reports[-1].problem
    before, after = (report.where.runs for report in reports)
    assert before["t01"] != after["t01"] and before["summary"] != after["summary"]
    found = client.search_runs([reports[-1].where.experiment_id], "tags.study = 'replaced'")
    assert {run.info.run_id for run in found} == set(after.values())
    put_aside = client.get_run(before["t01"])
    assert put_aside.info.lifecycle_stage == "active"
    assert put_aside.data.tags["kind"] == "superseded"


def best_of_all() -> Point:
    return make_point(1, 1, 0.995, 500)


def connection(tracking: TrackingServer) -> str:
    names = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGPASSWORD": "password"}
    names |= {"PGDATABASE": "dbname"}
    return " ".join(f"{names[key]}={value}" for key, value in tracking.database.items())


def keys(tracking: TrackingServer) -> list[str]:
    """What lies in the server's bucket."""
    store: Any = boto3.client(
        "s3",
        endpoint_url=tracking.objects,
        aws_access_key_id="mlflow",
        aws_secret_access_key=tracking.objects_password,
        region_name="us-east-1",
    )
    return [item["Key"] for item in store.list_objects_v2(Bucket="mlflow").get("Contents", [])]
