"""What a trial's process may not do: take for ever over a round, or hold ever more memory.

Either may happen inside of an environment or of C code, where nothing can be raised, so the process
ends: Tune sees it dead and starts the trial again from its last finished round. Why it ended is in
`StudyFolder.ended_file`.
"""

from __future__ import annotations

import faulthandler
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from prune_search.experiment.schema import Resources
from prune_search.experiment.search_section import Search
from prune_search.storage.full_disk import with_room

_POLL_S = 0.5
_WAITING = frozenset({"threading.py", "queue.py", "thread.py", Path(__file__).name})
"""Files of threads that wait, this one's among them."""


class Watch:
    """Watches one process.

    Args:
        search: its `round_s`.
        resources: its `memory_gb`.
    """

    def __init__(self, search: Search, resources: Resources) -> None:
        self._round_s, self._memory_gb = search.round_s, resources.memory_gb
        self._file: Path | None = None
        if self._memory_gb is not None:
            threading.Thread(target=self._watch_memory, name="memory", daemon=True).start()

    @contextmanager
    def round(self, file: Path) -> Iterator[None]:
        """For as long as the context lasts, the limits hold.

        Args:
            file: where the reason is left, if they don't.
        """
        self._file = file
        if self._round_s is None:
            try:
                yield
            finally:
                self._file = None
            return
        with with_room(lambda: _opened(file)) as stream:
            # A thread in C: it ends a process that never lets Python's threads run, too.
            faulthandler.dump_traceback_later(self._round_s, exit=True, file=stream)
            try:
                yield
            finally:
                faulthandler.cancel_dump_traceback_later()
                self._file = None
        file.unlink(missing_ok=True)

    def _watch_memory(self) -> None:
        assert self._memory_gb is not None
        while True:
            file, held = self._file, memory_gb()
            if file is not None and held > self._memory_gb:
                with suppress(OSError):
                    file.write_text(
                        f"its process held {held:.2f} GB, more than resources.memory_gb ="
                        f" {self._memory_gb:g}"
                    )
                os._exit(1)
            threading.Event().wait(_POLL_S)


def memory_gb() -> float:
    """Memory that this process holds (resident), GB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e9


def _opened(file: Path) -> TextIO:
    file.parent.mkdir(parents=True, exist_ok=True)
    return file.open("w", encoding="utf-8")


def why_ended(file: Path, search: Search) -> str:
    """Why a trial's last process has ended itself, in one line; empty if it hasn't.

    Says it once: the next process begins anew.

    Args:
        file: which `Watch.round` was given.
        search: its `round_s`.
    """
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
        file.unlink()
    except OSError:
        return ""
    if not text.startswith("Timeout"):
        return text
    took = f"a round took longer than search.round_s = {search.round_s:g} s"
    # Python lists the thread that works as the current one, or as the only one, innermost first.
    threads = text.split("\n\n")
    found = [
        (Path(path).name, line, name)
        for thread in reversed(threads)
        for path, line, name in re.findall(r'File "(.+)", line (\d+) in (\S+)', thread)[:1]
        if Path(path).name not in _WAITING
    ]
    return took + (", in {} line {}, {}".format(*found[0]) if found else "")
