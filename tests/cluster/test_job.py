"""A search submitted as a job to two nodes that ask for a token, tracked by a server for many.

The nodes share no folder: they exchange what they finish through a bucket.
"""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from prune_search.experiment import file as experiment_file
from prune_search.records.folder import StudyFolder
from prune_search.records.fronts import front
from tests.cluster.servers import PATH, ROOT, TrackingServer, free_port, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

MIRROR = "mirror=s3://studies/here"
USER, PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"


@dataclass(frozen=True)
class Nodes:
    """A Ray cluster of two nodes."""

    dashboard: str
    token: str
    environment: dict[str, str]
    """Of whoever may use it."""
    apart: bool
    """Whether each has a storage folder of its own; that takes the right to mount one."""


# In a mount namespace of its own, where the storage folder is another one.
APART = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs "$0" && exec "$@"']


@pytest.fixture
def nodes(
    tracking: TrackingServer, shared_storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Nodes]:
    """Two nodes by `ray start`, each at a loopback address of its own: one drives, one trains.

    The second has a storage folder of its own at the same path.
    """
    for name, value in tracking.keys.items():
        monkeypatch.setenv(name, value)
    token = tmp_path / "token"
    token.write_text(secrets.token_hex(32))
    environment = {
        "PATH": PATH,
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        **tracking.keys,
    }
    port, dashboard_port = free_port(), free_port()
    apart = not subprocess.run(
        [*APART, str(shared_storage), "true"], capture_output=True, check=False
    ).returncode
    address = f"http://127.0.0.1:{dashboard_port}"
    found = Nodes(address, token.read_text(), environment, apart)
    # A node's own files, as on two machines; Ray's sockets are there, whose paths must be short.
    folders = [tempfile.mkdtemp(prefix="ray-", dir="/tmp") for _ in range(2)]
    start = ["ray", "start", "--block", "--object-store-memory=100000000"]
    head = [
        *(*start, "--head", "--num-cpus=0", "--node-ip-address=127.0.0.2", f"--port={port}"),
        *("--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard_port}"),
        *(f"--ray-client-server-port={free_port()}", f"--temp-dir={folders[0]}"),
        f"--dashboard-agent-listen-port={free_port()}",
    ]
    worker = [
        *([*APART, str(shared_storage)] if apart else []),
        *(*start, "--num-cpus=2", "--node-ip-address=127.0.0.3", f"--address=127.0.0.2:{port}"),
        f"--temp-dir={folders[1]}",
        f"--dashboard-agent-listen-port={free_port()}",
    ]
    # The tracking server's password is the head's, where jobs begin; it is no part of a job.
    drives = {**environment, USER: "admin", PASSWORD: tracking.admin_password}
    try:
        with ExitStack() as stack:
            for number, (command, variables) in enumerate(((head, drives), (worker, environment))):
                log = tmp_path / f"node-{number}.log"
                enough = lambda: alive(found) > number  # noqa: B023, E731 - used within the loop
                stack.enter_context(running(command, log, variables, enough))
            yield found
    finally:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


def ask(nodes: Nodes, path: str, token: str) -> tuple[int, str]:
    request = Request(nodes.dashboard + path, headers={"Authorization": f"Bearer {token}"})
    try:
        with urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def alive(nodes: Nodes) -> int:
    status, text = ask(nodes, "/api/v0/nodes", nodes.token)
    if status != 200:
        return 0
    listed: list[dict[str, Any]] = json.loads(text)["data"]["result"]["result"]
    return sum(node["state"] == "ALIVE" for node in listed)


def test_the_search_of_a_job_is_complete_in_mlflow(
    tiny: Any,
    baseline: Any,
    shared_storage: Path,
    nodes: Nodes,
    tracking: TrackingServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import boto3
    from mlflow import MlflowClient

    boto3.client("s3").create_bucket(Bucket="studies")
    assert ask(nodes, "/api/jobs/", "a guess")[0] == 403

    (tmp_path / "job").mkdir()
    settings = ("resources.concurrent_trials=0", f"tracking.uri={tracking.uri}", MIRROR)
    experiment = tiny(*settings, storage=shared_storage)
    (tmp_path / "job" / "mine.yaml").write_text(experiment_file.dump(experiment))
    submit = ["ray", "job", "submit", "--address", nodes.dashboard, "--submission-id", "search"]
    ended = subprocess.run(
        [
            *(*submit, "--working-dir", str(tmp_path / "job"), "--"),
            *("prune-search", "run", "mine.yaml", "--name", "job", "--address", "auto"),
        ],
        env=nodes.environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "failed and goes on" not in ended.stdout, ended.stdout
    folder = StudyFolder(shared_storage, "job")
    trials, record = folder.trials(), folder.study()
    assert [trial.state for trial in trials] == ["complete"] * 2
    assert folder.final() is not None
    assert record is not None and record.ended and record.concurrent_trials == 2

    # The checkpoints stayed where they were made: the driver has the records alone.
    points = [point for trial in trials for point in trial.points]
    assert len(points) == 4
    here = [point for point in points if (folder.path / point.checkpoint).exists()]
    assert not (nodes.apart and here)

    monkeypatch.setenv(USER, "admin")
    monkeypatch.setenv(PASSWORD, tracking.admin_password)
    client = MlflowClient(tracking.uri)
    (kept,) = client.search_experiments(filter_string="name = 'prune-search'")
    runs = client.search_runs([kept.experiment_id], "tags.study = 'job'")
    assert {run.info.status for run in runs} == {"FINISHED"}
    by_key = {run.data.tags.get("trial", "summary"): run for run in runs}
    assert sorted(by_key) == ["summary", "t00", "t01"] and len(runs) == 3
    fronts = {trial.name: trial.points for trial in trials}
    fronts["summary"] = points
    for key, measured in fronts.items():
        table = client.download_artifacts(by_key[key].info.run_id, "front.json", str(tmp_path))
        rows = json.loads(Path(table).read_text())
        names = [row[rows["columns"].index("point")] for row in rows["data"]]
        assert names == [point.name for point in front(measured)], key

    # Neither password nor token is anywhere that others read.
    job = ask(nodes, "/api/jobs/search", nodes.token)[1]
    told = [job, ended.stdout, ended.stderr, folder.experiment_file.read_text()]
    told += [str(run.to_dictionary()) for run in runs]
    assert '"status": "SUCCEEDED"' in job
    for secret in (tracking.admin_password, nodes.token):
        assert not any(secret in text for text in told)
