"""Levels are nested, have as many weights as is said, and leave each matrix some."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prune_search.policy.elastic import at_level, entries, fewest, kept, kernels
from prune_search.policy.reference import act
from tests.describable import POLICIES
from tests.describable import given as given_to


@settings(max_examples=40)
@given(st.sampled_from(sorted(POLICIES)), st.data())
def test_each_level_has_all_of_the_one_before(name: str, data: st.DataObject) -> None:
    policy = POLICIES[name]
    least, most = fewest(policy), kept(policy)
    counts = data.draw(st.sets(st.integers(least, most - 1), min_size=1, max_size=4))
    levels = [*sorted(counts), most]
    found = [at_level(policy, levels, level) for level in range(len(levels))]
    assert [kept(each) for each in found] == levels
    for sparse, dense in itertools.pairwise(found):
        for one, other in zip(kernels(sparse), kernels(dense), strict=True):
            assert np.array_equal(one.values, np.where(one.values == 0, 0, other.values))
            assert bool(one.values.any()) == bool(other.values.any())
    seen, state, noise = given_to(name, 5)
    for one, other in zip(
        act(found[-1], seen, state, noise), act(policy, seen, state, noise), strict=True
    ):
        assert np.array_equal(one, other)


def test_the_smallest_weights_of_a_matrix_go_first() -> None:
    policy = POLICIES["vector"]
    levels = [kept(policy) // 2, kept(policy)]
    for kernel, entry in zip(kernels(policy), entries(policy, levels), strict=True):
        sizes = np.abs(kernel.values)
        gone, left = sizes[(entry == 1) & (sizes > 0)], sizes[entry == 0]
        assert not len(gone) or not len(left) or gone.max() <= left.min()


@pytest.mark.parametrize("changed", [[0], [1, 1], [-1], [2.0], []])
def test_numbers_that_are_no_levels(changed: list[int]) -> None:
    policy = POLICIES["vector"]
    with pytest.raises(ValueError, match="levels must be 2 to 255 rising numbers of weights"):
        entries(policy, [*changed, kept(policy)])
    with pytest.raises(ValueError, match="levels must be"):
        entries(policy, [kept(policy) // 2, kept(policy) - 1])
