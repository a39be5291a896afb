"""Writing to a disk that may be full for a while: wait for room instead of giving up."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

WAIT_S = 900.0
"""Seconds after which a disk that is still full is an error."""
_POLL_S = 2.0


def full(error: BaseException) -> bool:
    """Whether an error says that a disk, or the user's share of it, is full."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    if "disk is full" in str(error) or "No space left" in str(error):  # SQLite, Arrow
        return True
    return error.__cause__ is not None and full(error.__cause__)


def with_room(write: Callable[[], T], tell: Callable[[], None] = lambda: None) -> T:
    """Calls a function that writes, again for as long as the disk is full.

    Args:
        write: leaves things as they were when it fails, and can be called again.
        tell: called once, when the waiting begins.

    Raises:
        OSError: the disk is still full after `WAIT_S`.
    """
    end, told = time.monotonic() + WAIT_S, False
    while True:
        try:
            return write()
        except Exception as error:
            if not full(error) or time.monotonic() > end:
                raise
        if not told:
            tell()
            told = True
        time.sleep(_POLL_S)


def mark(folder: Path) -> None:
    """Leaves word in a trial's folder that it waits for room: an empty file takes none."""
    with suppress(OSError):
        (folder / _MARK).touch()


def waits(folder: Path) -> bool:
    """Whether a trial has begun to wait for room since this was last asked."""
    with suppress(OSError):
        (folder / _MARK).unlink()
        return True
    return False


_MARK = "waits-for-room"
