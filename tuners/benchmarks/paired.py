"""Two ways to do one thing, timed in turn in one process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

WARM_UP = 2
"""Pairs that are run first and not counted."""


class Ratios(NamedTuple):
    """Quartiles of ratios of paired times."""

    low: float
    median: float
    high: float

    def __str__(self) -> str:
        return f"median {self.median:.3f} (quartiles {self.low:.3f}, {self.high:.3f})"


def paired(
    this: Callable[[], object],
    that: Callable[[], object],
    pairs: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Ratios:
    """Time of the first, over that of the second.

    Which of a pair goes first alternates.

    Args:
        this, that: what is timed.
        pairs: how many are counted, 1 or more.
        clock: seconds; ``time.thread_time`` leaves out what other processes take of the machine.
    """
    ratios = []
    for number in range(pairs + WARM_UP):
        seconds = {}
        for first in (bool(number % 2), not number % 2):
            begun = clock()
            (this if first else that)()
            seconds[first] = clock() - begun
        ratios.append(seconds[True] / seconds[False])
    low, median, high = (float(q) for q in np.quantile(ratios[WARM_UP:], [0.25, 0.5, 0.75]))
    return Ratios(low, median, high)
