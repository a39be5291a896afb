"""A cluster of the faults' own, a small disk, a tracking server, and the processes to harm."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil

_LIGHT = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
DISK_MB = 200
FAILS_EACH = 300
"""More than one checkpoint needs writes, so that trying again can succeed."""


def wait_for(condition: Callable[[], Any], seconds: float) -> Any:
    """What the condition gives, once it gives something; None when the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    return None


class World:
    """What studies run on.

    Args:
        folder: empty; a disk of its own is mounted in it where that is allowed.
        tracked: whether there is an MLflow server.
    """

    def __init__(self, folder: Path, tracked: bool) -> None:
        from ray.cluster_utils import Cluster

        self.folder = folder
        self.storage, self.mark = folder / "disk", folder / "mark"
        self.storage.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(self.storage)]
        self.mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
        self.failing = folder / "writes-fail"
        """While this file exists, every so many writes to the disk fail, in each process."""
        self.can_fail_writes = self._make_writes_fail()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self._port}" if tracked else ""
        self._server: subprocess.Popen[bytes] | None = None
        # The driver's node has no room for trials: they are elsewhere, and can be lost.
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        self._node = self.cluster.add_node(num_cpus=2)
        if tracked:
            self.start_server()

    def _make_writes_fail(self) -> bool:
        """Has processes that are started from now on load what makes their writes fail."""
        library = self.folder / "failing_writes.so"
        source = Path(__file__).with_name("failing_writes.c")
        command = ["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"]
        if shutil.which("cc") is None or subprocess.run(command, check=False).returncode:
            return False
        os.environ |= {
            "LD_PRELOAD": str(library),
            "FAILING_WRITES_MARK": str(self.failing),
            "FAILING_WRITES_UNDER": str(self.storage),
            "FAILING_WRITES_EACH": str(FAILS_EACH),
        }
        return True

    def close(self) -> None:
        os.environ.pop("LD_PRELOAD", None)
        self.kill_server()
        self.cluster.shutdown()
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.storage)], check=False)

    # Processes

    def workers(self, title: str) -> list[psutil.Process]:
        """Processes of the cluster's whose title, as Ray gives it, holds a word."""
        found = []
        for node in [self.cluster.head_node, *self.cluster.worker_nodes]:
            for info in node.all_processes.get("raylet", []):
                with suppress(psutil.NoSuchProcess):
                    for process in psutil.Process(info.process.pid).children(recursive=True):
                        with suppress(psutil.NoSuchProcess):
                            if title in " ".join(process.cmdline()):
                                found.append(process)
        return found

    def kill(self, title: str) -> None:
        """kill -9 of one such process, once there is one."""
        found = wait_for(lambda: self.workers(title), 120)
        assert found, f"no process {title}"
        found[0].send_signal(signal.SIGKILL)

    def pause(self, title: str, seconds: float) -> None:
        """Stops one such process for a while, as a machine that swaps or sleeps does."""
        found = wait_for(lambda: self.workers(title), 120)
        assert found, f"no process {title}"
        found[0].send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        found[0].send_signal(signal.SIGCONT)

    # Nodes

    def lose_node(self, first: str) -> None:
        """The node on which trials run goes without warning, and another comes.

        Args:
            first: `add` or `remove`.
        """
        lost = self._node
        if first == "add":
            self._node = self.cluster.add_node(num_cpus=2)
        self.cluster.remove_node(lost, allow_graceful=False)
        if first == "remove":
            self._node = self.cluster.add_node(num_cpus=2)

    # Disk

    def fill(self) -> Path:
        """Fills the disk to its last byte, by one file."""
        path = self.storage / "filler"
        block = bytes(1 << 16)
        with path.open("wb", buffering=0) as stream, suppress(OSError):
            while stream.write(block):
                pass
        return path

    # Tracking server

    def start_server(self) -> None:
        place = self.folder / "mlflow"
        place.mkdir(exist_ok=True)
        self._server = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
                *("--backend-store-uri", f"sqlite:///{place / 'mlflow.db'}"),
                *("--artifacts-destination", str(place), "--host", "127.0.0.1"),
                *("--port", str(self._port)),
            ],
            env={**os.environ, **_LIGHT},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert wait_for(self._answers, 300), "the tracking server does not start"

    def _answers(self) -> bool:
        with suppress(OSError):
            return bool(urlopen(f"{self.uri}/health", timeout=5).status == 200)
        return False

    def signal_server(self, number: int) -> None:
        if self._server is not None:
            for process in [
                psutil.Process(self._server.pid),
                *psutil.Process(self._server.pid).children(recursive=True),
            ]:
                process.send_signal(number)

    def kill_server(self) -> None:
        if self._server is not None and self._server.poll() is None:
            self.signal_server(signal.SIGKILL)
            self._server.wait()


def lock(database: Path) -> sqlite3.Connection:
    """Holds an SQLite database against everyone, until it is closed."""
    held = sqlite3.connect(database, timeout=60, isolation_level=None, check_same_thread=False)
    held.execute("BEGIN EXCLUSIVE")
    return held
