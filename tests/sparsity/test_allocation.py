import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from prune_search.sparsity import (
    ALLOCATIONS,
    MaskSet,
    layer_ratios,
    proportional,
    prune,
    select,
    size,
)

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


@settings(max_examples=200)
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


@settings(max_examples=100)
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


@pytest.mark.parametrize("name", ["global", "lamp"])
def test_the_scores_decide(name: str) -> None:
    assert layer_ratios(name, MLP, 0.7) is None


class TestProportional:
    @settings(max_examples=200)
    @given(shapes, ratios, ratios, st.data())
    def test_totals_are_met_and_densities_in_proportion(
        self, shapes: dict[str, tuple[int, ...]], one: float, other: float, data: st.DataObject
    ) -> None:
        densities = {name: data.draw(st.floats(0.001, 1.0)) for name in shapes}
        sizes = {layer: math.prod(shape) for layer, shape in shapes.items()}
        found = []
        for ratio in sorted((one, other)):
            chosen = layer_ratios(proportional(densities), shapes, ratio)
            assert chosen is not None
            removed = sum(chosen[layer] * sizes[layer] for layer in shapes)
            assert removed / sum(sizes.values()) == pytest.approx(ratio, abs=1e-9)
            scale = max((1 - chosen[name]) / densities[name] for name in shapes)
            for name, value in chosen.items():
                assert 1 - value == pytest.approx(min(1.0, scale * densities[name]), rel=1e-6)
            found.append(chosen)
        less, more = found
        assert all(less[layer] <= more[layer] + 1e-9 for layer in shapes)

    def test_by_hand(self) -> None:
        # 100 of 400 weights stay: 0.25 · (0.4, 0.2, 0.3, 0.1) / 0.25
        square = dict.fromkeys("abcd", (10, 10))
        chosen = proportional({"a": 0.4, "b": 0.2, "c": 0.3, "d": 0.1})
        found = layer_ratios(chosen, square, 0.75)
        assert found == pytest.approx({"a": 0.6, "b": 0.8, "c": 0.7, "d": 0.9})
        # At 300: a and c are full, and b and d share 100 as 2 to 1.
        found = layer_ratios(chosen, square, 0.25)
        assert found == pytest.approx({"a": 0.0, "b": 1 / 3, "c": 0.0, "d": 2 / 3})

    def test_select_takes_it(self) -> None:
        params = {"a": torch.rand(10, 10), "b": torch.rand(10, 10)}
        chosen = proportional({"a": 0.3, "b": 0.1})
        masks = select("weight", params, ["a", "b"], [], params, {}, chosen, 0.8)
        assert [int(mask.sum()) for mask in masks.values()] == [30, 10]

    def test_errors(self) -> None:
        for density in (0.0, 1.1, float("nan")):
            with pytest.raises(ValueError, match=r"density of 'a' must be in \(0, 1\]"):
                proportional({"a": density})
        with pytest.raises(ValueError, match="without a density: 1, 2"):
            layer_ratios(proportional({"0": 0.5}), MLP, 0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", ["uniform", "global", "erk", "lamp"])
def test_step_by_step_masks_only_shrink_and_ratios_are_met(name: str, dtype: torch.dtype) -> None:
    params = {layer: torch.randn(8, 8).to(dtype) for layer in "ab"} | {"none": torch.empty(0, 4)}
    masks, gone = MaskSet(), 0
    for ratio in (0.25, 0.5, 0.75, 0.9):
        before = dict(masks.masks)
        prune(masks, params, ratio, allocation=name)
        assert all((masks.masks[layer] <= mask).all() for layer, mask in before.items())
        gone = sum(int((~mask).sum()) for mask in masks.masks.values())
        assert gone == pytest.approx(ratio * 128, abs=1)
    assert gone == 128 - size(params).nonzero


def lamp(scores: Tensor) -> Tensor:
    rescale = ALLOCATIONS["lamp"].rescale
    assert rescale is not None
    return rescale(scores)


class TestLamp:
    def test_by_hand(self) -> None:
        # 1/(1+4+9), 4/(4+9), 9/9
        found = lamp(torch.tensor([1.0, 2.0, 3.0]))
        assert found.tolist() == pytest.approx([1 / 14, 4 / 13, 1.0])
        # of equal ones the first is the lower
        assert lamp(torch.tensor([2.0, 2.0])).tolist() == [0.5, 1.0]
        assert lamp(torch.zeros(2)).tolist() == [0.0, 0.0]

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_what_is_gone_has_no_share(self, dtype: torch.dtype) -> None:
        found = lamp(torch.tensor([-math.inf, -0.5, 1.0, 2.0], dtype=dtype))
        assert found.tolist() == [-math.inf, -0.5, pytest.approx(0.2), 1.0]

    @settings(max_examples=200)
    @given(st.lists(st.floats(-5.0, 5.0, width=32), min_size=1, max_size=40))
    def test_the_order_stays(self, values: list[float]) -> None:
        assert (lamp(torch.tensor(sorted(values))).diff() >= 0).all()

    def test_layers_are_compared_by_shares(self) -> None:
        """Scaling a layer changes nothing, where global pruning would take it first."""
        params = {"a": torch.rand(8, 8) + 0.1, "b": torch.rand(8, 8) + 0.1}
        layers = ["a", "b"]
        masks = select("weight", params, layers, [], params, {}, "lamp", 0.6)
        scaled = {"a": params["a"] * 0.125, "b": params["b"] * 8.0}
        again = select("weight", params, layers, [], scaled, {}, "lamp", 0.6)
        assert all(torch.equal(masks[name], again[name]) for name in layers)
        globally = select("weight", params, layers, [], scaled, {}, "global", 0.4)
        assert globally["b"].all()

    def test_selection_by_hand(self) -> None:
        # a: 1/14, 4/13, 1; b: 16/77, 25/61, 1: 1/14, 16/77 and 4/13 go first
        params = {"a": torch.tensor([[1.0, 2.0, 3.0]]), "b": torch.tensor([[4.0, 5.0, 6.0]])}
        masks = select("weight", params, ["a", "b"], [], params, {}, "lamp", 0.5)
        assert masks["a"].tolist() == [[False, False, True]]
        assert masks["b"].tolist() == [[False, True, True]]

    @settings(max_examples=100)
    @given(
        st.lists(
            st.lists(st.floats(0, 4, width=16), min_size=2, max_size=9), min_size=1, max_size=4
        ),
        st.floats(0.0, 0.99),
    )
    def test_the_cut_is_that_of_equation_1(self, layers: list[list[float]], ratio: float) -> None:
        """Weight by weight, as the paper has it; the best of each layer stays."""
        params = {str(n): torch.tensor([layer]) for n, layer in enumerate(layers)}
        shares = []
        for layer in layers:
            order = sorted(range(len(layer)), key=lambda i: (layer[i], i))
            squares = [layer[i] ** 2 for i in order]
            found = [0.0] * len(layer)
            for place, i in enumerate(order):
                left = math.fsum(squares[place:])
                found[i] = squares[place] / left if left else 0.0
            found[order[-1]] = math.inf
            shares += found
        masks = select("weight", params, list(params), [], params, {}, "lamp", ratio)
        kept = torch.cat([mask.flatten() for mask in masks.values()]).tolist()
        assert kept.count(False) == min(round(ratio * len(kept)), len(kept) - len(layers))
        gone = [share for share, stays in zip(shares, kept, strict=True) if not stays]
        stay = [share for share, stays in zip(shares, kept, strict=True) if stays]
        assert max(gone, default=0.0) <= min(stay) * (1 + 1e-9)


@pytest.mark.parametrize("ratio", [-0.1, 1.0, float("nan")])
@pytest.mark.parametrize("name", ALLOCATIONS)
def test_a_ratio_out_of_range_is_an_error(name: str, ratio: float) -> None:
    with pytest.raises(ValueError, match=r"ratio must be in \[0, 1\)"):
        layer_ratios(name, MLP, ratio)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'even'; known are: uniform, global, erk, lamp"):
        layer_ratios("even", MLP, 0.5)
