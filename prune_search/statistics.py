"""Noisy returns: what they count as, their intervals, and which difference is more than noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from prune_search.record import Aggregate, Return

Verdict = Literal["better", "worse", "alike"]

_DRAWN = 2000  # bootstrap samples
_TRIMMED = 0.25
_LARGEST = 4_000_000  # returns drawn in one array


@dataclass(frozen=True)
class Holding:
    """How many of a policy's episodes hold, as a share."""

    share: float
    low: float
    """Lower end of its 95 % interval (Wilson 1927), which suits few episodes and shares near 1."""
    high: float


def summarised(returns: NDArray[np.float64], aggregate: Aggregate) -> Return:
    """One policy's episodes, with a 95 % percentile bootstrap interval of what they count as.

    The IQM (Agarwal et al. 2021) stands for many runs, of which single ones may be outliers. Of one
    policy's episodes it leaves the worst quarter out, however bad they are.

    Args:
        returns: [episodes], undiscounted.
        aggregate: which figure counts.
    """
    interval = stats.bootstrap(
        (returns,),
        _AGGREGATES[aggregate],
        n_resamples=_DRAWN,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Return(
        aggregate=aggregate,
        iqm=float(_iqm(returns)),
        low=float(interval.low),
        high=float(interval.high),
        episodes=len(returns),
        each=returns.tolist(),
    )


def holding(returned: Return, bound: float) -> Holding | None:
    """The share of episodes whose return is at least `bound`; None where they were not kept."""
    if not returned.each:
        return None
    held = sum(one >= bound for one in returned.each)
    found = stats.binomtest(held, len(returned.each)).proportion_ci(method="wilson")
    return Holding(held / len(returned.each), float(found.low), float(found.high))


def pooled(returns: Sequence[Return]) -> Return:
    """What training seeds x episodes count as, with a 95 % stratified bootstrap interval.

    Its `iqm` is the stratified IQM of Agarwal et al. 2021, over all episodes of all seeds together.

    The strata are the training seeds (Agarwal et al. 2021): of each, as many episodes are drawn
    anew as it has. Where there are several seeds they are drawn anew as well, since what is asked
    is how the plan does with any seed, not with these (a bootstrap in two stages: Davison & Hinkley
    1997, section 3.8).

    Args:
        returns: one policy's for each training seed, all of as many episodes.

    Raises:
        ValueError: there is none, or they don't hold as many episodes each.
    """
    scores = _scores(returns)
    aggregate = returns[0].aggregate
    low, high = np.quantile(_drawn(scores, aggregate, np.random.default_rng(0)), [0.025, 0.975])
    return Return(
        aggregate=aggregate,
        iqm=float(_iqm(scores.ravel())),
        low=float(low),
        high=float(high),
        episodes=scores.size,
        each=scores.ravel().tolist(),
    )


def compare(one: Sequence[Return], other: Sequence[Return]) -> Verdict:
    """Whether one is better than the other, worse, or the episodes can't tell.

    Better and worse are said only where the 95 % bootstrap interval of the difference of what they
    count as, each drawn as in `pooled`, leaves 0 out.

    Args:
        one: one policy's returns for each training seed.
        other: likewise; the number of seeds and of episodes may be another. Both are compared by
            what these count as.

    Raises:
        ValueError: as `pooled`.
    """
    ours, theirs = _scores(one), _scores(other)
    generator, aggregate = np.random.default_rng(0), other[0].aggregate
    differences = _drawn(ours, aggregate, generator) - _drawn(theirs, aggregate, generator)
    low, high = np.quantile(differences, [0.025, 0.975])
    return "better" if low > 0 else "worse" if high < 0 else "alike"


def _scores(returns: Sequence[Return]) -> NDArray[np.float64]:
    """[seeds, episodes]."""
    lengths = {len(one.each) for one in returns}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"must be returns of as many episodes each, got {sorted(lengths)}")
    return np.array([one.each for one in returns])


def _drawn(
    scores: NDArray[np.float64], aggregate: Aggregate, generator: np.random.Generator
) -> NDArray[np.float64]:
    """[samples], what bootstrap samples count as."""
    counted = _AGGREGATES[aggregate]
    seeds, episodes = scores.shape
    found = np.empty(_DRAWN)
    together = max(1, _LARGEST // scores.size)
    for start in range(0, _DRAWN, together):
        count = min(together, _DRAWN - start)
        rows = generator.integers(0, seeds, (count, seeds, 1))
        columns = generator.integers(0, episodes, (count, seeds, episodes))
        found[start : start + count] = counted(scores[rows, columns].reshape(count, -1), axis=-1)
    return found


def _iqm(sample: ArrayLike, axis: int = -1) -> Any:
    return stats.trim_mean(sample, _TRIMMED, axis=axis)


_AGGREGATES: dict[Aggregate, Callable[..., Any]] = {"mean": np.mean, "iqm": _iqm}
