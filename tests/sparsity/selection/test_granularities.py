import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from prune_search.sparsity import (
    GRANULARITIES,
    Coupling,
    MaskSet,
    Slice,
    couplings,
    emptied,
    layer_ratios,
    select,
    select_threshold,
)

ALLOCATIONS = ["uniform", "erk", "global"]  # lamp is for single weights


def mlp(sizes: Sequence[int], seed: int = 0) -> tuple[dict[str, Tensor], list[str], list[Coupling]]:
    """Parameters, weight names and couplings of a plain network."""
    source = torch.Generator().manual_seed(seed)
    params: dict[str, Tensor] = {}
    for number, (inputs, outputs) in enumerate(pairwise(sizes)):
        params[f"{number}.weight"] = torch.randn(outputs, inputs, generator=source)
        params[f"{number}.bias"] = torch.randn(outputs, generator=source)
    units = []
    for number, width in enumerate(sizes[1:-1]):
        index = torch.arange(width).view(-1, 1)
        units.append(
            Coupling(
                f"{number}.weight",
                width,
                (
                    Slice(f"{number}.weight", 0, index),
                    Slice(f"{number}.bias", 0, index),
                    Slice(f"{number + 1}.weight", 1, index),
                ),
            )
        )
    return params, [name for name in params if name.endswith("weight")], units


def masked(masks: dict[str, Tensor], names: Sequence[str]) -> int:
    return sum(int((~masks[name]).sum()) for name in names)


def only_shrinks(new: dict[str, Tensor], old: dict[str, Tensor]) -> bool:
    return not any((new[name] & ~mask).any() for name, mask in old.items())


sizes = st.lists(st.integers(1, 12), min_size=2, max_size=5)
ratio = st.floats(0.0, 0.999)
allocation = st.sampled_from(ALLOCATIONS)
weight_allocation = st.sampled_from([*ALLOCATIONS, "lamp"])


@st.composite
def scored(draw: st.DrawFn) -> tuple[dict[str, Tensor], list[str], list[Coupling]]:
    """A network, with many equal weights in some examples."""
    params, layers, units = mlp(draw(sizes), draw(st.integers(0, 99)))
    if draw(st.booleans()):
        params = {name: param.round() for name, param in params.items()}
    return params, layers, units


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


def masked_units(masks: dict[str, Tensor], coupling: Coupling) -> Tensor:
    return ~masks[coupling.layer].any(1)


