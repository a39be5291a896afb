"""Predicted curves follow what was measured, and doubt what was not."""

from __future__ import annotations

import numpy as np
import pytest

from prune_search.plan.plan import Plan
from tests.benchmarks.recorded.made_up import drawn, retention, rounds
from tuners.search.curves.surrogate import (
    BORROWED,
    DRAWN,
    MEMBERS,
    Experience,
    Measured,
    Surrogate,
    _drawn,
)


def shown(plan: Plan, error: float = 0.0, shift: float = 0.0) -> Experience:
    """A trial of the made-up task, without noise."""
    measured = rounds(plan, np.random.default_rng(0))
    return Experience(
        plan,
        [
            Measured(r.progress, r.sparsity, retention(plan, r.sparsity) + shift, error)
            for r in measured
        ],
    )


@pytest.fixture(scope="module")
def plans() -> list[Plan]:
    return drawn("cartpole", 90)


def test_whole_curves_are_predicted(plans: list[Plan]) -> None:
    known, asked = plans[:60], plans[60:]
    curves = Surrogate([shown(plan) for plan in known], asked, seed=0).predict(asked)
    assert curves.sparsity.shape == curves.retention.shape == (24, 30, 8)
    assert (np.diff(curves.sparsity, axis=2) >= -1e-12).all()
    assert (curves.sparsity >= 0).all() and (curves.sparsity < 1).all()
    assert (curves.retention >= 0).all() and (curves.retention <= 1).all()
    assert [row.sum() for row in curves.there] == [plan.rounds for plan in asked]
    true = [shown(plan).rounds for plan in asked]
    kept = [
        (curves.retention[:, i, k].mean(), r.retention)
        for i, rounds_ in enumerate(true)
        for k, r in enumerate(rounds_)
    ]
    predicted, real = np.array(kept).T
    assert np.sqrt(np.mean((predicted - real) ** 2)) < 0.7 * real.std()
    # What a ratio asks for is nearly all there is to know of the sparsity.
    ends = [
        (curves.sparsity[:, i, plan.rounds - 1].mean(), true[i][-1].sparsity)
        for i, plan in enumerate(asked)
        if plan.ratio is not None and plan.scope != "critic"
    ]
    assert np.max(np.abs(np.subtract(*np.array(ends).T))) < 0.05


def test_members_agree_on_what_was_measured_often_and_differ_elsewhere(plans: list[Plan]) -> None:
    near = [plan for plan in plans if plan.origin == "baseline"]
    far = [plan for plan in plans if plan.origin == "scratch"]
    known = [shown(plan) for plan in near[:20]] + [shown(plan, shift=-0.5) for plan in far[:2]]
    surrogate = Surrogate(known, [near[0], *far[2:]], seed=0)
    doubt = surrogate.predict([near[0]]).retention.std(axis=0).mean()
    assert surrogate.predict(far[2:]).retention.std(axis=0).mean() > 1.5 * doubt


def test_what_many_episodes_tell_counts_more_than_what_few_do(plans: list[Plan]) -> None:
    one = plans[0]
    sure, unsure = shown(one, error=0.01, shift=-0.3), shown(one, error=1.0)
    found = Surrogate([sure, unsure, sure, unsure], [one], seed=0).predict([one])
    wanted = np.array([r.retention for r in sure.rounds]).clip(0, 1)
    assert np.abs(found.retention.mean(axis=0)[0] - wanted).mean() < 0.1


def test_the_same_seed_predicts_the_same(plans: list[Plan]) -> None:
    known = [shown(plan) for plan in plans[:10]]
    one, same, other = (
        Surrogate(known, plans[10:20], seed).predict(plans[10:20]).retention for seed in (1, 1, 2)
    )
    assert np.array_equal(one, same) and not np.array_equal(one, other)


def test_other_tasks_tell_until_there_are_trials_that_tell_otherwise(plans: list[Plan]) -> None:
    """Elsewhere all is kept; here nothing is."""
    others = [Experience(plan, [Measured(0.5, 0.9, 1.0, 0.0)]) for plan in plans[:40]]
    here = [Experience(plan, [Measured(0.5, 0.9, 0.0, 0.0)]) for plan in plans[40:80]]
    kept = [
        Surrogate(here[:count], plans[80:], 0, others).predict(plans[80:]).retention.mean()
        for count in (0, 4, 16, 40)
    ]
    assert kept[0] == 1.0 and kept == sorted(kept, reverse=True) and kept[-1] < 0.2


def test_env_steps_are_counted_in_those_of_the_tasks_baseline(plans: list[Plan]) -> None:
    """A trial as long as the baseline's training helps here as it does where that takes longer."""
    short = [plan.model_copy(update={"env_steps": 30_000}) for plan in plans[:20]]
    long = [plan.model_copy(update={"env_steps": 300_000}) for plan in plans[:20]]
    others = [
        Experience(plan, [Measured(1.0, 0.9, kept, 0.0)], unit=300_000.0)
        for many, kept in ((short, 0.0), (long, 1.0))
        for plan in many
    ]
    found = Surrogate([], short, 0, others, unit=30_000.0).predict(short).retention
    assert found.mean() > 0.8


def test_of_many_trials_each_member_sees_some_and_together_they_see_all() -> None:
    generator = np.random.default_rng(0)
    drawn = [_drawn(200, 30, generator) for _ in range(MEMBERS)]
    own = [[one for one in each if one < 200] for each in drawn]
    assert {len(each) for each in own} == {DRAWN}
    assert {len(each) for each in drawn} == {DRAWN + BORROWED}
    assert len({one for each in own for one in each}) > 0.99 * 200
    few = _drawn(10, 0, generator)
    assert len(few) == 10 and few.max() < 10
