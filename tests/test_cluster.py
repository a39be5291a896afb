"""A search on a running cluster of two nodes, by its address."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from prune_search import experiment_file
from prune_search.record import StudyFolder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

# In a process of its own: the tests' own Ray is another cluster.
CLUSTER = """
import subprocess, sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
cluster.add_node(num_cpus=1)
command = [sys.executable, "-m", "prune_search.cli", *sys.argv[1:], "--address", cluster.address]
ended = subprocess.run(command)
cluster.shutdown()
sys.exit(ended.returncode)
"""


def test_a_search_on_a_running_cluster(tiny: Any, baseline: Any, shared_storage: Path) -> None:
    experiment = tiny("resources.concurrent_trials=0", "search.trials=2", storage=shared_storage)
    (shared_storage / "cluster.yaml").write_text(experiment_file.dump(experiment))
    command = ["run", "cluster.yaml", "--name", "cluster", "--storage", str(shared_storage)]
    ended = subprocess.run(
        [sys.executable, "-c", CLUSTER, *command],
        cwd=shared_storage,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    folder = StudyFolder(shared_storage, "cluster")
    assert [trial.state for trial in folder.trials()] == ["complete"] * 2
    record = folder.study()
    assert record is not None and record.concurrent_trials == 2
    assert folder.final() is not None
