"""Noisy returns: what they count as, their intervals, and which difference is more than noise."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from prune_search.records.returns import Aggregate, Return

Verdict = Literal["better", "worse", "undecided"]
FEWEST_SEEDS = 6
"""Of a plan, for a verdict: that all of five are on one side is a chance of 1 in 16."""

LEVEL = 0.95
"""Of all intervals."""
_DRAWN = 2000  # bootstrap samples
_TRIMMED = 0.25


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
    """What training seeds x episodes count as, with the 95 % t interval over seeds.

    Its `iqm` is the stratified IQM of Agarwal et al. 2021, over all episodes of all seeds together.

    What is asked is how the plan does with any seed, not with these, so that seeds are the sample,
    of what each counts as. A bootstrap of few of them is far too narrow. Of one seed the interval
    is that of its episodes.

    Args:
        returns: one policy's for each training seed, all of as many episodes.

    Raises:
        ValueError: there is none, or they don't hold as many episodes each.
    """
    scores, aggregate = _scores(returns), returns[0].aggregate
    value = float(_AGGREGATES[aggregate](scores.ravel()))
    low, high = returns[0].low, returns[0].high
    if len(returns) > 1:
        half = _t_bound(len(returns)) * _error(returns)
        low, high = value - half, value + half
    return Return(
        aggregate=aggregate,
        iqm=float(_iqm(scores.ravel())),
        low=low,
        high=high,
        episodes=scores.size,
        each=scores.ravel().tolist(),
    )


def retained(returned: Return, dense: Return, random: Return) -> tuple[float, float]:
    """95 % percentile bootstrap interval of what a policy keeps of the dense one's gain.

    Of these three policies the episodes are the sample: those of one env seed are drawn together,
    and the noise of measuring the dense policy and random actions is in the interval too.

    Args:
        returned: the policy's return.
        dense: the dense policy's, on the same env seeds and counted alike.
        random: that of random actions, likewise.

    Raises:
        ValueError: they don't hold as many episodes each.
    """
    scores = _scores([returned, dense, random])
    episodes = scores.shape[1]
    drawn = np.random.default_rng(0).integers(episodes, size=(_DRAWN, episodes))
    value, most, least = _AGGREGATES[dense.aggregate](scores[:, drawn], axis=-1)
    low, high = np.quantile((value - least) / (most - least), [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return float(low), float(high)


def compare(returns: Sequence[Return], dense: Return) -> Verdict:
    """Whether a policy, or a plan, is better than this dense policy, worse, or nobody can tell.

    Where neither is better than the other, one is called so in about 5 % of cases at most.

    Of one policy the episodes tell: Welch's t-test or, where the IQM counts, Yuen's (1974), which
    trims as it does.

    Of a plan its seeds tell, each by what it counts as, and two tests must agree. The sign test:
    that so many of the seeds are above the dense policy, or below it, is no chance. It holds
    whatever returns are distributed like; with fewer than `FEWEST_SEEDS` nothing is decided. And a
    t-test over the seeds, in which is the noise of the dense policy's own measurement. It has one
    degree of freedom less than there are seeds; of few seeds Welch's formula gives too many.

    The dense policy is this one: that training it with another seed would have given another is
    nowhere in it.

    Args:
        returns: a policy's, or those of a plan's policies for each training seed.
        dense: the dense policy's, counted alike.

    Raises:
        ValueError: as `pooled`.
    """
    _scores(returns)  # which checks them
    if len(returns) == 1:
        trim = _TRIMMED if dense.aggregate == "iqm" else 0.0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of returns that are all the same
            test = stats.ttest_ind(returns[0].each, dense.each, equal_var=False, trim=trim)
        difference, significant = test.statistic, test.pvalue <= 1 - LEVEL
    else:
        difference = sum(one.value for one in returns) / len(returns) - dense.value
        above, below = sides(returns, dense)
        ahead = stats.binomtest(above if difference > 0 else below, len(returns))
        noise = math.hypot(_error(returns), _measured(dense))
        significant = ahead.pvalue <= 1 - LEVEL and abs(difference) > _t_bound(len(returns)) * noise
    if not significant:
        return "undecided"
    return "better" if difference > 0 else "worse"


def differing(
    differences: Sequence[float], shared: Return | None = None
) -> tuple[float, float, float]:
    """Mean of differences, one a training seed, with its 95 % t interval.

    Args:
        differences: two or more.
        shared: what all of them were taken from, whose own noise is then in each alike.
    """
    mean = sum(differences) / len(differences)
    noise = math.hypot(float(stats.sem(differences)), _measured(shared) if shared else 0.0)
    half = _t_bound(len(differences)) * noise
    return mean, mean - half, mean + half


def sides(returns: Sequence[Return], dense: Return) -> tuple[int, int]:
    """How many of a plan's seeds count as more than the dense policy, and how many as less."""
    above = sum(one.value > dense.value for one in returns)
    return above, sum(one.value < dense.value for one in returns)


def _error(returns: Sequence[Return]) -> float:
    """Standard error of the mean over seeds of what each counts as."""
    return float(stats.sem([one.value for one in returns]))


def _measured(one: Return) -> float:
    """Standard error of one policy's return, by its interval over episodes."""
    return float((one.high - one.low) / (2 * stats.norm.ppf(0.5 + LEVEL / 2)))


def _t_bound(seeds: int) -> float:
    """Standard errors on each side of a 95 % t interval."""
    return float(stats.t.ppf(0.5 + LEVEL / 2, seeds - 1))


def _scores(returns: Sequence[Return]) -> NDArray[np.float64]:
    """[seeds, episodes]."""
    lengths = {len(one.each) for one in returns}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"must be returns of as many episodes each, got {sorted(lengths)}")
    return np.array([one.each for one in returns])


def _iqm(sample: ArrayLike, axis: int = -1) -> Any:
    return stats.trim_mean(sample, _TRIMMED, axis=axis)


_AGGREGATES: dict[Aggregate, Callable[..., Any]] = {"mean": np.mean, "iqm": _iqm}