class TestNeurons:
    @settings(max_examples=100)
    @given(scored(), allocation, ratio, ratio)
    def test_whole_units_go_until_the_ratio_is_reached(
        self,
        network: tuple[dict[str, Tensor], list[str], list[Coupling]],
        chosen: str,
        one: float,
        other: float,
    ) -> None:
        params, layers, units = network
        assume(units)
        scores = {name: params[name].abs() for name in layers}
        total = sum(params[name].numel() for name in layers)
        masks: dict[str, Tensor] = {}
        for aim in sorted((one, other)):
            new = select("neuron", params, layers, units, scores, masks, chosen, aim)
            assert only_shrinks(new, masks)
            expected = {name: torch.ones_like(params[name], dtype=torch.bool) for name in new}
            for coupling in units:
                gone = ~new[coupling.slices[1].parameter]
                assert not gone.all()
                expected[coupling.slices[0].parameter][gone] = False
                expected[coupling.slices[1].parameter][gone] = False
                expected[coupling.slices[2].parameter][:, gone] = False
            assert all(torch.equal(new[name], expected[name]) for name in new)
            if masked(new, layers) < aim * total - 1e-6:  # out of reach: one unit a layer is left
                assert all(int(new[unit.slices[1].parameter].sum()) == 1 for unit in units)
            masks = new

    def test_no_more_goes_than_is_needed(self) -> None:
        params, layers, units = mlp((4, 16, 16, 2))
        scores = {name: params[name].abs() for name in layers}
        total = sum(params[name].numel() for name in layers)
        for aim in (0.1, 0.3, 0.6, 0.9):
            found = select("neuron", params, layers, units, scores, {}, "global", aim)
            surplus = masked(found, layers) - aim * total
            assert 0 <= surplus < 16 + 16  # the largest unit's share

    def test_uniform_takes_the_same_share_of_units(self) -> None:
        params, layers, units = mlp((8, 20, 40, 4))
        scores = {name: params[name].abs() for name in layers}
        masks = select("neuron", params, layers, units, scores, {}, "uniform", 0.6)
        shares = [masked_units(masks, unit).float().mean().item() for unit in units]
        assert shares[0] == pytest.approx(shares[1], abs=1 / 20)
        # a weight is kept if both of its units are: 0.4 of them in the square layer at (1 - u)²
        assert masked(masks, layers) >= 0.6 * sum(params[name].numel() for name in layers)

    def test_erk_takes_fewer_units_where_layers_are_small(self) -> None:
        params, layers, units = mlp((4, 64, 64, 64, 4))
        scores = {name: params[name].abs() for name in layers}
        masks = select("neuron", params, layers, units, scores, {}, "erk", 0.7)
        first, *rest = (int(masked_units(masks, unit).sum()) for unit in units)
        assert all(first < count for count in rest)

    @pytest.mark.parametrize("chosen", ALLOCATIONS)
    def test_units_with_the_smallest_mean_go_first(self, chosen: str) -> None:
        params, layers, units = mlp((3, 8, 2))
        params["0.weight"] = torch.arange(8.0).flip(0).view(8, 1).expand(8, 3).clone()
        masks = select("neuron", params, layers, units, params, {}, chosen, 0.5)
        assert masks["0.bias"].tolist() == [True] * 4 + [False] * 4

    def test_removed_units_stay_removed_and_count(self) -> None:
        params, layers, units = mlp((4, 8, 2))
        scores = {name: torch.ones_like(params[name]) for name in layers}
        first = select("neuron", params, layers, units, scores, {}, "global", 0.25)
        scores["0.weight"][:2] = 100.0  # what went first now looks best
        second = select("neuron", params, layers, units, scores, first, "global", 0.5)
        assert (~first["0.bias"]).tolist() == [True] * 2 + [False] * 6
        assert (~second["0.bias"]).tolist() == [True] * 4 + [False] * 4

    def test_only_units_of_the_given_layers_go(self) -> None:
        params, layers, units = mlp((4, 8, 8, 2))
        scores = {name: params[name].abs() for name in layers}
        masks = select("neuron", params, ["0.weight"], units, scores, {}, "global", 0.5)
        assert masked(masks, ["0.weight"]) == 16
        assert masked_units(masks, units[0]).sum() == 4
        assert set(masks) == {"0.weight", "0.bias", "1.weight"}

    def test_without_units_no_ratio_can_be_approached(self) -> None:
        params, layers, units = mlp((4, 2))
        for chosen in ALLOCATIONS:
            with pytest.raises(
                ValueError,
                match=r"'neuron' can't come near the ratio 0\.5: no units of its kind were found in"
                r" 0\.weight; granularity weight needs none",
            ):
                select("neuron", params, layers, units, params, {}, chosen, 0.5)
            masks = select("neuron", params, layers, units, params, {}, chosen, 0.0)
            assert masks["0.weight"].all()

    def test_a_parameter_that_units_reach_into_must_be_given(self) -> None:
        params, _, units = mlp((4, 8, 2))
        del params["1.weight"]
        with pytest.raises(ValueError, match=r"not given: \['1.weight'\]"):
            select("neuron", params, ["0.weight"], units, params, {}, "global", 0.5)

    def test_a_masked_network_computes_what_the_smaller_one_does(self) -> None:
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.Sigmoid(), nn.Flatten(), nn.Linear(6 * 16, 10),
            nn.Sigmoid(), nn.Linear(10, 2),
        )  # fmt: skip
        params: dict[str, Tensor] = dict(model.named_parameters())
        example = torch.randn(2, 3, 4, 4)
        found = couplings(model, example, lambda module, x: module(x), ["5.weight"])
        layers = [name for name in params if name.endswith("weight")]
        scores = {name: params[name].detach().abs() for name in layers}
        new = select("filter", params, layers, found, scores, {}, "uniform", 0.5)
        assert "3.bias" not in new
        new |= select("neuron", params, layers, found, scores, new, "uniform", 0.7)
        kept, filters = new["3.bias"], new["0.bias"]
        assert 0 < kept.sum() < 10 and 0 < filters.sum() < 6
        with torch.no_grad():
            small = nn.Sequential(
                nn.Conv2d(3, int(filters.sum()), 3, padding=1), nn.Sigmoid(), nn.Flatten(),
                nn.Linear(int(filters.sum()) * 16, int(kept.sum())), nn.Sigmoid(),
                nn.Linear(int(kept.sum()), 2),
            )  # fmt: skip
            small[0].weight.copy_(params["0.weight"][filters])
            small[0].bias.copy_(params["0.bias"][filters])
            small[3].weight.copy_(params["3.weight"].view(10, 6, 16)[kept][:, filters].flatten(1))
            small[3].bias.copy_(params["3.bias"][kept])
            small[5].weight.copy_(params["5.weight"][:, kept])
            small[5].bias.copy_(params["5.bias"])
            MaskSet().update(params, new)
            assert torch.allclose(model(example), small(example), atol=1e-6)


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


