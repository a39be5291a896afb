"""What is said of noisy returns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prune_search.record import Return
from prune_search.statistics import compare, interquartile_mean, pooled


def normal(seed: int, mean: float, spread: float, episodes: int) -> Return:
    return interquartile_mean(np.random.default_rng(seed).normal(mean, spread, episodes))


def test_interquartile_mean() -> None:
    few = interquartile_mean(np.array([0.0, 1.0, 2.0, 100.0]))
    assert few.iqm == 1.5 and few.each == [0, 1, 2, 100]
    same = interquartile_mean(np.full(10, 7.0))
    assert (same.low, same.iqm, same.high) == (7, 7, 7)
    spread = normal(0, 10, 3, 200)
    assert spread.low < spread.iqm < spread.high
    assert spread.high - spread.low < 2


def test_of_one_seed_the_pool_is_that_seed() -> None:
    alone = normal(0, 10, 3, 40)
    found = pooled([alone])
    assert (found.iqm, found.episodes, found.each) == (alone.iqm, 40, alone.each)
    assert found.low == pytest.approx(alone.low, abs=0.3)
    assert found.high == pytest.approx(alone.high, abs=0.3)


def test_the_iqm_is_over_seeds_and_episodes_together() -> None:
    zeros, ones = interquartile_mean(np.zeros(6)), interquartile_mean(np.ones(6))
    found = pooled([zeros, ones, ones])  # 6 zeros and 12 ones: a quarter of 18 is cut at each end
    assert found.iqm == pytest.approx(0.8) and found.episodes == 18
    assert (found.low, found.high) == (0, 1)  # all three drawn may be the one, or never it


def test_seeds_that_differ_make_the_interval_wider_than_episodes_do() -> None:
    """Three policies that are each sure of their return tell little of a fourth."""
    sure = [interquartile_mean(np.full(50, value)) for value in (100.0, 200.0, 300.0)]
    assert pooled(sure).high - pooled(sure).low > 100


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.floats(-1e3, 1e3), min_size=5, max_size=5), min_size=1, max_size=4),
)
def test_an_interval_holds_between_the_least_and_the_most(returns: list[list[float]]) -> None:
    each = [interquartile_mean(np.array(one)) for one in returns]
    found, flat = pooled(each), np.ravel(returns)
    assert flat.min() - 1e-9 <= found.low <= found.high <= flat.max() + 1e-9
    assert found.low - 1e-9 <= found.iqm <= found.high + 1e-9 or len(returns) > 1
    assert compare(each, each) == "alike"


def test_better_is_what_the_interval_says() -> None:
    good, as_good, bad = (
        normal(seed, mean, 5, 40) for seed, mean in enumerate((100.0, 100.0, 80.0))
    )
    assert compare([good], [bad]) == "better"
    assert compare([bad], [good]) == "worse"
    assert compare([good], [as_good]) == "alike"
    # One seed of two is bad: what the plan is worth, nobody knows.
    assert compare([good, bad], [as_good]) == "alike"


def test_chance_is_seldom_called_better() -> None:
    """Of pairs of equal policies a difference is claimed in about a twentieth."""
    wrong = sum(
        compare([normal(2 * pair, 0, 1, 40)], [normal(2 * pair + 1, 0, 1, 40)]) != "alike"
        for pair in range(200)
    )
    assert wrong <= 24


@pytest.mark.parametrize("lengths", [(), (3, 4), (0,)])
def test_returns_that_do_not_go_together_are_refused(lengths: tuple[int, ...]) -> None:
    returns = [Return(iqm=0, low=0, high=0, episodes=3, each=[0.0] * n) for n in lengths]
    with pytest.raises(ValueError, match="as many episodes each"):
        pooled(returns)
