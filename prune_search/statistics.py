"""Noisy returns: interquartile means, their intervals, and which difference is more than noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from prune_search.record import Return

Verdict = Literal["better", "worse", "alike"]

_DRAWN = 2000  # bootstrap samples
_TRIMMED = 0.25
_LARGEST = 4_000_000  # returns drawn in one array


def interquartile_mean(returns: NDArray[np.float64]) -> Return:
    """IQM of one policy, with a 95 % percentile bootstrap interval (Agarwal et al. 2021).

    Args:
        returns: [episodes], undiscounted.
    """
    interval = stats.bootstrap(
        (returns,), _iqm, n_resamples=_DRAWN, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return Return(
        iqm=float(_iqm(returns)),
        low=float(interval.low),
        high=float(interval.high),
        episodes=len(returns),
        each=returns.tolist(),
    )


def pooled(returns: Sequence[Return]) -> Return:
    """IQM over training seeds x episodes, with a 95 % stratified bootstrap interval.

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
    low, high = np.quantile(_drawn(scores, np.random.default_rng(0)), [0.025, 0.975])
    return Return(
        iqm=float(_iqm(scores.ravel())),
        low=float(low),
        high=float(high),
        episodes=scores.size,
        each=scores.ravel().tolist(),
    )


def compare(one: Sequence[Return], other: Sequence[Return]) -> Verdict:
    """Whether one is better than the other, worse, or the episodes can't tell.

    Better and worse are said only where the 95 % bootstrap interval of the difference of the IQMs,
    each drawn as in `pooled`, leaves 0 out.

    Args:
        one: one policy's returns for each training seed.
        other: likewise; the number of seeds and of episodes may be another.

    Raises:
        ValueError: as `pooled`.
    """
    generator = np.random.default_rng(0)
    differences = _drawn(_scores(one), generator) - _drawn(_scores(other), generator)
    low, high = np.quantile(differences, [0.025, 0.975])
    return "better" if low > 0 else "worse" if high < 0 else "alike"


def _scores(returns: Sequence[Return]) -> NDArray[np.float64]:
    """[seeds, episodes]."""
    lengths = {len(one.each) for one in returns}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"must be returns of as many episodes each, got {sorted(lengths)}")
    return np.array([one.each for one in returns])


def _drawn(scores: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """[samples], the IQMs of bootstrap samples."""
    seeds, episodes = scores.shape
    found = np.empty(_DRAWN)
    together = max(1, _LARGEST // scores.size)
    for start in range(0, _DRAWN, together):
        count = min(together, _DRAWN - start)
        rows = generator.integers(0, seeds, (count, seeds, 1))
        columns = generator.integers(0, episodes, (count, seeds, episodes))
        found[start : start + count] = _iqm(scores[rows, columns].reshape(count, -1))
    return found


def _iqm(sample: ArrayLike, axis: int = -1) -> Any:
    return stats.trim_mean(sample, _TRIMMED, axis=axis)
