"""How far searches and plans are apart: in what they are worth, and in env steps."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from prune_search.records.fronts import Curve

_SAME = 1e-9
"""Of a mean: values that are no further apart are the same."""


class Ahead(NamedTuple):
    """Difference of two means over studies or seeds, with its 95 % interval (Welch's t)."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, ours: Sequence[float], theirs: Sequence[float]) -> Ahead:
        """Of two values each, or more; where neither's differ, the interval has no width."""
        mean = float(np.mean(ours) - np.mean(theirs))
        if all(np.ptp(each) <= _SAME * (1 + np.abs(np.mean(each))) for each in (ours, theirs)):
            return cls(mean, mean, mean)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of one whose values hardly differ
            interval = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval()
        return cls(mean, float(interval.low), float(interval.high))

    def __str__(self) -> str:
        return f"{self.mean:+.3f} ({self.low:+.3f}, {self.high:+.3f})"


@dataclass(frozen=True)
class StepsRatio:
    """Env steps in which the default reaches another arm's hypervolume / the other's env steps.

    Hypervolumes on the final seeds.
    """

    median: float
    """Over all pairs of a default's and the other's study; infinite if most never reach it."""
    quartiles: tuple[float, float]
    interval: tuple[float, float]
    """95 % bootstrap interval of the median, seeds of both arms drawn anew."""
    reached: float
    """Share of the pairs in which it is reached."""

    @property
    def brief(self) -> str:
        """Without quartiles: `0.13 (0.05, 0.29)`, and in how many pairs, where not in all."""
        told = f"{self.median:.2f} ({self.interval[0]:.2f}, {self.interval[1]:.2f})"
        return told if self.reached == 1 else f"{told}; reached in {self.reached:.0%}"

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{self.median:.2f} (95 % interval {low:.2f} to {high:.2f}; quartiles"
            f" {self.quartiles[0]:.2f} to {self.quartiles[1]:.2f}; reached in"
            f" {self.reached:.0%} of the pairs)"
        )


def speed(
    curves: Sequence[Curve], targets: Sequence[float], env_steps: int, before: int = 0
) -> StepsRatio:
    """How soon curves reach other studies' hypervolumes, over all pairs of both.

    Args:
        curves: the default's, a seed each.
        targets: the others' hypervolumes, a seed each.
        env_steps: that the others took.
        before: env steps that were spent before the curves begin.
    """
    pairs = np.array([[_reached(curve, target) for target in targets] for curve in curves])
    pairs = (pairs + before) / env_steps
    generator = np.random.default_rng(0)
    medians = [
        _quantile(pairs[np.ix_(_drawn(generator, len(curves)), _drawn(generator, len(targets)))])
        for _ in range(2000)
    ]
    return StepsRatio(
        median=_quantile(pairs),
        quartiles=(_quantile(pairs, 0.25), _quantile(pairs, 0.75)),
        interval=(
            _quantile(np.array(medians), 0.025),
            _quantile(np.array(medians), 0.975),
        ),
        reached=float(np.isfinite(pairs).mean()),
    )


def _reached(curve: Curve, target: float) -> float:
    return min((float(steps) for steps, value in curve if value >= target), default=math.inf)


def _drawn(generator: np.random.Generator, count: int) -> NDArray[np.int64]:
    return generator.integers(0, count, count)


def _quantile(values: NDArray[np.float64], share: float = 0.5) -> float:
    # Of an even number the upper one: between a number and infinity lies nothing.
    return float(np.quantile(values, share, method="higher"))
