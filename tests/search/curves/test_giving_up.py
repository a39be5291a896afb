"""Predicted rounds end where `why_over` would end their trial, and nowhere else."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from prune_search.experiment.pruning import Pruning
from prune_search.plan.plan import Plan
from prune_search.trial.rounds import why_over
from tests.plans import plan as make_plan
from tests.studies import make_point
from tuners.search.curves.giving_up import until_given_up
from tuners.search.curves.surrogate import Curves

ROUNDS = 7
KEPT = st.lists(st.sampled_from([0.0, 0.4, 0.5, 1.0]), min_size=ROUNDS, max_size=ROUNDS)
PLANS = [
    make_plan(schedule=schedule, origin=origin, ratio=0.9, rounds=rounds)
    for schedule in ("linear", "gated")
    for origin in ("baseline", "scratch")
    for rounds in (3, ROUNDS)
]


def rounds_of(kept: list[float], plan: Plan, pruning: Pruning) -> int:
    """How many rounds a trial has whose rounds keep this."""
    points = []
    for index, retention in enumerate(kept):
        changes = {"progress": (index + 1) / plan.rounds, "retention": retention}
        points.append(make_point(0, index, 0.5, 0.0).model_copy(update=changes))
        if why_over(points, plan, pruning):
            break
    return len(points)


@given(
    st.lists(st.lists(KEPT, min_size=len(PLANS), max_size=len(PLANS)), min_size=1, max_size=3),
    st.integers(1, ROUNDS + 2),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_each_members_rounds_are_those_that_a_trial_would_have(
    kept: list[list[list[float]]], patience: int, floor: float
) -> None:
    pruning = Pruning(floor=floor, patience=patience)
    retention = np.array(kept)
    there = np.array([np.arange(ROUNDS) < plan.rounds for plan in PLANS])
    curves = Curves(np.full(retention.shape, 0.5), retention, there)
    found = np.broadcast_to(until_given_up(curves, PLANS, pruning).there, retention.shape)
    for member, of_member in zip(found, kept, strict=True):
        for rounds, of_plan, plan in zip(member, of_member, PLANS, strict=True):
            expected = rounds_of(of_plan, plan, pruning)
            assert rounds.tolist() == [index < expected for index in range(ROUNDS)]
