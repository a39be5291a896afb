"""A study on a cluster that grows on demand: it waits for the node that isn't there yet, aloud."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from prune_search.experiment import file as experiment_file
from prune_search.records.folder import StudyFolder

pytestmark = pytest.mark.slow


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A cluster of one node without CPUs, which says as launchers' nodes do that it may grow."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_NODE_TYPE_NAME", "head")  # so does Ray's launcher, and KubeRay
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    yield cluster
    cluster.shutdown()


def test_it_waits_for_a_node_and_goes_on(tiny: Any, head: Any, tmp_path: Path) -> None:
    file, log = tmp_path / "growing.yaml", tmp_path / "log"
    changes = ["search.trials=1", "pruning.rounds=1", "pruning.env_steps=1000"]
    changes += [f"resources.address={head.address}", "baseline.env_steps=1000"]
    file.write_text(experiment_file.dump(tiny(*changes, storage=tmp_path / "studies")))
    with log.open("wb") as stream:
        driver = subprocess.Popen(
            [sys.executable, "-m", "tuners.cli", "run", str(file)],
            env={**os.environ, "COLUMNS": "200"},
            stdout=stream,
            stderr=stream,
        )
    waiting = "waiting for the cluster to grow: a trial needs 1 CPU, and it has no CPU"
    try:
        end = time.monotonic() + 90
        while waiting not in log.read_text() and time.monotonic() < end:
            assert driver.poll() is None, log.read_text()
            time.sleep(0.2)
        assert waiting in log.read_text()
        head.add_node(num_cpus=2)
        assert driver.wait(200) == 0, log.read_text()
    finally:
        driver.kill()
    (trial,) = StudyFolder(tmp_path / "studies", "growing").trials()
    assert trial.state == "complete" and trial.points
