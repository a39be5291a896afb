"""Servers of the tests' own, on loopback: PostgreSQL, an S3-compatible store, MLflow."""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import yaml

ROOT = Path(__file__).parents[2]
TRACKING = ROOT / "cluster" / "tracking"
# The commands of the environment that the tests run in come first.
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(ready: Callable[[], bool], what: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, f"{what} is not there after {seconds} s"
        time.sleep(0.2)


@contextmanager
def running(
    command: list[str],
    log: Path,
    environment: dict[str, str],
    ready: Callable[[], bool],
    sign: signal.Signals = signal.SIGTERM,
    user: str | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A process and all that it starts, from when it is ready until the context's end."""
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=user,
        )
    try:

        def up() -> bool:
            assert process.poll() is None, log.read_text(errors="replace")[-3000:]
            return ready()

        wait_for(up, command[0], seconds=90)
        yield process
    finally:
        process.send_signal(sign)
        try:
            process.wait(20)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def postgresql() -> Iterator[dict[str, str]]:
    """Debian's PostgreSQL with an empty database `mlflow`; what libpq needs to know of it."""
    (tools,) = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1:]
    # The server refuses to run as root; as anyone else it runs as who is here.
    user = "postgres" if os.geteuid() == 0 else None
    password, port = secrets.token_hex(16), free_port()
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    try:
        (folder / "password").write_text(password)
        if user:
            account = pwd.getpwnam(user)
            for path in (folder, folder / "password"):
                os.chown(path, account.pw_uid, account.pw_gid)
        data = folder / "data"
        subprocess.run(
            [
                *(str(tools / "initdb"), "--pgdata", str(data), "--username", "mlflow"),
                *("--auth", "scram-sha-256", "--pwfile", str(folder / "password"), "--no-sync"),
            ],
            check=True,
            capture_output=True,
            user=user,
            cwd=folder,
        )
        known = {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": "mlflow"}
        known |= {"PGPASSWORD": password, "PGDATABASE": "mlflow"}
        settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": ""}
        settings |= {"fsync": "off", "max_connections": 50}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

        def made() -> bool:
            return not subprocess.run(
                [str(tools / "createdb"), "--maintenance-db=postgres", "mlflow"],
                env={**os.environ, **known},
                capture_output=True,
                check=False,
            ).returncode

        with running(
            [str(tools / "postgres"), "-D", str(data), *options],
            Path(tempfile.gettempdir()) / f"{folder.name}.log",
            dict(os.environ),
            made,
            sign=signal.SIGINT,  # ends its connections
            user=user,
        ):
            yield known
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        (Path(tempfile.gettempdir()) / f"{folder.name}.log").unlink(missing_ok=True)


@dataclass(frozen=True)
class TrackingServer:
    """MLflow's server, as the composition starts it."""

    uri: str
    admin_password: str
    database: dict[str, str]
    objects: str
    """Address of the S3-compatible store."""
    objects_password: str

    @property
    def keys(self) -> dict[str, str]:
        """What a client of the S3-compatible store has in its environment."""
        return {
            "AWS_ENDPOINT_URL": self.objects,
            "AWS_ACCESS_KEY_ID": "mlflow",
            "AWS_SECRET_ACCESS_KEY": self.objects_password,
            "AWS_DEFAULT_REGION": "us-east-1",
        }


@contextmanager
def tracking_server(
    folder: Path, database: dict[str, str], objects: str
) -> Iterator[TrackingServer]:
    """The composition's own command and variables, on this machine's addresses."""
    service = yaml.safe_load((TRACKING / "compose.yaml").read_text())["services"]["mlflow"]
    made: dict[str, str] = {}  # the file .env

    def secret(asked: re.Match[str]) -> str:
        return made.setdefault(asked[1], secrets.token_hex(16))

    given = {
        name: re.sub(r"\$\{([A-Z_]+):\?[^}]*\}", secret, str(value))
        for name, value in service["environment"].items()
    }
    port = free_port()
    # The pages' name in Kubernetes, which the tests ask for too.
    here = {"MLFLOW_S3_ENDPOINT_URL": objects, "MLFLOW_HOST": "127.0.0.1"}
    here |= {"MLFLOW_PORT": str(port), "MLFLOW_WORKERS": "1"}
    here |= {"MLFLOW_SERVER_ALLOWED_HOSTS": f"mlflow:5000,127.0.0.1:{port}"}
    (command,) = service["command"]
    uri = f"http://127.0.0.1:{port}"
    with running(
        [str(TRACKING / Path(command).name)],
        folder / "mlflow.log",
        {"PATH": PATH, "HOME": str(folder), **given, **database, **here},
        lambda: answers(f"{uri}/health"),
    ):
        yield TrackingServer(
            uri, made["MLFLOW_ADMIN_PASSWORD"], database, objects, made["OBJECTS_PASSWORD"]
        )


def answers(address: str) -> bool:
    try:
        with urlopen(address, timeout=5):
            return True
    except OSError:
        return False
