"""Files are replaced whole or not at all."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from prune_search.storage.replacing import replace_file


def test_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "policy.packed"
    replace_file(path, b"before")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            replace_file(path, b"after")
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]
    replace_file(path, b"after")
    assert path.read_bytes() == b"after" and list(tmp_path.iterdir()) == [path]


def test_writers_at_the_same_time_leave_what_one_of_them_wrote(tmp_path: Path) -> None:
    path = tmp_path / "trial.json"
    contents = [bytes([number]) * 100_000 for number in range(8)]
    writers = [threading.Thread(target=replace_file, args=(path, data)) for data in contents]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert path.read_bytes() in contents and list(tmp_path.iterdir()) == [path]
