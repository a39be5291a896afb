"""What is said of noisy returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prune_search.experiment.schema import Evaluation
from prune_search.records.intervals import (
    compare,
    differing,
    holding,
    pooled,
    retained,
    sides,
    summarised,
)
from prune_search.records.returns import Aggregate, Return, retention_of, return_at


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
    assert compare([failing], dense) == "worse"
    by_iqm = summarise(FAILING, "iqm")
    assert by_iqm.value == by_iqm.high == 500
    assert compare([by_iqm], summarise(np.full(20, 500.0), "iqm")) == "undecided"


def test_the_default_counts_every_episode() -> None:
    assert Evaluation().aggregate == "mean"


@settings(max_examples=100)
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
    assert found.iqm == found.value == pytest.approx(0.8) and found.episodes == 18
    half = 4.302653 * np.std([0, 1, 1], ddof=1) / np.sqrt(3)  # Student's t, 2 degrees
    assert (found.low, found.high) == (pytest.approx(0.8 - half), pytest.approx(0.8 + half))


def test_one_policy_is_told_from_the_dense_one_by_its_episodes() -> None:
    good, as_good, bad = (
        normal(seed, mean, 5, 40) for seed, mean in enumerate((100.0, 100.0, 80.0))
    )
    assert compare([good], bad) == "better"
    assert compare([bad], good) == "worse"
    assert compare([good], as_good) == compare([good], good) == "undecided"
    sure, dead = summarise(np.full(9, 500.0)), summarise(np.full(9, 9.0))
    assert compare([dead], sure) == "worse" and compare([sure], sure) == "undecided"


def test_a_plan_is_told_from_the_dense_policy_by_its_seeds() -> None:
    """However sure each is of its return: with five seeds nothing is said, with six it may be."""
    dense, sure = normal(0, 100, 5, 40), [summarise(np.full(40, 200.0 + n)) for n in range(10)]
    assert [compare(sure[:seeds], dense) for seeds in (2, 5)] == ["undecided"] * 2
    assert [compare(sure[:seeds], dense) for seeds in (6, 10)] == ["better"] * 2
    low = [summarise(np.full(40, 20.0 + n)) for n in range(10)]
    assert compare(low[:6], dense) == "worse" and sides(low[:6], dense) == (0, 6)
    assert compare([*sure[:5], low[0]], dense) == "undecided"  # 5 of 6
    assert compare([*sure[:8], low[0]], dense) == "better"  # 8 of 9
    assert compare([summarise(np.full(40, 100.0))] * 6, summarise(np.full(40, 100.0))) == (
        "undecided"
    )


def slow(value: float) -> Any:
    """A parameter of the slow tests."""
    return pytest.param(value, marks=pytest.mark.slow)


SHAPES: dict[str, Callable[[np.random.Generator, Any], Any]] = {
    "normal": lambda rng, size: rng.normal(size=size),
    "heavy-tailed": lambda rng, size: rng.standard_t(2.5, size=size),
    "skewed": lambda rng, size: rng.exponential(size=size) - np.log(2),
    "skewed down": lambda rng, size: np.log(2) - rng.exponential(size=size),
}
"""Distributions of which half lies above 0."""


@pytest.mark.parametrize("seeds", [1, 2, 5, *map(slow, (3, 4, *range(6, 11)))])
def test_better_and_worse_are_said_wrongly_as_seldom_as_stated(
    seeds: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of plans that are as often better than the dense policy as worse, and of one policy that is
    as good: whether seeds differ less than single episodes do, or more."""
    repeats, episodes, rates = 150, 20, {}
    for name, draw in SHAPES.items():
        rng, wrong = np.random.default_rng(seeds), 0
        for repeat in range(repeats):
            spread = (0.3, 3.0)[repeat % 2] if seeds > 1 else 0.0
            means = spread * draw(rng, (seeds, 1))
            each = means + (
                draw(rng, (seeds, episodes)) if seeds == 1 else rng.normal(size=(seeds, episodes))
            )
            dense = draw(rng, episodes) if seeds == 1 else rng.normal(size=episodes)
            *plan, policy = (plain(one) for one in [*each, dense])
            wrong += compare(plan, policy) != "undecided"
        rates[name] = wrong / repeats
    with capsys.disabled():
        told = ", ".join(f"{name} {rate:.1%}" for name, rate in rates.items())
        print(f"\nsaid wrongly with {seeds} seeds: {told}; stated 5%")
    assert sum(rates.values()) / len(rates) <= 0.07  # 600 cases: two standard errors above 5 %
    assert max(rates.values()) <= 0.1


