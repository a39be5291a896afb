"""A learner that stands still: IMPALA's and APPO's update in a thread of their own."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
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
        if _reads(frame, incoming):
            return True
        frame = frame.f_back
    return not thread.is_alive()


def _reads(frame: FrameType, incoming: Any) -> bool:
    """Whether a frame is a call of this queue's `get`: others are read in the midst of work."""
    of_queue = frame.f_code is type(incoming).get.__code__
    return of_queue and frame.f_locals.get("self") is incoming


def use_up_batches(learner: Any, timeout: float = 60.0) -> None:
    """Waits until a learner's thread has no batch left: APPO's go on after RLlib's iteration.

    Else weights would change between an evaluation and the checkpoint that it is of.

    Args:
        learner: a learner, in its own process, that gets no batches meanwhile.
        timeout: seconds to wait.

    Raises:
        RuntimeError: there were batches left at the end of it.
    """
    thread = getattr(learner, "_learner_thread", None)
    end = time.monotonic() + timeout
    while thread is not None and not _idle(learner, thread):
        if time.monotonic() > end:
            raise RuntimeError(f"a learner's batches were not used up within {timeout:g} s")
        time.sleep(_POLL_S)


def _idle(learner: Any, thread: Any) -> bool:
    """Whether a learner thread waits for a batch, and there is none, nor one on its way to it."""
    if not thread.is_alive():
        return True
    loaders = getattr(learner, "_gpu_loader_threads", ())
    # In the order that batches pass: what is empty and waits can't fill what is looked at later.
    return (
        not learner._gpu_loader_in_queue.qsize()
        and all(_waits_without_batch(loader) for loader in loaders)
        and not thread._in_queue.qsize()
        and _waits_without_batch(thread)
    )


def _waits_without_batch(thread: Any) -> bool:
    """Whether a thread reads its queue. A batch is in the frame before it counts as taken out."""
    frame = sys._current_frames().get(thread.ident)
    while frame is not None:
        if _reads(frame, thread._in_queue):
            return not {"batch", "item"} & frame.f_locals.keys()
        frame = frame.f_back
    return False
