"""A learner that stands still: IMPALA's and APPO's update in a thread of their own."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_POLL_S = 0.001


@contextmanager
def paused(learner: Any, timeout: float = 60.0) -> Iterator[None]:
    """Holds a learner between two updates; batches that wait for it are kept.

    Learners without a thread update when they are called, so there is nothing to hold. States
    that wait to be sent to env runners are dropped at the end: they are older than what was
    changed meanwhile, and the next update makes a new one.

    Args:
        learner: a learner, in its own process.
        timeout: seconds to wait for an update to end.

    Raises:
        RuntimeError: the update didn't end in time.
    """
    thread = getattr(learner, "_learner_thread", None)
    if thread is None or not thread.is_alive():
        yield
        return
    update, gate = thread._update_method, threading.Event()

    def held(**arguments: Any) -> Any:
        gate.wait()
        return update(**arguments)

    thread._update_method = held
    try:
        end = time.monotonic() + timeout
        while not _waits(thread, held):
            if time.monotonic() > end:
                raise RuntimeError(f"a learner's update has not ended within {timeout:g} s")
            time.sleep(_POLL_S)
        yield
        learner._learner_state = None
        with suppress(queue.Empty):
            learner._learner_state_queue.get_nowait()
    finally:
        thread._update_method = update
        gate.set()


def _waits(thread: Any, held: Any) -> bool:
    """Whether a learner thread waits for a batch, or at the gate behind which updates are."""
    incoming = thread._in_queue
    frame = sys._current_frames().get(thread.ident)
    while frame is not None:
        if frame.f_code is held.__code__:
            return True
        # Other queues are read as well, in the midst of its work.
        of_queue = frame.f_code is type(incoming).get.__code__
        if of_queue and frame.f_locals.get("self") is incoming:
            return True
        frame = frame.f_back
    return not thread.is_alive()
