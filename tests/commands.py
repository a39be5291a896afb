"""The command line, run in this process as its entry point does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tuners.cli import main


class Result(NamedTuple):
    """How a command ended, and what it printed."""

    status: int
    out: str
    error: str


Command = Callable[..., Result]


def runner(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """What runs the command in a folder: `run("show", "cartpole", cwd=folder)`."""

    def run(*arguments: str, cwd: Path) -> Result:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["prune-search", *arguments])
        monkeypatch.setattr(sys, "path", list(sys.path))
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Result(int(ended.value.code or 0), printed.out, printed.err)

    return run


def python(*arguments: str) -> subprocess.Popen[str]:
    """A process of Python's that knows the tests; what it prints, errors too, is its `stdout`."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


Refusal = Callable[..., str]
"""A command that is refused, in a folder: the one line it says."""


def refused(result: Result) -> str:
    """The one line of a refusal."""
    lines = result.error.strip().splitlines()
    assert result.status == 2, result
    assert len(lines) == 1 and lines[0].startswith("prune-search: "), result
    assert result.out.splitlines()[1:] == [], result  # what is seen while RLlib is imported
    return lines[0]
