"""The means against faults: limits of a trial's process, and waiting for room on a disk."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from prune_search.errors import UserError
from prune_search.experiment.schema import Resources
from prune_search.experiment.search_section import Search
from prune_search.records.folder import StudyFolder
from prune_search.storage import full_disk as room
from prune_search.storage.full_disk import FAILS, FULL, with_room
from prune_search.trial.watchdog import Watch, why_ended
from tests.studies import make_trial


def test_a_full_disk_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_POLL_S", 0.0)
    tries, told = [], []

    def write() -> str:
        tries.append(1)
        if len(tries) < 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        return "written"

    assert with_room(write, told.append) == "written"
    assert len(tries) == 4 and told == [FULL]


def test_other_errors_and_disks_that_stay_full_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied() -> None:
        raise PermissionError(errno.EACCES, "no")

    with pytest.raises(PermissionError):
        with_room(denied)

    def full() -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(room, "WAIT_S", -1.0)
    with pytest.raises(OSError, match="quota"):
        with_room(full)


def test_a_trial_that_waits_is_told_of_once(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, "study")
    folder.write_trial(make_trial(3))
    folder.mark_waiting(3, FAILS)
    assert folder.began_to_wait(3) == FAILS
    assert not folder.began_to_wait(3)


LONG = "a round took longer than search.round_s = 1.5 s"
ENDED = """
import sys, time
from pathlib import Path
from prune_search.experiment.schema import Resources, Search
from prune_search.trial.watchdog import Watch
watch = Watch(Search(round_s={round_s}), Resources(memory_gb=1.5))
with watch.round(Path(sys.argv[1])):
    pass
with watch.round(Path(sys.argv[1])):
    {work}
"""


@pytest.mark.parametrize(
    ("work", "round_s", "reason"),
    [
        (
            "time.sleep(60)",
            1.5,
            "a round took longer than search.round_s = 1.5 s, in <string> line 10",
        ),
        # In C, and no other thread of Python's runs.
        ("sum(range(10**15))", 1.5, f"{LONG}, in <string>"),
        pytest.param(
            "held = b'1' * 1_700_000_000; time.sleep(60)",
            90,
            "its process held 1.",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_process_ends_itself(tmp_path: Path, work: str, round_s: float, reason: str) -> None:
    file = tmp_path / "trial" / "ended.txt"
    ended = subprocess.run(
        [sys.executable, "-c", ENDED.format(work=work, round_s=round_s), str(file)],
        check=False,
    )
    assert ended.returncode == 1
    told = why_ended(file, Search(round_s=1.5))
    assert told.startswith(reason) and "\n" not in told
    assert why_ended(file, Search(round_s=1.5)) == ""  # is said once


def test_a_round_within_its_limits_leaves_nothing(tmp_path: Path) -> None:
    with Watch(Search(round_s=60), Resources(memory_gb=100)).round(tmp_path / "ended.txt"):
        pass
    assert not list(tmp_path.iterdir())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB; needs the right to mount one."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a disk")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_a_write_that_fails_leaves_the_old_record_whole(small_disk: Path) -> None:
    folder = StudyFolder(small_disk, "study")
    folder.write_trial(make_trial(0, rounds=2))
    with (small_disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while filler.write(bytes(4096)):
            pass
    with pytest.raises(OSError, match="No space left"):
        folder.write_trial(make_trial(0, rounds=6))
    assert folder.trial(0) == make_trial(0, rounds=2)
    left = {path.name for path in folder.trial_path(0).iterdir()}
    assert left == {"trial.json", ".trial.json.copy"}
    (small_disk / "filler").unlink()
    folder.write_trial(make_trial(0, rounds=6))
    assert folder.trial(0) == make_trial(0, rounds=6)


def test_a_torn_record_is_read_from_its_copy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = StudyFolder(tmp_path, "study")
    folder.write_trial(make_trial(0, rounds=2))
    folder.write_trial(make_trial(0, rounds=6))
    assert folder.trials() == [make_trial(0, rounds=6)]
    file = folder.trial_file(0)
    os.truncate(file, file.stat().st_size // 2)
    assert folder.trials() == [make_trial(0, rounds=6)]
    assert "its copy is read instead" in caplog.text and str(file) in caplog.text
    # Without a copy, as earlier versions left none, it is an error that says so.
    file.with_name(".trial.json.copy").unlink()
    with pytest.raises(UserError, match="not a readable record"):
        StudyFolder(tmp_path, "study").trials()
