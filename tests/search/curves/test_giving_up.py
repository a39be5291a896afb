"""Predicted rounds end where `why_over` would end their trial, and nowhere else."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from prune_search.experiment.pruning import Pruning
from prune_search.plan.plan import Plan
from prune_search.records.models import TrialRecord
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


def run(trial: TrialRecord, kept: list[float], pruning: Pruning) -> TrialRecord:
    """A trial until it is over, from its next round on, whose rounds keep this."""
    for index in range(len(trial.points), len(kept)):
        changes = {"progress": (index + 1) / trial.plan.rounds, "retention": kept[index]}
        point = make_point(0, index, 0.5, 0.0).model_copy(update=changes)
        trial = trial.model_copy(update={"points": [*trial.points, point]})
        if why_over(trial, pruning):
            break
    return trial.model_copy(update={"state": "complete"})


def begun(plan: Plan) -> TrialRecord:
    return TrialRecord(number=0, plan=plan, state="running", started=0.0)


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
            expected = len(run(begun(plan), of_plan, pruning).points)
            assert rounds.tolist() == [index < expected for index in range(ROUNDS)]


@given(
    st.lists(KEPT, min_size=len(PLANS), max_size=len(PLANS)),
    st.integers(1, 3),
    st.sampled_from([0.5, 1.0]),
)
def test_of_a_trial_that_goes_on_only_what_is_still_to_come_is_there(
    kept: list[list[float]], patience: int, floor: float
) -> None:
    pruning = Pruning(floor=floor, patience=patience)
    trials = [run(begun(plan), one, pruning) for plan, one in zip(PLANS, kept, strict=True)]
    done = [len(trial.points) for trial in trials]
    # What is predicted of rounds that have been is not what they were, and does not matter.
    retention = np.array([kept])
    there = np.array([np.arange(ROUNDS) < plan.rounds for plan in PLANS])
    curves = Curves(np.full(retention.shape, 0.5), retention, there)
    found = np.broadcast_to(until_given_up(curves, PLANS, pruning, done).there, retention.shape)
    for rounds, of_plan, trial in zip(found[0], kept, trials, strict=True):
        if not trial.given_up:
            assert not rounds.any()
            continue
        again = run(trial.going_on(), of_plan, pruning)
        expected = range(len(trial.points), len(again.points))
        assert np.flatnonzero(rounds).tolist() == list(expected)
