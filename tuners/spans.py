"""What the driver's parts take, for a benchmark that listens; in a study nobody does."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

SUGGEST, TELL, FOLLOW, PROJECT = "suggest", "tell", "follow", "project"
"""Asking Optuna for a trial; telling it a result; following what a trial reports, in the display
and in what stops it; showing it in the tracker."""


@dataclass(frozen=True)
class Span:
    """One call of a part, which has just ended in this thread."""

    part: str
    wall_s: float
    cpu_s: float
    """Of the thread."""


_listeners: list[Callable[[Span], None]] = []


@contextmanager
def listening(tell: Callable[[Span], None]) -> Iterator[None]:
    """Tells of each span, in the thread that it ends in, for as long as the context lasts."""
    _listeners.append(tell)
    try:
        yield
    finally:
        _listeners.remove(tell)


def span(part: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Makes calls of a function spans of this part."""

    def decorate(call: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(call)
        def timed(*args: P.args, **kwargs: P.kwargs) -> T:
            if not _listeners:
                return call(*args, **kwargs)
            wall, cpu = time.perf_counter(), time.thread_time()
            try:
                return call(*args, **kwargs)
            finally:
                ended = Span(part, time.perf_counter() - wall, time.thread_time() - cpu)
                for tell in tuple(_listeners):
                    tell(ended)

        return timed

    return decorate
