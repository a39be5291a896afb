"""Fronts and hypervolumes against their definitions."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prune_search.experiment.search_section import Search
from prune_search.records.fronts import (
    best_returns,
    delivered,
    front,
    hypervolume,
    hypervolume_curve,
    log_hypervolume,
    noise,
    sparsest,
)
from prune_search.records.models import Point
from prune_search.records.objectives import OBJECTIVES, objectives
from prune_search.records.returns import Return
from prune_search.trial.constraints import violations
from tests.studies import BASELINE, make_point, make_trial

axis = st.integers(0, 20).map(lambda step: step / 20)


def point(sparsity: float, retention: float, trial: int = 0, number: int = 0) -> Point:
    return Point(
        trial=trial,
        round=number,
        progress=1,
        target=sparsity,
        sparsity=sparsity,
        weight_sparsity=sparsity,
        trained_sparsity=sparsity,
        parameters=100,
        nonzero=round(100 * (1 - sparsity)),
        compression=100 / max(1, round(100 * (1 - sparsity))),
        layers={},
        returned=Return(iqm=retention, low=retention, high=retention, episodes=1),
        return_pruned=0,
        return_training=None,
        retention=retention,
        env_steps=1,
        train_s=0,
        eval_s=0,
        time=0,
        checkpoint="",
    )


points = st.lists(st.tuples(axis, axis), max_size=15).map(
    lambda pairs: [point(s, r, number=i) for i, (s, r) in enumerate(pairs)]
)


def dominates(a: Point, b: Point) -> bool:
    at_least = a.sparsity >= b.sparsity and a.retention >= b.retention
    return at_least and (a.sparsity, a.retention) != (b.sparsity, b.retention)


@given(points)
def test_front_is_what_nothing_dominates(pool: list[Point]) -> None:
    found = front(pool)
    kept = {(p.sparsity, p.retention) for p in found}
    assert len(kept) == len(found)  # no point twice
    assert kept == {
        (p.sparsity, p.retention) for p in pool if not any(dominates(q, p) for q in pool)
    }
    assert [p.sparsity for p in found] == sorted(p.sparsity for p in found)
    for p in found:  # of equals, the earliest
        assert p.round == min(
            q.round for q in pool if (q.sparsity, q.retention) == (p.sparsity, p.retention)
        )


@settings(max_examples=50)
@given(points)
def test_hypervolume_is_the_area_below_the_front(pool: list[Point]) -> None:
    cells = sum(
        any(p.sparsity * 20 >= i + 0.5 and p.retention * 20 >= j + 0.5 for p in pool)
        for i in range(20)
        for j in range(20)
    )
    assert hypervolume(pool) == pytest.approx(cells / 400)
    assert hypervolume(front(pool)) == pytest.approx(hypervolume(pool))


@given(points)
def test_log_hypervolume_is_the_area_below_the_front_of_logarithms(pool: list[Point]) -> None:
    """Of 100 parameters: a half of them gone is less than a sixth of the way."""
    worth = 0.0
    reached = 0.0
    for best in sorted(front(pool), key=lambda p: p.sparsity):
        place = math.log(100 / max(1, best.nonzero)) / math.log(100)
        worth += (place - reached) * best.retention
        reached = place
    assert log_hypervolume(pool) == pytest.approx(worth)


def test_the_sparse_end_counts_as_much_as_what_comes_before() -> None:
    at = {s: log_hypervolume([point(s, 1.0)]) for s in (0.0, 0.75, 0.95, 0.99, 1.0)}
    assert at[0.0] == 0.0 and at[0.99] == pytest.approx(1.0) and at[1.0] == 1.0
    assert at[0.99] - at[0.95] == pytest.approx(at[0.95] - at[0.75])
    # What improves on the dense policy goes no further for that; what is broken counts for nothing.
    assert log_hypervolume([point(0.75, 1.5)]) == at[0.75]
    assert log_hypervolume([point(0.75, -0.5)]) == 0.0


def test_negative_retention_adds_nothing() -> None:
    assert hypervolume([point(0.9, -0.2)]) == 0
    assert hypervolume([point(0.9, -0.2), point(0.5, 0.5)]) == pytest.approx(0.25)


def test_what_a_trial_delivers() -> None:
    pool = [point(0.5, 1.0), point(0.8, 0.96), point(0.9, 0.7)]
    assert delivered(pool, 0.95).sparsity == 0.8
    assert delivered(pool, 0.99).sparsity == 0.5
    assert delivered(pool[2:], 0.95).sparsity == 0.9  # none holds: the best there is
    assert sparsest(pool[2:], 0.95) is None
    assert {level: p.sparsity for level, p in best_returns(pool, (0.5, 0.85, 0.99)).items()} == {
        0.5: 0.5,
        0.85: 0.9,
    }


def test_violations_are_shares_of_what_is_allowed() -> None:
    held = make_point(0, 1, 0.8, BASELINE.return_at(0.96))
    held = held.model_copy(update={"macs": 300, "nonzero": 50, "latency_us": 20.0})
    trial = make_trial(0, points=[held, make_point(0, 2, 0.9, BASELINE.return_at(0.2))])
    limits = {
        "min_return": BASELINE.return_at(0.9),
        "max_parameters": 100,
        "max_macs": 200,
        "max_latency_us": 20.0,
    }
    search = Search(constraints=limits)  # type: ignore[arg-type]
    assert violations(trial, search, BASELINE) == pytest.approx(
        {"min_return": -0.06, "max_parameters": -0.5, "max_macs": 0.5, "max_latency_us": 0.0}
    )
    assert violations(trial, Search(), BASELINE) == {}
    values = objectives(trial, 0.95)
    assert values["sparsity_at_retention"] == held.sparsity
    assert (values["macs"], values["latency_us"]) == (300, 20.0)
    assert objectives(trial, 0.97)["sparsity_at_retention"] == 0
    assert set(OBJECTIVES) == set(values)


def test_the_curve_counts_the_steps_of_all_trials_as_they_come() -> None:
    """Two trials side by side; a point that improves nothing adds steps alone."""

    def at(trial: int, round: int, time: float, sparsity: float, retention: float) -> Point:
        made = make_point(trial, round, sparsity, BASELINE.return_at(retention))
        return made.model_copy(
            update={"time": time, "env_steps": 100 * round, "sparsity": sparsity}
        )

    first = make_trial(0, points=[at(0, 1, 1.0, 0.5, 1.0), at(0, 2, 3.0, 0.8, 0.5)])
    second = make_trial(1, points=[at(1, 1, 2.0, 0.4, 0.9), at(1, 2, 4.0, 0.2, 0.1)])
    curve = hypervolume_curve([first, second])
    assert [steps for steps, _ in curve] == [100, 300, 400]
    assert [value for _, value in curve] == pytest.approx([0.5, 0.65, 0.65])
    assert hypervolume_curve([]) == []


@pytest.mark.parametrize(
    ("dense", "env_steps", "expected"),
    [
        ((50.0, 20.5, 80.0), 60_000, ""),  # apart
        ((50.0, 20.0, 80.0), 60_000, "train it longer: baseline.env_steps"),
        ((50.0, 10.0, 80.0), 0, "take a policy that was trained longer: baseline.checkpoint"),
        ((10.0, 5.0, 80.0), 60_000, ""),  # which is refused
    ],
)
def test_a_baseline_whose_interval_overlaps_that_of_random_actions_is_noise(
    dense: tuple[float, float, float], env_steps: int, expected: str
) -> None:
    def returned(value: float, low: float, high: float) -> Return:
        return Return(iqm=value, low=low, high=high, episodes=6)

    measured = {"returned": returned(*dense), "random": returned(15.0, 11.0, 20.0)}
    notes = noise(BASELINE.model_copy(update={**measured, "env_steps": env_steps}))
    assert len(notes) == bool(expected)
    if expected:
        assert notes[0].startswith("baseline: its return, 50.0 [")
        assert notes[0].endswith(
            f"can hardly be told from that of random actions, 15.0 [11.0, 20.0]:"
            f" retention is mostly noise; {expected}"
        )
