"""MLflow's UI on a study's store, as light as it goes, opened where the runs are."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO
from urllib.error import URLError
from urllib.request import urlopen

from prune_search.errors import UserError
from tuners.signals import sigterm_interrupts
from tuners.tracking.mlflow.client import artifact_location, tracked_experiment
from tuners.tracking.mlflow.views import ALL, BEGINNING, beginning, newest, runs_url

_START_S = 120  # an idle machine needs 8 s
_STOP_S = 10
_LIGHT = {
    # Without it ten processes and 2.3 GB, for features of language models.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def ui(
    uri: str,
    experiment_name: str,
    host: str = "127.0.0.1",
    port: int = 5000,
    show: Callable[[str], None] = print,
) -> None:
    """Serves MLflow's UI until Ctrl-C or SIGTERM; for a store that is a server, only says where.

    Args:
        uri: the store's tracking URI.
        experiment_name: MLflow's experiment whose runs page is shown.
        host: the interface to listen on.
        port: the port to listen on.
        show: gets the lines meant for the user.

    Raises:
        UserError: no such store or experiment, a port that is taken, or a server that fails.
    """
    if uri.startswith("http"):
        show(_pages(uri, *tracked_experiment(uri, experiment_name)))
        return
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
        raise UserError(f"tracking: no MLflow store at {uri}; it is made by the first study")
    found, tags = tracked_experiment(uri, experiment_name)
    _free(host, port)
    # A file and not a pipe, which would fill up and stop the server.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri),
                *("--host", host, "--port", str(port), "--workers", "1"),
                *("--app-name", "prune-search"),
                *_artifacts(uri),
            ],
            env={**os.environ, **_LIGHT, BEGINNING: beginning(found)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches us alone, and we end all of its processes
        )
        with sigterm_interrupts():
            try:
                address = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"
                _await(server, address, log)
                show(f"{_pages(address, found, tags)}\nCtrl-C ends it.")
                server.wait()
                raise UserError(f"MLflow's server stopped unexpectedly: {_last_line(log)}")
            except KeyboardInterrupt:
                pass
            finally:
                _end(server)


def _pages(address: str, experiment_id: str, tags: Mapping[str, str]) -> str:
    """Addresses of the newest study's page, and of all studies'."""
    latest = newest(tags)
    if latest == ALL:
        return runs_url(address, experiment_id)
    return (
        f"{runs_url(address, experiment_id, latest)}\n"
        f"all studies: {runs_url(address, experiment_id)}"
    )


def _artifacts(uri: str) -> list[str]:
    location = artifact_location(uri)
    return ["--artifacts-destination", location] if location else []


def _free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError, ValueError) as error:
            raise UserError(
                f"--port: can't listen on {host}:{port} ({error}); name another one"
            ) from None


def _await(server: subprocess.Popen[bytes], address: str, log: IO[str]) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise UserError(f"MLflow's server did not start: {_last_line(log)}")
        try:
            with urlopen(f"{address}/health", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise UserError(f"MLflow's server did not answer within {_START_S} s: {_last_line(log)}")


def _end(server: subprocess.Popen[bytes]) -> None:
    """Ends the server and the processes it started: its session is a process group of its own."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, sign)
        except ProcessLookupError:
            break
        try:
            server.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            continue


def _last_line(log: IO[str]) -> str:
    log.seek(0)
    lines = [line.strip() for line in log if line.strip()]
    return lines[-1] if lines else "it said nothing"
