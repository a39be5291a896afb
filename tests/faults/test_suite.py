"""One injected fault of each kind, into studies on a cluster of several nodes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_a_fault_of_each_kind(tmp_path: Path) -> None:
    # In a process of its own: the tests' own Ray is another cluster.
    ended = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--brief", "--out", str(tmp_path / "faults.md")],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-20_000:] + ended.stderr[-2_000:]
    assert (tmp_path / "faults.md").read_text().count("| 0 | 0 | yes |") >= 10
