"""Neurons and filters: what goes, what stays, and how many."""

import pytest
import torch
from hypothesis import assume, given, settings
from torch import Tensor, nn

from prune_search.sparsity import Coupling, MaskSet, Slice, couplings, select
from tests.sparsity.selection.problems import (
    ALLOCATIONS,
    allocation,
    convolutional,
    masked,
    mlp,
    only_shrinks,
    ratio,
    scored,
)


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
