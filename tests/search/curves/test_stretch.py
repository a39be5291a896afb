"""What is believed of how much sooner networks break on a task than on others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.plans import plan
from tuners.search.curves.features import Encoding, log_density
from tuners.search.curves.stretch import FACTORS, believed, drawn, stretched


@given(st.integers(0, 5), st.integers(0, len(FACTORS) - 1))
def test_each_trial_makes_the_factor_that_tells_it_best_more_likely(trials: int, best: int) -> None:
    wrong = np.full((len(FACTORS), trials), 0.1)
    wrong[best] = 0.01
    likely, before = believed(wrong), believed(wrong[:, :0])
    assert likely.sum() == pytest.approx(1.0)
    assert before[::-1] == pytest.approx(before)  # sooner is as likely as later
    assert likely[best] > before[best] if trials else (likely == before).all()


def test_draws_are_spread_as_it_is_believed() -> None:
    likely = np.zeros(len(FACTORS))
    likely[[3, 9]] = 0.25, 0.75
    found = drawn(likely, 24, np.random.default_rng(0))
    assert sorted(found) == [FACTORS[3]] * 6 + [FACTORS[9]] * 18
    assert list(found) != sorted(found)


def test_nothing_but_log_densities_is_stretched() -> None:
    plans = [plan(), plan(criterion="random"), plan(schedule="one_shot", rounds=2)]
    encoding = Encoding(plans)
    rows = encoding.every((each, [0.5, 1.0], 1.0) for each in plans)
    assert (rows.features[:, encoding.asked] == rows.asked).all()
    assert rows.asked[-1] == pytest.approx(log_density(0.8))
    found = stretched(rows.features.astype(np.float32), [encoding.asked], [1, 2, 1, 2, 1, 2])
    assert found[1::2, encoding.asked] == pytest.approx(2 * rows.asked[1::2])
    assert found[::2] == pytest.approx(rows.features[::2])
    others = np.delete(np.arange(found.shape[1]), encoding.asked)
    assert found[:, others] == pytest.approx(rows.features[:, others])
