"""Masks of parameters: zeros at once, and what comes back, in which state."""

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from prune_search.sparsity import MaskSet, prune, size
from tests.sparsity.masked import (
    Optimizer,
    every_optimizer,
    leaks,
    network,
    parameters,
    random_masks,
    train,
)


def test_restore_brings_back_every_bit() -> None:
    model = network()
    params = parameters(model)
    with torch.no_grad():
        params["0.weight"][0, 0] = -0.0
    before = {name: param.detach().clone() for name, param in params.items()}
    masks = MaskSet()
    for step, kept in enumerate((0.8, 0.4, 0.1)):
        previous = masks.masks
        nested = {
            name: mask & previous.get(name, mask)
            for name, mask in random_masks(params, kept, step).items()
        }
        masks.update(params, nested)
    assert params["2.weight"].count_nonzero() < 256
    masks.restore_(params)
    for name, param in params.items():
        assert torch.equal(param.view(torch.int32), before[name].view(torch.int32))
    assert masks.masks == {} and masks.removed == {}


@pytest.mark.parametrize("criterion", ["magnitude", "random"])
def test_a_tensor_under_two_names_is_pruned_once_and_comes_back(criterion: str) -> None:
    """So are tied weights in a `state_dict`."""
    weight = torch.randn(8, 8)
    params, before, masks = {"a": weight, "b": weight}, weight.clone(), MaskSet()
    prune(masks, params, 0.5, criterion=criterion)
    assert size(params).weight_sparsity == 0.5
    masks.restore_(params)
    assert torch.equal(weight, before)
    chosen = {"a": torch.rand(8, 8) < 0.5, "b": torch.rand(8, 8) < 0.5}
    masks.update(params, chosen)
    assert torch.equal(weight != 0, chosen["a"] & chosen["b"])
    masks.restore_(params)
    assert torch.equal(weight, before)


@settings(max_examples=50)
@given(st.data())
def test_removed_holds_first_values_and_forgets_what_came_back(data: st.DataObject) -> None:
    bits = st.lists(st.booleans(), min_size=6, max_size=6)
    weight = torch.arange(1.0, 7.0).view(2, 3)
    masks, recorded = MaskSet(), torch.zeros(2, 3)
    kept = torch.ones(2, 3, dtype=torch.bool)
    for _ in range(data.draw(st.integers(1, 4))):
        new = torch.tensor(data.draw(bits)).view(2, 3)
        recorded = torch.where(new, 0.0, torch.where(kept, weight, recorded))
        came_back = new & ~kept
        masks.update({"w": weight}, {"w": new})
        kept = new
        assert torch.equal(masks.removed["w"], recorded)
        assert not weight[~new].any() and not weight[came_back].any()
        weight[new] += 10.0  # training
    expected = torch.where(kept, weight, recorded)
    masks.restore_({"w": weight})
    assert torch.equal(weight, expected)


@every_optimizer
@pytest.mark.parametrize("restore", [False, True])
def test_what_comes_back_has_no_moments_and_its_old_value_only_on_request(
    make: Callable[[list[nn.Parameter]], Optimizer], restore: bool
) -> None:
    model = network()
    params = parameters(model)
    weight = params["2.weight"]
    optimizer = make(list(model.parameters()))
    masks = MaskSet()
    masks.attach(optimizer, params)
    train(model, optimizer, 5)
    before = weight.detach().clone()
    first, second = (torch.rand(16, 16) < 0.5 for _ in range(2))
    masks.update(params, {"2.weight": first})
    train(model, optimizer, 5)
    now = weight.detach().clone()
    masks.update(params, {"2.weight": second}, restore=restore)
    back = second & ~first
    assert back.any()
    assert torch.equal(weight[back], before[back] if restore else torch.zeros_like(before[back]))
    assert torch.equal(weight[second & first], now[second & first])
    assert not masks.removed["2.weight"][back].any()
    moments = [value for value in optimizer.state[weight].values() if value.shape == weight.shape]
    assert moments and not any(value[back].any() for value in moments)
    assert leaks(masks, params, optimizer) == []
    train(model, optimizer, 5)
    assert leaks(masks, params, optimizer) == []
    masks.restore_(params)
    unchanged = ~first & ~second
    assert torch.equal(weight[unchanged], before[unchanged])