def convolutional() -> tuple[dict[str, Tensor], list[str], list[Coupling]]:
    """A convolution of 6 filters on 4 by 4 pixels, flattened into 10 units and 2 outputs."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 16, 10),
        nn.ReLU(), nn.Linear(10, 2),
    )  # fmt: skip
    params: dict[str, Tensor] = {name: param.detach() for name, param in model.named_parameters()}
    example = torch.randn(2, 3, 4, 4)
    found = couplings(model, example, lambda module, x: module(x), ["5.weight"])
    return params, [name for name in params if name.endswith("weight")], found


class TestFilters:
    @pytest.mark.parametrize("chosen", ALLOCATIONS)
    def test_filters_go_with_their_flattened_columns(self, chosen: str) -> None:
        params, layers, units = convolutional()
        scores = {name: params[name].abs() for name in layers}
        masks = select("filter", params, layers, units, scores, {}, chosen, 0.45)
        gone = ~masks["0.bias"]
        assert gone.sum() == 3
        order = scores["0.weight"].flatten(1).mean(1).argsort()
        assert set(gone.nonzero().flatten().tolist()) == set(order[:3].tolist())
        expected = {name: torch.ones_like(params[name], dtype=torch.bool) for name in masks}
        expected["0.weight"][gone] = False
        expected["0.bias"][gone] = False
        expected["3.weight"].view(10, 6, 16)[:, gone] = False
        assert all(torch.equal(masks[name], expected[name]) for name in masks)

    def test_out_of_reach_all_filters_but_one_go(self) -> None:
        params, layers, units = convolutional()
        scores = {name: params[name].abs() for name in layers}
        masks = select("filter", params, layers, units, scores, {}, "global", 0.99)
        assert masks["0.bias"].sum() == 1

    def test_neurons_are_those_of_linear_layers(self) -> None:
        params, layers, units = convolutional()
        scores = {name: params[name].abs() for name in layers}
        masks = select("neuron", params, layers, units, scores, {}, "global", 0.99)
        assert masks["0.weight"].all() and masks["3.bias"].sum() == 1


class TestScoredUnits:
    @pytest.mark.parametrize(("granularity", "layer"), [("neuron", "3"), ("filter", "0")])
    @pytest.mark.parametrize("chosen", ALLOCATIONS)
    def test_the_lowest_go_first(self, granularity: str, layer: str, chosen: str) -> None:
        params, layers, units = convolutional()
        width = params[f"{layer}.bias"].numel()
        scores = {f"{layer}.weight": torch.arange(width).flip(0).float()}
        for name in layers[:2]:
            scores.setdefault(name, torch.ones(params[name].shape[0]))
        masks = select(granularity, params, layers, units, scores, {}, chosen, 0.4)
        kept = masks[f"{layer}.bias"]
        assert 0 < kept.sum() < width
        assert kept.tolist() == sorted(kept.tolist(), reverse=True)

    @settings(max_examples=60)
    @given(scored(), allocation, ratio, ratio)
    def test_masks_are_nested_and_keep_a_unit(
        self,
        network: tuple[dict[str, Tensor], list[str], list[Coupling]],
        chosen: str,
        one: float,
        other: float,
    ) -> None:
        params, layers, units = network
        assume(units)
        scores = {unit.layer: params[unit.layer].abs().sum(1) for unit in units}
        masks: dict[str, Tensor] = {}
        for aim in sorted((one, other)):
            new = select("neuron", params, layers, units, scores, masks, chosen, aim)
            assert only_shrinks(new, masks)
            assert all(new[unit.slices[1].parameter].any() for unit in units)
            masks = new

    def test_a_unit_of_several_rows_counts_by_their_mean(self) -> None:
        pairs = torch.arange(6).view(2, 3).T
        unit = Coupling("a", 3, (Slice("a", 0, pairs), Slice("c", 1, torch.arange(3).view(-1, 1))))
        params = {"a": torch.ones(6, 2), "c": torch.ones(2, 3)}
        each = torch.tensor([4.0, 2.0, 1.0, 0.0, 3.0, 2.0])  # of pairs: 2, 2.5, 1.5
        for scores in ({"a": each}, {"a": each.unsqueeze(1).expand(6, 2)}):
            masks = select("neuron", params, list(params), [unit], scores, {}, "global", 0.3)
            assert masks["c"].tolist() == [[True, True, False]] * 2
            assert masks["a"][:, 0].tolist() == [True, True, False] * 2

    def test_layers_whose_outputs_are_added_up_count_by_their_mean(self) -> None:
        index = torch.arange(3).view(-1, 1)
        unit = Coupling("a", 3, (Slice("a", 0, index), Slice("b", 0, index), Slice("c", 1, index)))
        params = {"a": torch.ones(3, 4), "b": torch.ones(3, 2), "c": torch.ones(2, 3)}
        scores = {"a": torch.tensor([1.0, 2.0, 3.0]), "b": torch.tensor([9.0, 2.0, 9.0])}
        masks = select("neuron", params, list(params), [unit], scores, {}, "global", 0.3)
        assert masks["c"].tolist() == [[True, False, True]] * 2
        del scores["b"]
        masks = select("neuron", params, list(params), [unit], scores, {}, "global", 0.3)
        assert masks["c"].tolist() == [[False, True, True]] * 2

    def test_a_score_of_another_shape_is_an_error(self) -> None:
        params, layers, units = mlp((4, 8, 2))
        for wrong in (torch.ones(4), torch.ones(8, 1), torch.ones(())):
            with pytest.raises(ValueError, match=r"'0\.weight' has no scores of its shape"):
                select("neuron", params, layers, units, {"0.weight": wrong}, {}, "global", 0.5)
        units_only = {name: torch.ones(params[name].shape[0]) for name in layers}
        for granularity, chosen in (("weight", "global"), ("2:4", None)):
            with pytest.raises(ValueError, match=r"'0\.weight' has no scores of its shape"):
                select(granularity, params, layers, units, units_only, {}, chosen, 0.5)


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
