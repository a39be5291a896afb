"""Weights by score and by threshold: what goes, and what is refused of any granularity."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from prune_search.sparsity import (
    GRANULARITIES,
    Coupling,
    emptied,
    layer_ratios,
    select,
    select_threshold,
)
from tests.sparsity.selection.problems import (
    ALLOCATIONS,
    convolutional,
    masked,
    mlp,
    only_shrinks,
    ratio,
    scored,
)

weight_allocation = st.sampled_from([*ALLOCATIONS, "lamp"])


class TestWeights:
    @settings(max_examples=200)
    @given(scored(), weight_allocation, ratio, weight_allocation, ratio)
    def test_counts_are_exact_and_masks_nested(
        self,
        network: tuple[dict[str, Tensor], list[str], list[Coupling]],
        first: str,
        one: float,
        second: str,
        other: float,
    ) -> None:
        params, layers, _ = network
        scores = {name: params[name].abs() for name in layers}
        total = sum(params[name].numel() for name in layers)
        most = total - len(layers)
        masks: dict[str, Tensor] = {}
        for chosen, aim in ((first, min(one, other)), (second, max(one, other))):
            new = select("weight", params, layers, [], scores, masks, chosen, aim)
            assert list(new) == layers
            assert masked(new, layers) == min(round(aim * total), most)
            assert all(new[name].any() and new[name].dtype == torch.bool for name in layers)
            assert only_shrinks(new, masks)
            masks = new

    @settings(max_examples=100)
    @given(scored(), weight_allocation, ratio)
    def test_what_goes_scores_no_higher_than_what_stays(
        self,
        network: tuple[dict[str, Tensor], list[str], list[Coupling]],
        chosen: str,
        aim: float,
    ) -> None:
        params, layers, _ = network
        scores = {name: params[name].abs() for name in layers}
        masks = select("weight", params, layers, [], scores, {}, chosen, aim)
        for name in layers:
            if not masks[name].all():
                assert scores[name][~masks[name]].max() <= scores[name][masks[name]].min()

    @pytest.mark.parametrize("chosen", ["uniform", "erk"])
    def test_layers_lose_what_the_allocation_says(self, chosen: str) -> None:
        params, layers, _ = mlp((6, 64, 64, 3))
        scores = {name: params[name].abs() for name in layers}
        masks = select("weight", params, layers, [], scores, {}, chosen, 0.8)
        expected = layer_ratios(chosen, {name: tuple(params[name].shape) for name in layers}, 0.8)
        assert expected is not None
        for name in layers:
            assert abs(masked(masks, [name]) - expected[name] * params[name].numel()) < 1

    def test_of_equal_scores_the_first_go_first(self) -> None:
        params = {"a": torch.ones(2, 3), "b": torch.ones(2, 3)}
        masks = select("weight", params, ["a", "b"], [], params, {}, "uniform", 0.5)
        assert masks["a"].flatten().tolist() == [False] * 3 + [True] * 3
        masks = select("weight", params, ["a", "b"], [], params, {}, "global", 0.5)
        assert masks["a"].sum() == 1 and masks["b"].sum() == 5

    def test_a_layer_that_lost_more_is_made_up_for_by_others(self) -> None:
        params = {"a": torch.rand(10, 10), "b": torch.rand(10, 10), "c": torch.rand(10, 10)}
        layers = list(params)
        lost = {"a": torch.zeros(10, 10, dtype=torch.bool)}
        lost["a"][0] = True  # 90 of 100 are gone
        masks = select("weight", params, layers, [], params, lost, "uniform", 0.5)
        assert torch.equal(masks["a"], lost["a"])
        assert [masked(masks, [name]) for name in layers] == [90, 30, 30]

    def test_what_is_removed_already_is_the_least_that_goes(self) -> None:
        params = {"a": torch.rand(4, 4)}
        lost = {"a": torch.zeros(4, 4, dtype=torch.bool)}
        for chosen in (*ALLOCATIONS, "lamp"):
            masks = select("weight", params, ["a"], [], params, lost, chosen, 0.25)
            assert masked(masks, ["a"]) == 16

    def test_the_best_weight_of_a_layer_stays(self) -> None:
        params = {"low": torch.tensor([[1.0, 2.0]]), "high": torch.full((10, 10), 9.0)}
        masks = select("weight", params, list(params), [], params, {}, "global", 0.95)
        assert masks["low"].tolist() == [[False, True]]
        assert masked(masks, list(params)) == round(0.95 * 102)


class TestThreshold:
    def test_weights_below_the_cut_go(self) -> None:
        params = {"a": torch.tensor([[0.1, -0.5, 0.5, -2.0]]), "b": torch.tensor([[0.1, -0.2]])}
        cut = {"a": 0.5, "b": 1.0}
        masks = select_threshold("weight", params, ["a", "b"], [], {}, cut)
        assert masks["a"].tolist() == [[False, True, True, True]]
        assert masks["b"].tolist() == [[False, True]]  # the largest stays

    def test_units_below_the_cut_go(self) -> None:
        params, layers, units = mlp((2, 3, 2))
        params["0.weight"] = torch.tensor([[0.3, 0.4], [3.0, 4.0], [1.0, 1.0]])
        cut = dict.fromkeys(layers, 1.0)
        masks = select_threshold("neuron", params, layers, units, {}, cut)
        assert masks["0.bias"].tolist() == [False, True, True]
        masks = select_threshold("neuron", params, layers, units, {}, dict.fromkeys(layers, 9.0))
        assert masks["0.bias"].tolist() == [False, True, False]
        assert masks["1.weight"].tolist() == [[False, True, False]] * 2

    @settings(max_examples=100)
    @given(scored(), st.sampled_from(["weight", "neuron"]), st.floats(0, 3), st.floats(0, 3))
    def test_masks_are_nested_and_never_empty(
        self,
        network: tuple[dict[str, Tensor], list[str], list[Coupling]],
        granularity: str,
        one: float,
        other: float,
    ) -> None:
        params, layers, units = network
        masks: dict[str, Tensor] = {}
        for cut in (max(one, other), min(one, other), math.inf):
            cuts = dict.fromkeys(layers, cut)
            new = select_threshold(granularity, params, layers, units, masks, cuts)
            assert only_shrinks(new, masks)
            assert all(new[name].any() for name in new)
            masks = new

    def test_a_layer_without_cut_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="'a' has no cut"):
            select_threshold("weight", {"a": torch.ones(1, 1)}, ["a"], [], {}, {})

    def test_nan_is_an_error(self) -> None:
        params = {"a": torch.full((1, 1), float("nan"))}
        with pytest.raises(ValueError, match="'a' hold NaN"):
            select_threshold("weight", params, ["a"], [], {}, {"a": 1.0})

    def test_a_layer_that_would_go_as_a_whole_is_named(self) -> None:
        params, layers, units = mlp((2, 3, 2))
        params["0.weight"] = torch.tensor([[0.0, 5.0], [0.1, 0.1], [1.0, 1.0]])
        params["1.weight"] = torch.full((2, 3), -0.5)
        for cut, expected in ((0.5, []), (0.6, ["1.weight"]), (6.0, layers)):
            assert emptied(params, layers, dict.fromkeys(layers, cut)) == expected
        # A unit is as large as its root mean square: 3.54 here; the heads are no units.
        for cut, expected in ((3.5, []), (3.6, ["0.weight"])):
            cuts = dict.fromkeys(layers, cut)
            assert emptied(params, layers, cuts, "neuron", units) == expected

    def test_filters_below_the_cut_go(self) -> None:
        params, layers, units = convolutional()
        with torch.no_grad():
            params["0.weight"].copy_(torch.arange(1.0, 7.0).view(6, 1, 1, 1).expand(6, 3, 3, 3))
        cut = dict.fromkeys(layers, 3.5)
        masks = select_threshold("filter", params, layers, units, {}, cut)
        assert masks["0.bias"].tolist() == [False] * 3 + [True] * 3
        assert "3.bias" not in masks
        assert emptied(params, layers, dict.fromkeys(layers, 6.5), "filter", units) == ["0.weight"]


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_wrong_arguments(granularity: str) -> None:
    params, layers, units = convolutional() if granularity == "filter" else mlp((4, 4, 4))
    layer = layers[0]
    nan = {name: torch.full_like(params[name], float("nan")) for name in layers}
    chosen = None if ":" in granularity else "global"

    def call(scores: dict[str, Tensor], allocation: str | None, ratio: float) -> None:
        select(granularity, params, layers, units, scores, {}, allocation, ratio)

    with pytest.raises(ValueError, match=f"'{layer}' has no scores of its shape"):
        call({}, chosen, 0.5)
    with pytest.raises(ValueError, match=f"scores of '{layer}' hold NaN"):
        call(nan, chosen, 0.5)
    with pytest.raises(ValueError, match="ratio must be in"):
        call(params, chosen, 1.0)
    with pytest.raises(
        ValueError, match="unknown allocation 'even'; known are: uniform, global, erk"
    ):
        call(params, "even", 0.5)


def test_an_unknown_name_lists_the_known_ones() -> None:
    known = "unknown granularity 'row'; known are: weight, neuron, filter, 2:4, 1:4"
    with pytest.raises(ValueError, match=known):
        select("row", {}, [], [], {}, {}, "global", 0.5)
    with pytest.raises(ValueError, match=known):
        select_threshold("row", {}, [], [], {}, {})
    with pytest.raises(ValueError, match=known):
        emptied({}, [], {}, "row")
