import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prune_search.sparsity import by_sensitivity, layer_ratios, select, sensitivity_ratios

Curves = dict[str, list[tuple[float, float]]]

curve = st.lists(
    # Values on a grid give flat stretches that several layers share.
    st.tuples(st.floats(0.0, 1.0), st.floats(-1.0, 1.5) | st.sampled_from([0.0, 0.5, 1.0])),
    max_size=6,
    unique_by=lambda point: point[0],
)
networks = st.lists(st.tuples(curve, st.integers(1, 500)), min_size=1, max_size=5)
ratios = st.floats(0.0, 0.9999)


@settings(max_examples=200)
@given(networks, ratios, ratios)
def test_totals_are_met_and_no_layer_falls(
    found: list[tuple[list[tuple[float, float]], int]], one: float, other: float
) -> None:
    curves = {str(number): points for number, (points, _) in enumerate(found)}
    sizes = {str(number): size for number, (_, size) in enumerate(found)}
    less, more = (sensitivity_ratios(curves, sizes, aim) for aim in sorted((one, other)))
    for chosen, aim in ((less, min(one, other)), (more, max(one, other))):
        assert list(chosen) == list(sizes)
        assert all(-1e-9 <= value <= 1.0 + 1e-9 for value in chosen.values())
        removed = sum(chosen[name] * sizes[name] for name in sizes)
        assert removed == pytest.approx(aim * sum(sizes.values()), abs=1e-6)
    assert all(less[name] <= more[name] + 1e-9 for name in sizes)


@settings(max_examples=100)
@given(curve, st.lists(st.integers(1, 500), min_size=1, max_size=4), ratios)
def test_equal_curves_have_equal_ratios(
    points: list[tuple[float, float]], sizes: list[int], aim: float
) -> None:
    layers = {str(number): size for number, size in enumerate(sizes)}
    found = sensitivity_ratios(dict.fromkeys(layers, points), layers, aim)
    assert list(found.values()) == pytest.approx([aim] * len(sizes), abs=1e-9)


def test_straight_lines_by_hand() -> None:
    # Retention 1 - r/2 and 1 - r up to 0.8: at level τ the ratios are 2·(1 - τ) and 1 - τ.
    curves: Curves = {"robust": [(0.8, 0.6)], "delicate": [(0.8, 0.2)]}
    sizes = {"robust": 100, "delicate": 100}
    found = sensitivity_ratios(curves, sizes, 0.45)
    assert found == pytest.approx({"robust": 0.6, "delicate": 0.3})
    # three quarters of the weights are delicate: (2·x + 3·x) / 4 = 0.25 at x = 0.2
    found = sensitivity_ratios(curves, {"robust": 100, "delicate": 300}, 0.25)
    assert found == pytest.approx({"robust": 0.4, "delicate": 0.2})


def test_flat_curves_share_equally_before_steep_ones_lose_anything() -> None:
    curves: Curves = {"a": [(0.8, 1.0)], "b": [(0.4, 1.0)], "steep": [(0.5, 0.0)]}
    sizes = dict.fromkeys(curves, 100)
    found = sensitivity_ratios(curves, sizes, 0.2)  # 60 of the 120 that cost nothing
    assert found == pytest.approx({"a": 0.4, "b": 0.2, "steep": 0.0})


def test_noise_does_not_stop_a_layer() -> None:
    """A dip that recovers is noise: the fit through both is what counts."""
    noisy: Curves = {"a": [(0.3, 0.7), (0.6, 0.9), (0.9, 0.1)], "b": [(0.5, 0.2)]}
    fitted: Curves = {"a": [(0.3, 0.8), (0.6, 0.8), (0.9, 0.1)], "b": [(0.5, 0.2)]}
    sizes = {"a": 70, "b": 30}
    for aim in (0.1, 0.4, 0.5, 0.8):
        assert sensitivity_ratios(noisy, sizes, aim) == pytest.approx(
            sensitivity_ratios(fitted, sizes, aim)
        )


def test_as_an_allocation() -> None:
    curves: Curves = {"a": [(0.9, 1.0)], "b": [(0.5, 0.2)]}
    params = {"a": torch.rand(10, 10), "b": torch.rand(10, 10)}
    chosen = by_sensitivity(curves)
    assert layer_ratios(chosen, {"a": (10, 10), "b": (10, 10)}, 0.45) == pytest.approx(
        {"a": 0.9, "b": 0.0}
    )
    masks = select("weight", params, ["a", "b"], [], params, {}, chosen, 0.4)
    assert [int(mask.sum()) for mask in masks.values()] == [20, 100]


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([(0.5, 1.0), (0.5, 0.9)], "the sensitivity curve of 'a' has a ratio twice"),
        ([(1.5, 1.0)], r"a ratio in the curve of 'a' must be in \[0, 1\], not 1.5"),
        ([(0.5, float("nan"))], r"the retention of 'a' at 0\.5 must be finite"),
    ],
)
def test_errors_name_the_layer(points: list[tuple[float, float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sensitivity_ratios({"a": points}, {"a": 10}, 0.5)
    with pytest.raises(ValueError, match=message):
        by_sensitivity({"a": points})


def test_missing_curves_and_ratios_out_of_range() -> None:
    with pytest.raises(ValueError, match="without a sensitivity curve: b, c"):
        sensitivity_ratios({"a": []}, {"a": 1, "b": 1, "c": 1}, 0.5)
    with pytest.raises(ValueError, match=r"ratio must be in \[0, 1\)"):
        sensitivity_ratios({"a": []}, {"a": 1}, 1.0)
    assert sensitivity_ratios({}, {}, 0.5) == {}
