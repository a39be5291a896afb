"""Writing to a disk that may be full, or fail, for a while: wait instead of giving up."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

WAIT_S = 900.0
"""Seconds after which a disk that still takes nothing is an error."""
FULL, FAILS = "the disk is full", "writing to the disk fails"
_POLL_S = 2.0


def trouble(error: BaseException) -> str:
    """What an error says of a disk that may be well again later; empty for other errors.

    `FULL`, also where it is the user's share that is, or `FAILS`: disks of networks do for a while.
    """
    text = str(error)  # SQLite and Arrow have words of their own
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return FULL
    if "disk is full" in text or "No space left" in text:
        return FULL
    if getattr(error, "errno", None) in (errno.EIO, errno.ESTALE, errno.ETIMEDOUT):
        return FAILS
    if "disk I/O error" in text or "Input/output error" in text:
        return FAILS
    return trouble(error.__cause__) if error.__cause__ is not None else ""


def with_room(write: Callable[[], T], tell: Callable[[str], None] = lambda _: None) -> T:
    """Calls a function that writes, again for as long as the disk is full or fails.

    Args:
        write: leaves things as they were when it fails, and can be called again.
        tell: called once, with the trouble, when the waiting begins.

    Raises:
        OSError: the disk still takes nothing after `WAIT_S`.
    """
    end, told = time.monotonic() + WAIT_S, False
    while True:
        try:
            return write()
        except Exception as error:
            found = trouble(error)
            if not found or time.monotonic() > end:
                raise
        if not told:
            tell(found)
            told = True
        time.sleep(_POLL_S)
