"""Proposals are plans of the space, near to their parents or from anywhere in it."""

from __future__ import annotations

import numpy as np
import optuna
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.search.test_space import EVERYTHING
from tuners.search.curves.proposals import propose
from tuners.search.space import Space

SPACE = Space(EVERYTHING)


@settings(max_examples=15)
@given(st.integers(0, 2**31))
def test_parameters_make_the_plan_again(seed: int) -> None:
    found = propose(SPACE, np.random.default_rng(seed), [], drawn=20, changed=0)
    nested = propose(
        SPACE, np.random.default_rng(seed), [one.params for one in found], drawn=5, changed=20
    )
    for proposal in [*found, *nested]:
        assert SPACE(optuna.trial.FixedTrial(proposal.params)) == proposal.plan
    plans = [one.plan for one in nested]
    assert len(set(map(repr, plans))) == len(plans)


def test_a_child_has_most_of_its_parent_and_is_another() -> None:
    generator = np.random.default_rng(0)
    (parent,) = propose(SPACE, generator, [], drawn=1, changed=0)
    children = propose(SPACE, generator, [parent.params], drawn=0, changed=200)
    others = propose(SPACE, generator, [], drawn=200, changed=0)
    assert parent.plan not in [child.plan for child in children]

    def alike(proposals: list) -> float:  # type: ignore[type-arg]
        return float(np.mean([one.plan.criterion == parent.plan.criterion for one in proposals]))

    assert alike(children) > 0.6
    assert alike(others) < 0.4
    scales = {child.params["end"] for child in children if "end" in child.params}
    assert len(scales) > 1 or "end" not in parent.params


def test_without_parents_all_are_drawn() -> None:
    found = propose(SPACE, np.random.default_rng(0), [], drawn=0, changed=10)
    assert len({one.plan.granularity for one in found}) == 2
