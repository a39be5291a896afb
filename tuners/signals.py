"""SIGTERM, which clusters and service managers send, ends things as Ctrl-C does."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """For as long as the context lasts, SIGTERM raises what Ctrl-C raises.

    Ray replaces handlers when it starts, by one of its own whose C++ half aborts the process: enter
    this once more afterwards. Outside of the main thread it does nothing, as Python's signals are
    that one's.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        # None: of a handler that was not set by Python there is nothing that could be put back.
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> None:
    # Not by way of SIGINT, which is ignored in the background of a shell.
    raise KeyboardInterrupt
