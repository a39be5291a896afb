"""A study's folder: its names, its records read once for each change, and the mirror behind it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from prune_search.records.baselines import BaselineFolder
from prune_search.records.folder import StudyFolder
from prune_search.records.models import StudyRecord
from prune_search.storage import full_disk
from prune_search.storage.mirror import Mirror, MirrorError
from tests.studies import BASELINE, make_trial


def node(tmp_path: Path, name: str) -> StudyFolder:
    """The folder of one study, on a node of this name."""
    storage = tmp_path / name
    return StudyFolder(storage, "study", Mirror(storage, (tmp_path / "store").as_uri()))


def test_a_record_is_read_once_for_each_change(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, "study")
    folder.write_trial(make_trial(0, rounds=1))
    folder.write_study(StudyRecord(name="study", started=1.0))
    first = folder.trial(0)
    assert first is not None and folder.trial(0) is first and folder.trials()[0] is first
    assert folder.study() is folder.study()
    StudyFolder(tmp_path, "study").write_trial(make_trial(0, rounds=2))  # another process
    second = folder.trial(0)
    assert second is not None and len(second.points) == 2


def test_what_a_trial_writes_reaches_the_driver_on_another_node(tmp_path: Path) -> None:
    trial, driver = node(tmp_path, "trial"), node(tmp_path, "driver")
    assert driver.trial(0) is None
    trial.write_trial(make_trial(0, rounds=1, state="running"))
    assert driver.trials() == []  # as far as this node has them
    found = driver.trial(0)
    assert found == make_trial(0, rounds=1, state="running") and driver.trials() == [found]

    trial.write_trial(make_trial(0, rounds=2, state="running"))
    reported = make_trial(0, rounds=2).points[-1].time
    found = driver.trial(0, reported)
    assert found is not None and len(found.points) == 2
    # What has been reported is here; the store, which is away by now, is not asked again.
    (tmp_path / "store").rename(tmp_path / "away")
    (tmp_path / "store").write_text("not a folder")
    assert driver.trial(0, reported) is found
    with pytest.raises(MirrorError):
        driver.write_trial(found.model_copy(update={"state": "stopped"}))
    assert driver.trials()[0].state == "stopped"  # here it is written all the same


def test_a_checkpoint_is_whole_or_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_disk, "_POLL_S", 0.01)
    folder, told = node(tmp_path, "here"), list[str]()
    tries: list[Path] = []
    folder.trial_path(0).mkdir(parents=True)

    def save(path: Path) -> None:
        path.mkdir()
        (path / "masks.pt").write_text("half")
        tries.append(path)
        if len(tries) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        (path / "masks.pt").write_text("whole")

    with pytest.raises(OSError, match="No space"):
        folder.write_checkpoint(0, 0, save)
    assert not list(folder.trial_path(0).iterdir())
    tries.clear()
    path = folder.write_checkpoint(0, 0, save, told.append)
    assert path == folder.checkpoint(0, 0) and told == [full_disk.FULL]
    assert [item.name for item in folder.trial_path(0).iterdir()] == ["round-00"]
    point = (
        make_trial(0, rounds=1)
        .points[0]
        .model_copy(update={"checkpoint": path.relative_to(folder.path).as_posix()})
    )
    brought = node(tmp_path, "there").bring_checkpoint(point)
    assert (brought / "masks.pt").read_text() == "whole"


def test_a_baseline_and_its_control_are_there_once_their_records_are(tmp_path: Path) -> None:
    store = (tmp_path / "store").as_uri()
    here, there = (
        BaselineFolder.keyed(tmp_path / name, "key", Mirror(tmp_path / name, store))
        for name in ("here", "there")
    )
    (here.path / "algorithm").mkdir(parents=True)
    here.partial.mkdir()
    assert there.record() is None
    record = BASELINE.model_copy(update={"checkpoint": str(here.path / "algorithm")})
    here.write(record)
    assert not here.partial.exists()
    found = there.record()
    assert found is not None and found.checkpoint == str(there.path / "algorithm")
    assert BaselineFolder.of(found, Mirror(tmp_path / "there", None)).path == there.path
    assert there.control("control-1-1").record() is None


def test_a_mirror_is_reached_for_when_it_is_needed(tmp_path: Path) -> None:
    """A study that was made with one is shown where there is none."""
    folder = StudyFolder(tmp_path, "study", Mirror(tmp_path, "nonsense://bucket"))
    (folder.trial_path(0)).mkdir(parents=True)
    StudyFolder(tmp_path, "study").write_trial(make_trial(0))
    assert folder.trials() == [make_trial(0)] and folder.study() is None
