"""Injected faults of several kinds, into studies on a cluster of several nodes.

The rest of them, which take longer: `python -m tests.faults`. Services that are away or locked are
met by tests of the tracker and of the searcher, too.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_faults_of_processes(tmp_path: Path) -> None:
    command = ["-m", "tests.faults", "--brief", "--study", "processes"]
    # In a process of its own: the tests' own Ray is another cluster.
    ended = subprocess.run(
        [sys.executable, *command, "--out", str(tmp_path / "faults.md")],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-20_000:] + ended.stderr[-2_000:]
    assert (tmp_path / "faults.md").read_text().count("| 0 | 0 | yes |") >= 3
