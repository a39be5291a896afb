"""Where a command runs: terminals, encodings, folders, signals, what keeps Ray from starting."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prune_search.records.folder import StudyFolder
from tests.conftest import TINY
from tests.recording import Screen
from tests.studies import make_study
from tuners.cli.characters import plain_output
from tuners.signals import sigterm_interrupts

COMMAND = str(Path(sys.executable).with_name("prune-search"))
SHADOWING = ("calendar", "profile", "queue", "random", "statistics", "types")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a study, and with files named as modules of Python's."""
    folder = tmp_path_factory.mktemp("work")
    make_study(folder / "studies", name="robot")
    for name in SHADOWING:
        (folder / f"{name}.py").write_text(f"raise RuntimeError('{name} of the working folder')\n")
    (folder / "mine.py").write_text("HERE = True\n")
    return folder


def ran(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [COMMAND, *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({"LC_ALL": "C"}, id="C locale", marks=pytest.mark.slow),
        pytest.param(
            {"PYTHONIOENCODING": "ascii", "HOME": "/proc/nowhere", "NO_COLOR": "1"},
            id="ascii, no home",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_ascii_terminals_get_ascii(folder: Path, environment: dict[str, str]) -> None:
    """In a folder whose files would shadow the standard library."""
    done = ran(folder, "show", "robot", **environment)
    assert done.returncode == 0 and done.stderr == b"", done.stderr
    text = done.stdout.decode("ascii")
    assert "retention >= 95%" in text and "* front" in text and "?" not in text


def test_forty_columns_without_colours(folder: Path) -> None:
    """On a terminal, where rich would draw in colours."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "40", "NO_COLOR": "1", "TERM": "xterm"}
    command = [COMMAND, "show", "robot"]
    started = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    printed = b""
    try:
        while part := os.read(ours, 65_536):
            printed += part
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert started.wait(60) == 0
    text = printed.decode()
    assert "robot" in text and not re.search(r"\x1b\[\d*;?3\d", text)
    screen = Screen()
    screen.feed(text)
    lines = str(screen).splitlines()
    # Commands stay whole, to be pasted.
    long = [line for line in lines if len(line) > 40 and "prune-search " not in line]
    assert not long


@pytest.mark.slow
def test_output_that_is_closed_or_cut_off_is_no_traceback(folder: Path) -> None:
    shell = f"{COMMAND} list >&-; {COMMAND} show robot | head -c 1"
    done = subprocess.run(
        ["sh", "-c", shell], cwd=folder, capture_output=True, timeout=300, check=False
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()


def test_what_is_no_terminal_keeps_its_encoding(capsys: pytest.CaptureFixture[str]) -> None:
    plain_output({})
    print("≥ 95 %")
    assert capsys.readouterr().out == "≥ 95 %\n"


def test_sigterm_is_ctrl_c_also_where_a_shell_has_that_ignored() -> None:
    interrupt, terminate = (signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(KeyboardInterrupt), sigterm_interrupts():
            os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) == terminate
    finally:
        signal.signal(signal.SIGINT, interrupt)


@pytest.mark.slow
def test_a_path_too_long_for_rays_sockets(folder: Path, tmp_path: Path) -> None:
    """One line, and the study's name stays free."""
    long = tmp_path / ("long" * 25)
    long.mkdir()
    (folder / "tiny.yaml").write_text(TINY)
    done = ran(folder, "run", "tiny.yaml", "--set", "environment.modules=[mine]", TMPDIR=str(long))
    error = done.stderr.decode()
    assert done.returncode == 2 and len(error.splitlines()) == 1, error
    assert error.startswith("prune-search: TMPDIR: ") and "set RAY_TMPDIR to a short one" in error
    assert not StudyFolder(folder / "studies", "tiny").path.exists()


@pytest.mark.slow
def test_rays_processes_find_the_users_modules_after_pythons(folder: Path, tmp_path: Path) -> None:
    program = f"""
from prune_search.experiment.schema import Resources
from prune_search.import_paths import import_from_here
import_from_here()
from tuners.study.cluster import connection

with connection(Resources()):
    import ray

    @ray.remote
    def imported():
        import mine, torch, {", ".join(SHADOWING)}
        return mine.HERE

    assert ray.get(imported.remote())
"""
    (tmp_path / "program.py").write_text(program)
    command = [sys.executable, str(tmp_path / "program.py")]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.slow
def test_nohup_lets_a_study_outlive_its_terminal(folder: Path) -> None:
    (folder / "tiny.yaml").write_text(TINY)
    arguments = [COMMAND, "run", "tiny.yaml", "--name", "outlives", "--set", "search.trials=1"]
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execvp("nohup", ["nohup", *arguments])
    written = folder / "nohup.out"  # where nohup has what would go to a terminal
    while "training the baseline" not in (written.read_text() if written.exists() else ""):
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
        time.sleep(0.2)
    os.close(terminal)  # hangs up
    _, status = os.waitpid(child, 0)
    assert status == 0, written.read_text()
    study = StudyFolder(folder / "studies", "outlives").study()
    assert study is not None and study.ended is not None
