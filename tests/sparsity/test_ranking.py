import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prune_search.sparsity.ranking import ascending, lowest

TYPES = st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.int64])
VALUES = st.lists(
    st.sampled_from([-math.inf, -2.0, -0.0, 0.0, 1.0, 3.0, math.inf]) | st.floats(-4, 4, width=16),
    max_size=40,
)


@settings(max_examples=300)
@given(VALUES, st.integers(-1, 42), TYPES)
def test_the_lowest_are_the_first_of_a_stable_sort(
    found: list[float], count: int, dtype: torch.dtype
) -> None:
    if not dtype.is_floating_point:
        found = [value for value in found if math.isfinite(value)]
    values = torch.tensor(found, dtype=dtype)
    expected = torch.zeros(len(found), dtype=torch.bool)
    expected[torch.argsort(values, stable=True)[: max(0, count)]] = True
    assert torch.equal(lowest(values, count), expected)


@given(VALUES, TYPES)
def test_in_order(found: list[float], dtype: torch.dtype) -> None:
    values = torch.tensor([v for v in found if math.isfinite(v)], dtype=dtype)
    assert torch.equal(ascending(values), values.sort().values)
    assert ascending(values).dtype == dtype


def test_scores_stay_as_they_are_and_need_no_gradient() -> None:
    values = torch.tensor([3.0, 1.0, 2.0], requires_grad=True)
    assert lowest(values, 2).tolist() == [False, True, True]
    assert ascending(values).tolist() == [1.0, 2.0, 3.0]
    assert values.tolist() == [3.0, 1.0, 2.0]