def test_what_comes_back_has_no_moments_though_a_dense_state_was_loaded() -> None:
    model = network()
    params = parameters(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    train(model, optimizer, 5)
    dense = copy.deepcopy(optimizer.state_dict())
    masks = MaskSet()
    masks.attach(optimizer, params)
    masks.update(params, {"2.weight": torch.eye(16, dtype=torch.bool)})
    optimizer.load_state_dict(dense)
    masks.update(params, {"2.weight": torch.ones(16, 16, dtype=torch.bool)}, restore=True)
    moment = optimizer.state[params["2.weight"]]["exp_avg"]
    assert torch.equal(moment != 0, torch.eye(16, dtype=torch.bool))


def test_update_touches_only_what_it_names() -> None:
    params = {"a": torch.ones(2, 2), "b": torch.ones(2, 2)}
    masks = MaskSet()
    masks.update(params, {"a": torch.eye(2, dtype=torch.bool)})
    masks.update(params, {"b": torch.zeros(2, 2, dtype=torch.bool)})
    assert params["a"].sum() == 2 and params["b"].sum() == 0
    assert set(masks.masks) == {"a", "b"}


def test_masks_are_copied_from_the_caller() -> None:
    mask = torch.ones(2, dtype=torch.bool)
    params = {"w": torch.ones(2)}
    masks = MaskSet({"w": mask})
    masks.update(params, {"w": mask})
    mask.fill_(False)
    masks.apply_(params)
    assert params["w"].all()


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ({"w": torch.ones(3, dtype=torch.bool)}, r"'w' has shape \(3,\), its parameter \(2,\)"),
        ({"w": torch.ones(2)}, "'w' must be boolean"),
        ({"v": torch.ones(2, dtype=torch.bool)}, "'v' is not among"),
    ],
)
def test_a_wrong_mask_changes_nothing(mask: dict[str, Tensor], message: str) -> None:
    masks, params = MaskSet(), {"a": torch.ones(2), "w": torch.ones(2)}
    with pytest.raises(ValueError, match=message):
        masks.update(params, {"a": torch.zeros(2, dtype=torch.bool), **mask})
    assert masks.masks == {} and params["a"].all()


def test_apply_is_for_any_part_of_the_network_and_any_type() -> None:
    masks = MaskSet({"a": torch.tensor([True, False]), "b": torch.tensor([False])})
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        params = {"a": torch.ones(2, dtype=dtype), "c": torch.ones(2, dtype=dtype)}
        masks.apply_(params)
        assert params["a"].tolist() == [1.0, 0.0] and params["c"].all()
    with pytest.raises(ValueError, match="'b' has shape"):
        masks.apply_({"b": torch.ones(3)})


def test_nan_stays_visible() -> None:
    params = {"w": torch.tensor([1.0, float("nan"), float("inf")])}
    MaskSet({"w": torch.tensor([False, False, False])}).apply_(params)
    assert params["w"][0] == 0.0 and params["w"][1:].isnan().all()


def test_state_survives_a_file() -> None:
    model = network()
    params = parameters(model)
    before = {name: param.detach().clone() for name, param in params.items()}
    masks = MaskSet()
    masks.update(params, random_masks(params, 0.5))
    file = io.BytesIO()
    torch.save(masks.state_dict(), file)
    file.seek(0)
    loaded = MaskSet()
    loaded.load_state_dict(torch.load(file, weights_only=True))
    for name in masks.masks:
        assert torch.equal(loaded.masks[name], masks.masks[name])
    loaded.restore_(params)
    assert all(torch.equal(params[name], before[name]) for name in params)


def test_a_state_taken_earlier_does_not_change_with_later_updates() -> None:
    params = {"w": torch.ones(3)}
    masks = MaskSet()
    masks.update(params, {"w": torch.tensor([True, True, False])})
    state = masks.state_dict()
    masks.update(params, {"w": torch.tensor([True, False, False])})
    assert state["masks"]["w"].tolist() == [True, True, False]
    assert state["removed"]["w"].tolist() == [0.0, 0.0, 1.0]


def test_load_refuses_what_does_not_go_together() -> None:
    mask = torch.ones(2, dtype=torch.bool)
    with pytest.raises(ValueError, match="differ in their names"):
        MaskSet().load_state_dict({"masks": {"w": mask}, "removed": {}})
    with pytest.raises(ValueError, match="has shape"):
        MaskSet().load_state_dict({"masks": {"w": mask}, "removed": {"w": torch.zeros(3)}})


def test_model_and_masks_can_be_copied_and_pickled() -> None:
    model = network()
    params = parameters(model)
    optimizer = torch.optim.Adam(model.parameters())
    masks = MaskSet()
    masks.attach(optimizer, params)
    keys = list(model.state_dict())
    masks.update(params, random_masks(params, 0.5))
    train(model, optimizer, 2)
    assert list(model.state_dict()) == keys
    assert all(params[name] is param for name, param in model.named_parameters())
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        inputs = torch.randn(3, 4)
        assert torch.equal(copied(inputs), model(inputs))
    for copied_masks in (copy.deepcopy(masks), pickle.loads(pickle.dumps(masks))):
        assert all(torch.equal(copied_masks.masks[name], masks.masks[name]) for name in masks.masks)
        copied_masks.restore_(copy.deepcopy(params))
    assert masks.masks
