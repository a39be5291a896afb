"""Two ways to do one thing, timed in turn in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

WARM_UP = 2
"""Pairs that are run first and not counted."""


class Ratios(NamedTuple):
    """Quartiles of ratios of paired times."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, times: Sequence[tuple[float, float]]) -> Ratios:
        """Those of the first over the second."""
        ratios = [this / that for this, that in times]
        return cls(*(float(quartile) for quartile in np.quantile(ratios, [0.25, 0.5, 0.75])))

    def __str__(self) -> str:
        return f"median {self.median:.3f} (quartiles {self.low:.3f}, {self.high:.3f})"


def times(
    this: Callable[[], object],
    that: Callable[[], object],
    pairs: int,
    clock: Callable[[], float] = time.perf_counter,
    prepare: Callable[[bool], None] = lambda _: None,
) -> list[tuple[float, float]]:
    """Seconds of the first and of the second, run in turn; which goes first alternates.

    Args:
        this, that: what is timed; ``WARM_UP`` times before it counts.
        pairs: how many are counted, 1 or more.
        clock: seconds; ``time.thread_time`` leaves out what other processes take of the machine.
        prepare: called before each, with whether it is ``this``; not timed.
    """
    found = []
    for number in range(pairs + WARM_UP):
        seconds = {}
        for first in (bool(number % 2), not number % 2):
            prepare(first)
            begun = clock()
            (this if first else that)()
            seconds[first] = clock() - begun
        found.append((seconds[True], seconds[False]))
    return found[WARM_UP:]


def paired(
    this: Callable[[], object],
    that: Callable[[], object],
    pairs: int,
    clock: Callable[[], float] = time.perf_counter,
    prepare: Callable[[bool], None] = lambda _: None,
) -> Ratios:
    """Time of the first, over that of the second; the arguments are those of ``times``."""
    return Ratios.of(times(this, that, pairs, clock, prepare))
