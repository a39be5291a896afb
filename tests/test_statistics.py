"""What is said of noisy returns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prune_search.experiment import Evaluation
from prune_search.record import Aggregate, Return, retention_of, return_at
from prune_search.statistics import compare, holding, pooled, summarised


def summarise(returns: Any, aggregate: Aggregate = "iqm") -> Return:
    return summarised(np.asarray(returns, dtype=float), aggregate)


def normal(seed: int, mean: float, spread: float, episodes: int) -> Return:
    return summarise(np.random.default_rng(seed).normal(mean, spread, episodes))


FAILING = [10.0] * 4 + [500.0] * 16
"""Returns of a policy that fails in 4 of 20 episodes."""


def test_a_policy_that_fails_in_a_fifth_of_its_episodes_is_not_whole() -> None:
    dense, random = summarise(np.full(20, 500.0), "mean"), summarise(np.full(20, 20.0), "mean")
    failing = summarise(FAILING, "mean")
    assert failing.iqm == 500 and failing.value == failing.mean == pytest.approx(402)
    assert failing.low < 402 < failing.high < 500
    assert retention_of(failing.value, dense, random) == pytest.approx(0.796, abs=1e-3)
    assert failing.worst == 10  # the mean of its two worst episodes
    held = holding(failing, return_at(0.5, dense, random))
    assert held is not None and held.share == 0.8
    # Wilson's formula by hand.
    assert (held.low, held.high) == (
        pytest.approx(0.5840, abs=1e-4),
        pytest.approx(0.9193, abs=1e-4),
    )
    assert compare([failing], [dense]) == "worse"
    by_iqm = summarise(FAILING, "iqm")
    assert by_iqm.value == by_iqm.high == 500
    assert compare([by_iqm], [summarise(np.full(20, 500.0), "iqm")]) == "alike"


def test_the_default_counts_every_episode() -> None:
    assert Evaluation().aggregate == "mean"


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=60))
def test_the_worst_tenth_is_the_conditional_value_at_risk(returns: list[float]) -> None:
    """Rockafellar & Uryasev 2000, theorem 1: max over c of c - E[(c - X)+] / a, at an episode."""
    found = Return(iqm=0, low=0, high=0, episodes=len(returns), each=returns)
    x, a = np.array(returns), max(0.1, 1 / len(returns))
    best = max(c - np.maximum(c - x, 0).mean() / a for c in returns)
    assert found.worst == pytest.approx(best, abs=1e-6)
    assert found.worst is not None and found.mean is not None and found.worst <= found.mean + 1e-9


def test_records_of_earlier_versions_count_by_their_iqm() -> None:
    """Which is what their points' retention was computed from."""
    old = Return.model_validate({"iqm": 500.0, "low": 490.0, "high": 500.0, "episodes": 20})
    assert old.value == 500 and old.mean is None and old.worst is None
    assert holding(old, 100) is None
    kept = Return.model_validate({**old.model_dump(exclude={"aggregate"}), "each": FAILING})
    assert kept.value == 500 and kept.mean == pytest.approx(402) and kept.worst == 10


def test_the_share_that_holds_lies_in_its_interval() -> None:
    """In 95 % of cases, about: seen over many policies that fail in a tenth of their episodes."""
    generator = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        each = np.where(generator.random(20) < 0.1, 10.0, 500.0).tolist()
        held = holding(Return(iqm=0, low=0, high=0, episodes=20, each=each), 260)
        assert held is not None
        inside += held.low <= 0.9 <= held.high
    assert inside >= 0.93 * 400


def test_interquartile_mean() -> None:
    few = summarise(np.array([0.0, 1.0, 2.0, 100.0]))
    assert few.iqm == 1.5 and few.each == [0, 1, 2, 100]
    same = summarise(np.full(10, 7.0))
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
    zeros, ones = summarise(np.zeros(6)), summarise(np.ones(6))
    found = pooled([zeros, ones, ones])  # 6 zeros and 12 ones: a quarter of 18 is cut at each end
    assert found.iqm == pytest.approx(0.8) and found.episodes == 18
    assert (found.low, found.high) == (0, 1)  # all three drawn may be the one, or never it


def test_seeds_that_differ_make_the_interval_wider_than_episodes_do() -> None:
    """Three policies that are each sure of their return tell little of a fourth."""
    sure = [summarise(np.full(50, value)) for value in (100.0, 200.0, 300.0)]
    assert pooled(sure).high - pooled(sure).low > 100


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.floats(-1e3, 1e3), min_size=5, max_size=5), min_size=1, max_size=4),
)
def test_an_interval_holds_between_the_least_and_the_most(returns: list[list[float]]) -> None:
    each = [summarise(np.array(one)) for one in returns]
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
