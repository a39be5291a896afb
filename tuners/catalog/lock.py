"""Which studies run: a lock that a driver holds, and that dies with it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from prune_search.errors import UserError
from prune_search.records.folder import StudyFolder

_TRIES, _PAUSE_S = 5, 0.2  # those that ask hold the lock for a moment


@contextmanager
def driving(folder: StudyFolder) -> Iterator[None]:
    """Marks a study as running for as long as the context lasts, however it ends.

    Raises:
        UserError: another process drives it.
    """
    try:
        opened = os.open(folder.lock_file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError:  # no room: that is told by what needs it
        yield
        return
    with os.fdopen(opened) as stream:
        for left in reversed(range(_TRIES)):
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if left:
                    time.sleep(_PAUSE_S)
                    continue
                raise UserError(
                    f"name: study {folder.name!r} is running already, in another process"
                ) from None
            except OSError:  # the file system knows no locks
                break
        yield


def driven(folder: StudyFolder) -> bool:
    """Whether a process drives the study now."""
    with suppress(FileNotFoundError), folder.lock_file.open() as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
    return False