def plain(each: Any) -> Return:
    """As `summarised` by the mean, with the interval's ends by the normal distribution."""
    half = 1.96 * np.std(each, ddof=1) / np.sqrt(len(each))
    low, high = np.mean(each) - half, np.mean(each) + half
    return Return(aggregate="mean", iqm=0.0, low=low, high=high, episodes=len(each), each=each)


def test_the_interval_over_seeds_holds_the_plan_s_return(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rates = {}
    for seeds in (2, 3, 5):
        rng, inside = np.random.default_rng(seeds), 0
        for _ in range(400):
            returns = rng.normal(size=(seeds, 1)) + rng.normal(size=(seeds, 20))
            found = pooled([plain(one) for one in returns])
            inside += found.low <= 0 <= found.high
        rates[seeds] = inside / 400
    with capsys.disabled():
        told = ", ".join(f"{rate:.1%} with {seeds} seeds" for seeds, rate in rates.items())
        print(f"\nintervals that hold the plan's return: {told}; stated 95%")
    assert min(rates.values()) >= 0.93


@pytest.mark.parametrize("spread", [0.1, slow(1.0)])
def test_the_interval_of_differences_from_one_dense_policy_has_its_noise(
    spread: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pruned policies that are as good in the mean, `spread` apart, beside one dense policy."""
    rates = {}
    for seeds in (2, 3, 5):
        rng, inside, without = np.random.default_rng(seeds), 0, 0
        for _ in range(400):
            dense = plain(rng.normal(size=20))
            pruned = spread * rng.normal(size=(seeds, 1)) + rng.normal(size=(seeds, 20))
            differences = [plain(one).value - dense.value for one in pruned]
            _, low, high = differing(differences, dense)
            inside += low <= 0 <= high
            _, low, high = differing(differences)
            without += low <= 0 <= high
        rates[seeds] = inside / 400
        assert without < inside
    with capsys.disabled():
        told = ", ".join(f"{rate:.1%} with {seeds} seeds" for seeds, rate in rates.items())
        print(f"\nintervals that hold no difference: {told}; stated 95%")
    assert min(rates.values()) >= 0.93


@pytest.mark.parametrize("lengths", [(), (3, 4), (0,)])
def test_returns_that_do_not_go_together_are_refused(lengths: tuple[int, ...]) -> None:
    returns = [Return(iqm=0, low=0, high=0, episodes=3, each=[0.0] * n) for n in lengths]
    with pytest.raises(ValueError, match="as many episodes each"):
        pooled(returns)


@pytest.mark.parametrize("aggregate", ["mean", "iqm"])
@pytest.mark.slow
def test_what_is_retained_lies_in_its_interval(aggregate: Aggregate) -> None:
    """In 95 % of the cases, with the dense policy and random actions measured as well."""
    held, cases, rng = 0, 300, np.random.default_rng(0)
    for _ in range(cases):
        luck = rng.normal(0, 20, 100)  # of an env seed, for all three
        returned, dense, random = (
            summarise(mean + luck + rng.normal(0, 10, 100), aggregate) for mean in (180, 200, 20)
        )
        low, high = retained(returned, dense, random)
        held += low <= 160 / 180 <= high
    assert 0.91 <= held / cases <= 0.98
    assert retained(dense, dense, random) == (1.0, 1.0)
    with pytest.raises(ValueError, match="as many episodes"):
        retained(dense, dense, normal(0, 0, 1, 50))
