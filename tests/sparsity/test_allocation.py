import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prune_search.sparsity import layer_ratios

MLP = {"0": (512, 6), "1": (512, 512), "2": (3, 512)}

linear = st.tuples(st.integers(1, 300), st.integers(1, 300))
convolution = st.tuples(
    st.integers(1, 64), st.integers(1, 64), st.integers(1, 8), st.integers(1, 8)
)
shapes = st.lists(linear | convolution, min_size=1, max_size=6).map(
    lambda found: {str(number): shape for number, shape in enumerate(found)}
)
ratios = st.floats(0.0, 0.9999)


@pytest.mark.parametrize(
    ("ratio", "expected"), [(0.95, [0.0, 0.967, 0.0]), (0.98, [0.563, 0.990, 0.130])]
)
def test_erk_reference_values(ratio: float, expected: list[float]) -> None:
    found = layer_ratios("erk", MLP, ratio)
    assert found is not None
    assert [round(value, 3) for value in found.values()] == expected


@settings(deadline=None, max_examples=200)
@given(shapes, ratios, st.sampled_from(["uniform", "erk"]))
def test_the_total_is_the_ratio(
    shapes: dict[str, tuple[int, ...]], ratio: float, name: str
) -> None:
    found = layer_ratios(name, shapes, ratio)
    assert found is not None
    assert list(found) == list(shapes)
    assert all(0.0 <= value <= 1.0 for value in found.values())
    sizes = {layer: math.prod(shape) for layer, shape in shapes.items()}
    removed = sum(found[layer] * sizes[layer] for layer in shapes)
    assert removed / sum(sizes.values()) == pytest.approx(ratio, abs=1e-9)


@settings(deadline=None, max_examples=100)
@given(shapes, ratios, ratios)
def test_erk_grows_in_every_layer(
    shapes: dict[str, tuple[int, ...]], one: float, other: float
) -> None:
    less = layer_ratios("erk", shapes, min(one, other))
    more = layer_ratios("erk", shapes, max(one, other))
    assert less is not None and more is not None
    assert all(less[layer] <= more[layer] + 1e-9 for layer in shapes)


def test_uniform_is_the_same_everywhere() -> None:
    assert layer_ratios("uniform", MLP, 0.7) == {"0": 0.7, "1": 0.7, "2": 0.7}


def test_global_leaves_it_to_the_scores() -> None:
    assert layer_ratios("global", MLP, 0.7) is None


@pytest.mark.parametrize("ratio", [-0.1, 1.0, float("nan")])
@pytest.mark.parametrize("name", ["uniform", "erk", "global"])
def test_a_ratio_out_of_range_is_an_error(name: str, ratio: float) -> None:
    with pytest.raises(ValueError, match=r"ratio must be in \[0, 1\)"):
        layer_ratios(name, MLP, ratio)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'lamp'; known: uniform, erk, global"):
        layer_ratios("lamp", MLP, 0.5)
