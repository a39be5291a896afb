"""Records that a driver writes, whatever becomes of its disk and of the mirror."""

from __future__ import annotations

from contextlib import suppress

from prune_search.records.folder import StudyFolder
from prune_search.records.models import (
    FinalRecord,
    StudyRecord,
)
from prune_search.storage.full_disk import with_room
from prune_search.storage.mirror import Mirror
from tuners.display.live import Progress


def keep(record: StudyRecord | FinalRecord, folder: StudyFolder, progress: Progress) -> None:
    """Writes a record of the study's, once the disk has room for it."""
    final = isinstance(record, FinalRecord)
    path = folder.final_file if final else folder.study_file
    with_room(
        lambda: record.write(path),
        lambda found: progress.note(f"{found}: the study waits in {folder.path}"),
    )


def push_results(folder: StudyFolder, mirror: Mirror) -> None:
    """What the study ended with; a store that is away by then keeps no study from ending."""
    with suppress(OSError):
        for file in (folder.study_file, folder.final_file):
            if file.is_file():
                mirror.push(file)
