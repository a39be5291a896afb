"""What curves would add to a front is what the front's own figure would gain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prune_search.records.fronts import area, log_compression
from tuners.search.curves.gain import CELLS, curves_attained, each_attained, gains
from tuners.search.curves.surrogate import Curves

PARAMETERS = 5_000
POINT = st.tuples(st.floats(0.0, 0.9995), st.floats(-0.5, 1.2))
POINTS = st.lists(POINT, max_size=6)


def exact(points: list[tuple[float, float]]) -> float:
    return area([(log_compression(s, PARAMETERS), min(r, 1.0)) for s, r in points])


def as_curves(points: list[tuple[float, float]]) -> Curves:
    sparsity, retention = np.array(points, dtype=float).reshape(-1, 2).T
    return Curves(
        sparsity[None, None], retention[None, None].clip(max=1.0), np.ones((1, len(points)), bool)
    )


@given(POINTS, st.lists(POINT, min_size=1, max_size=6))
def test_gain_is_the_difference_of_log_hypervolumes(
    front: list[tuple[float, float]], curve: list[tuple[float, float]]
) -> None:
    (level,) = each_attained([front], PARAMETERS)
    gained = gains(level, curves_attained(as_curves(curve), PARAMETERS))
    # Each end of a step is at most half a cell off, before and after.
    near = (len(front) + len(curve)) / CELLS
    assert gained.shape == (1, 1) and gained[0, 0] >= 0
    assert gained[0, 0] == pytest.approx(exact([*front, *curve]) - exact(front), abs=near)


def test_rounds_that_a_plan_does_not_have_add_nothing() -> None:
    curves = as_curves([(0.5, 0.9), (0.99, 1.0)])
    short = Curves(curves.sparsity, curves.retention, np.array([[True, False]]))
    level = curves_attained(short, PARAMETERS)
    assert level.max() == pytest.approx(0.9)
    assert np.array_equal(level[0], each_attained([[(0.5, 0.9)]], PARAMETERS))


@given(st.lists(POINTS, min_size=1, max_size=4))
def test_several_fronts_attain_together_what_all_their_points_do(
    fronts: list[list[tuple[float, float]]],
) -> None:
    together = each_attained([[point for front in fronts for point in front]], PARAMETERS)
    assert np.array_equal(each_attained(fronts, PARAMETERS).max(axis=0), together[0])
    assert each_attained([], PARAMETERS).shape == (0, CELLS)


def test_members_are_compared_with_fronts_of_their_own() -> None:
    curves = curves_attained(as_curves([(0.9, 1.0)]), PARAMETERS)
    both = np.concatenate([curves, curves])
    fronts = np.stack([np.zeros(CELLS), np.ones(CELLS)])
    assert (gains(fronts, both)[:, 0] > 0).tolist() == [True, False]
