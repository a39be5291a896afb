"""Passwords and keys: where they are refused, and that they are written nowhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from prune_search.credentials import holds_credentials, redacted
from prune_search.experiment import file as experiment_file
from tests.cluster.servers import free_port
from tests.commands import Refusal
from tests.conftest import TINY
from tests.studies import make_experiment, make_study, mlflow_tracker
from tests.tracking.stores import wait_for

SECRETS = [
    "http://ada:hunter2@host:5000",
    "https://hunter2@host",
    "postgresql://ada:hunter2@host/mlflow",
    "postgresql://ada:hunt/hunter2@host/mlflow",
    "postgresql://host/mlflow?user=ada&password=hunter2",
    "https://host/mlflow?access_token=hunter2",
]


@pytest.mark.parametrize("uri", SECRETS)
def test_addresses_with_secrets_are_refused(refusal: Refusal, tmp_path: Path, uri: str) -> None:
    for arguments in (
        ("run", "cartpole", "--set", f"tracking.uri='{uri}'"),
        ("run", "cartpole", "--set", f"environment.config={{url: '{uri}'}}"),
        ("run", "cartpole", "--set", f"tracking.ury='{uri}'"),
        ("run", "cartpole", "--set", f"tracking.uri=[{uri}"),
        ("run", "cartpole", "--set", f"tracking.uri=['{uri}']"),
        ("run", "cartpole", "--set", f"algorithm.name='{uri}'"),
        ("run", "cartpole", "--set", uri),
        ("run", uri),
        ("ui", "--uri", uri),
    ):
        assert "hunter2" not in refusal(*arguments)
    said = refusal("run", "cartpole", "--set", f"tracking.uri='{uri}'")
    assert "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in said
    assert list(tmp_path.iterdir()) == []


def test_addresses_of_clusters_with_secrets_are_refused(refusal: Refusal, tmp_path: Path) -> None:
    for address in ("ray://ada:hunter2@host:10001", "ada:hunter2@host:6379"):
        said = refusal("run", "cartpole", "--address", address)
        assert "resources.address: must be an address without" in said and "hunter2" not in said
        make_study(tmp_path / "s", trials=0)
        said = refusal("resume", "cartpole", "--storage", "s", "--address", address)
        assert "hunter2" not in said


def test_addresses_without_secrets() -> None:
    for uri in (
        *("http://host:5000", "sqlite:////a@b/mlflow.db", "postgresql://ada@host/mlflow"),
        *("auto", "10.0.0.5:6379", "ray://host:10001", "s3://bucket/a@b", "databricks"),
    ):
        assert not holds_credentials(uri)
        assert experiment_file.parse(TINY, [f"tracking.uri='{uri}'"]).tracking.uri == uri
    assert redacted("at http://ada:hunter2@host: no") == "at http://***@host: no"


def written(*folders: Path) -> bytes:
    """Everything in all files of some folders, databases and logs included."""
    files = (path for folder in folders for path in folder.rglob("*"))
    return b"\n".join(path.read_bytes() for path in files if path.is_file())


def test_a_tracker_does_not_tell_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also when the server is away, which is the usual reason to print an address."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada-lovelace")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
    folder = make_study(tmp_path, trials=1)
    tracker = mlflow_tracker(folder, make_experiment(), f"http://127.0.0.1:{free_port()}")
    report = tracker.catch_up()
    assert report.problem and report.pending
    told = report.problem + repr(report) + "".join(capfd.readouterr())
    assert "hunter2" not in told and "ada-lovelace" not in told
    assert b"hunter2" not in written(tmp_path)


@pytest.mark.slow
def test_a_password_is_nowhere_in_what_a_study_writes(
    tiny: Any, shared_storage: Path, baseline: Any, tmp_path: Path
) -> None:
    """A small study with a tracking server, whose password is in the environment."""
    uri = f"http://127.0.0.1:{free_port()}"
    temporary = Path(tempfile.mkdtemp(prefix="ps", dir="/tmp"))  # Ray's sockets need short paths
    secrets = {"MLFLOW_TRACKING_USERNAME": "ada-lovelace", "MLFLOW_TRACKING_PASSWORD": "hunter2"}
    shutil.copytree(shared_storage / "baselines", tmp_path / "s" / "baselines")
    experiment = tiny(f"tracking.uri={uri}", "search.trials=1", storage=tmp_path / "s")
    (tmp_path / "mine.yaml").write_text(experiment_file.dump(experiment))
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "server", "--port", uri.rsplit(":", 1)[1]),
            *("--host", "127.0.0.1", "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}"),
            *("--artifacts-destination", str(tmp_path / "artifacts")),
        ],
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        from urllib.error import URLError
        from urllib.request import urlopen

        def answers() -> bool:
            try:
                with urlopen(f"{uri}/health", timeout=5):
                    return True
            except (URLError, OSError):
                time.sleep(0.2)
                return False

        wait_for(answers, 120)
        done = subprocess.run(
            [sys.executable, "-m", "tuners.cli", "run", "mine.yaml", "--name", "mine"],
            cwd=tmp_path,
            env={**os.environ, **secrets, "RAY_TMPDIR": str(temporary)},
            capture_output=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        told = done.stdout + done.stderr
        assert uri.encode() in told and b"MLflow does not have" not in told
        logs, study = written(temporary), written(tmp_path)
        assert b"raylet" in logs and b"compression" in study  # both are what they should be
        for secret in ("ada-lovelace", "hunter2"):
            assert secret.encode() not in told + logs + study
    finally:
        server.terminate()
        server.wait(20)
        shutil.rmtree(temporary, ignore_errors=True)
