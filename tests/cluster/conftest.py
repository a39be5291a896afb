"""The tracking server that the tests of clusters share."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.servers import TrackingServer, postgresql, tracking_server


@pytest.fixture(scope="session")
def objects() -> Iterator[str]:
    """An S3-compatible store, in this process and in memory: its address."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def tracking(objects: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingServer]:
    """MLflow behind passwords, on PostgreSQL and an S3-compatible store."""
    if not Path("/usr/lib/postgresql").is_dir():
        pytest.skip("needs Debian's package postgresql")
    folder = tmp_path_factory.mktemp("tracking")
    with postgresql() as database, tracking_server(folder, database, objects) as server:
        yield server
    shutil.rmtree(folder, ignore_errors=True)
