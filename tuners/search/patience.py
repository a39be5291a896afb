"""Calls to Optuna's database that outlast what keeps it: a lock, a full disk, a slow mount."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any, TypeVar
from urllib.parse import quote

from sqlalchemy import Engine, event

from prune_search.records.folder import StudyFolder
from prune_search.storage.full_disk import with_room

T = TypeVar("T")

_PATIENCE_S = 3.0  # of waiting for the database, before the user is told


class Patience:
    """Makes calls, and tells the user what they wait for where that lasts.

    Args:
        folder: of the study whose database it is.
        engine: that the calls are made by.
        tell: gets a line for the user.
    """

    def __init__(self, folder: StudyFolder, engine: Engine, tell: Callable[[str], None]) -> None:
        self._folder, self._tell = folder, tell
        self._writes = _Writes(engine)

    def __call__(self, call: Callable[[], T]) -> T:
        """What a call returns, which waits for the database, or is made again once there is room.

        Raises:
            OSError: the disk still takes nothing after `full_disk.WAIT_S`.
        """
        watcher = threading.Timer(_PATIENCE_S, self._tell_why)
        watcher.daemon = True
        watcher.start()
        try:
            place = self._folder.path
            return with_room(
                call, lambda found: self._tell(f"{found}: the search waits in {place}")
            )
        finally:
            watcher.cancel()

    def _tell_why(self) -> None:
        """Tells what the database has to say; nothing where a suggestion takes long by itself."""
        database = self._folder.optuna_file
        address = f"file:{quote(str(database))}?mode=rw"  # makes no file where there is none
        try:
            with closing(sqlite3.connect(address, timeout=1, uri=True)) as asked:
                asked.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                why = f"Optuna's database does not answer ({error})"
            elif self._writes.under_way:  # the search's own, on a slow disk or network
                why = "writing to Optuna's database takes long"
            else:
                why = "Optuna's database is locked"
            self._tell(f"{why}; the search waits for {database}")


class _Writes:
    """Whether this process holds the database while it writes: from a change until it is saved."""

    def __init__(self, engine: Engine) -> None:
        self.under_way = False
        event.listen(engine, "after_cursor_execute", self._executed)
        event.listen(engine, "checkin", self._ended)

    def _executed(self, _: Any, __: Any, statement: str, *___: Any) -> None:
        self.under_way |= not statement.lstrip().upper().startswith(("SELECT", "PRAGMA"))

    def _ended(self, *_: Any) -> None:
        self.under_way = False
