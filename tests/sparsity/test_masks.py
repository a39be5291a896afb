import copy
import io
import pickle
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from prune_search.sparsity import MaskSet

Optimizer = torch.optim.Optimizer

OPTIMIZERS: dict[str, Callable[[list[nn.Parameter]], Optimizer]] = {
    "adam": lambda params: torch.optim.Adam(params, lr=0.01),
    "adam_loop": lambda params: torch.optim.Adam(params, lr=0.01, foreach=False),
    "adamw_amsgrad": lambda params: torch.optim.AdamW(
        params, lr=0.01, weight_decay=0.1, amsgrad=True
    ),
    "adam_decay": lambda params: torch.optim.Adam(params, lr=0.01, weight_decay=0.1),
    "sgd": lambda params: torch.optim.SGD(
        params, lr=0.01, momentum=0.9, nesterov=True, weight_decay=0.1
    ),
    "rmsprop": lambda params: torch.optim.RMSprop(params, lr=0.01, momentum=0.9, centered=True),
}
every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 2)
    )


def parameters(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters())


def random_masks(params: dict[str, Tensor], kept: float, seed: int = 1) -> dict[str, Tensor]:
    source = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(param.shape, generator=source) < kept
        for name, param in params.items()
        if param.dim() == 2
    }


def train(model: nn.Module, optimizer: Optimizer, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        inputs = torch.randn(32, 4)
        (model(inputs) - inputs[:, :2].sin()).square().mean().backward()
        optimizer.step()


@every_optimizer
def test_a_masked_network_takes_the_steps_of_a_smaller_one(
    make: Callable[[list[nn.Parameter]], Optimizer],
) -> None:
    """Also where gradients are clipped by their norm, which masked weights have no part in."""
    large, small = network(), nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    large = nn.Sequential(large[0], large[1], large[4])
    with torch.no_grad():
        for weight in large.parameters():  # gradients of masked outgoing weights are the larger
            weight.mul_(3.0)
        for ours, theirs in zip(small.parameters(), large.parameters(), strict=True):
            ours.copy_(theirs[tuple(map(slice, ours.shape))])
    params = parameters(large)
    outgoing = torch.zeros(2, 16, dtype=torch.bool).index_fill_(1, torch.arange(6), True)
    masks = MaskSet()
    optimizer, other = (make(list(each.parameters())) for each in (large, small))
    masks.attach(optimizer, params)
    masks.update(params, {"2.weight": outgoing})
    for _ in range(5):
        inputs = torch.randn(32, 4)
        for each, steps in ((large, optimizer), (small, other)):
            steps.zero_grad()
            (each(inputs) - inputs[:, :2].sin()).square().mean().backward()
            if each is large:
                assert large[2].weight.grad[:, 6:].abs().sum() > 0.1
                masks.mask_gradients_(params)
            nn.utils.clip_grad_norm_(each.parameters(), 0.1)
            steps.step()
    for ours, theirs in zip(small.parameters(), large.parameters(), strict=True):
        kept = theirs[tuple(map(slice, ours.shape))]
        torch.testing.assert_close(ours, kept, rtol=1e-3, atol=1e-4)


def leaks(masks: MaskSet, params: dict[str, Tensor], optimizer: Optimizer) -> list[str]:
    """What is not zero though it is masked."""
    found = []
    for name, mask in masks.masks.items():
        state = optimizer.state.get(params[name], {})
        for key, value in [("weight", params[name]), *state.items()]:
            if (
                isinstance(value, Tensor)
                and value.shape == mask.shape
                and value[~mask].count_nonzero()
            ):
                found.append(f"{name} {key}")
    return found


@every_optimizer
def test_masked_weights_and_moments_are_zero_after_every_step(
    make: Callable[[list[nn.Parameter]], Optimizer],
) -> None:
    model = network()
    params = parameters(model)
    optimizer = make(list(model.parameters()))
    masks = MaskSet()
    masks.attach(optimizer, params)
    train(model, optimizer, 3)
    masks.update(params, random_masks(params, 0.5))
    assert leaks(masks, params, optimizer) == []  # at once, not from the next step on
    for _ in range(20):
        train(model, optimizer, 1)
        assert leaks(masks, params, optimizer) == []
    assert all(param.isfinite().all() for param in params.values())


@every_optimizer
def test_masks_are_followed_after_a_later_update(
    make: Callable[[list[nn.Parameter]], Optimizer],
) -> None:
    model = network()
    params = parameters(model)
    optimizer = make(list(model.parameters()))
    masks = MaskSet()
    masks.attach(optimizer, params)
    first, second = (torch.rand(16, 16) < 0.5 for _ in range(2))
    masks.update(params, {"2.weight": first})
    train(model, optimizer, 10)
    masks.update(params, {"2.weight": second})
    regrown = second & ~first
    assert not params["2.weight"][regrown].any()
    train(model, optimizer, 10)
    assert leaks(masks, params, optimizer) == []
    assert params["2.weight"][regrown].all()


@every_optimizer
def test_masks_hold_after_the_optimizer_state_is_loaded(
    make: Callable[[list[nn.Parameter]], Optimizer],
) -> None:
    model = network()
    params = parameters(model)
    optimizer = make(list(model.parameters()))
    train(model, optimizer, 10)
    dense_state = copy.deepcopy(optimizer.state_dict())
    masks = MaskSet()
    masks.attach(optimizer, params)
    masks.update(params, random_masks(params, 0.5))
    train(model, optimizer, 5)
    optimizer.load_state_dict(dense_state)
    assert leaks(masks, params, optimizer) != []
    train(model, optimizer, 1)
    assert leaks(masks, params, optimizer) == []


@every_optimizer
def test_without_masks_momentum_and_decay_bring_weights_back(
    make: Callable[[list[nn.Parameter]], Optimizer],
) -> None:
    model = network()
    params = parameters(model)
    optimizer = make(list(model.parameters()))
    train(model, optimizer, 10)
    masks = MaskSet()
    masks.update(params, random_masks(params, 0.5))
    for name, mask in masks.masks.items():
        params[name].register_hook(lambda grad, mask=mask: grad * mask)  # gradients alone
    train(model, optimizer, 1)
    assert leaks(masks, params, optimizer) != []


def test_attaching_leaves_what_is_not_masked_as_it_is() -> None:
    def run(attached: bool) -> dict[str, Tensor]:
        model = network()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        if attached:
            masks = MaskSet({"2.weight": torch.ones(16, 16, dtype=torch.bool)})
            masks.attach(optimizer, parameters(model))
        torch.manual_seed(3)
        train(model, optimizer, 5)
        return parameters(model)

    plain, masked = run(attached=False), run(attached=True)
    assert all(torch.equal(plain[name], masked[name]) for name in plain)


def test_a_masked_scalar_keeps_its_optimizers_step_count() -> None:
    scale = nn.Parameter(torch.tensor(2.0))
    optimizer = torch.optim.Adam([scale])
    masks = MaskSet({"scale": torch.tensor(False)})
    masks.attach(optimizer, {"scale": scale})
    for _ in range(3):
        scale.grad = torch.tensor(1.0)
        optimizer.step()
    assert scale == 0.0
    assert optimizer.state[scale]["step"] == 3


def test_a_removed_handle_enforces_nothing() -> None:
    model = network()
    params = parameters(model)
    optimizer = torch.optim.Adam(model.parameters())
    masks = MaskSet()
    handle = masks.attach(optimizer, params)
    masks.update(params, random_masks(params, 0.5))
    handle.remove()
    handle.remove()
    train(model, optimizer, 1)
    assert leaks(masks, params, optimizer) != []
    masks.update(params, {})
    assert leaks(masks, params, optimizer) != []


def test_attach_refuses_an_optimizer_of_other_parameters() -> None:
    optimizer = torch.optim.Adam(network().parameters())
    with pytest.raises(ValueError, match="none of the given parameters belongs"):
        MaskSet().attach(optimizer, parameters(network()))


def test_attach_refuses_an_optimizer_with_one_flat_state() -> None:
    model = network()
    with pytest.raises(ValueError, match="LBFGS can't keep masks: its state is one flat vector"):
        MaskSet().attach(torch.optim.LBFGS(model.parameters()), parameters(model))


@pytest.mark.parametrize("named", ["at first", "when masked"])
def test_parameters_that_join_an_optimizer_later_keep_their_masks(named: str) -> None:
    model = network()
    params = parameters(model)
    optimizer = torch.optim.AdamW([params["0.weight"]], lr=0.01)
    known = params if named == "at first" else {"0.weight": params["0.weight"]}
    masks = MaskSet()
    handle = masks.attach(optimizer, known)
    masks.update(params, random_masks(params, kept=0.25))
    optimizer.add_param_group({"params": [params["2.weight"], params["4.weight"]]})
    train(model, optimizer, steps=3)
    assert leaks(masks, params, optimizer) == []
    handle.remove()


def test_a_step_size_is_no_moment() -> None:
    """A weight that comes back under Rprop would not move with a step of zero."""
    model = network()
    params = parameters(model)
    optimizer = torch.optim.Rprop(model.parameters(), lr=0.01)
    masks = MaskSet()
    masks.attach(optimizer, params)
    masks.update(params, random_masks(params, kept=0.0))
    train(model, optimizer, steps=3)
    assert bool((optimizer.state[params["0.weight"]]["step_size"] >= 1e-6).all())


def test_factors_over_rows_are_no_moments() -> None:
    weight = nn.Parameter(torch.ones(4, 1))  # the factors of whose rows have its shape
    optimizer = torch.optim.Adafactor([weight])
    masks = MaskSet()
    masks.attach(optimizer, {"w": weight})
    masks.update({"w": weight}, {"w": torch.tensor([[True], [False], [True], [True]])})
    weight.grad = torch.full((4, 1), 0.5)
    optimizer.step()
    assert bool((optimizer.state[weight]["row_var"] > 0).all())
    assert weight.tolist()[1] == [0.0]


def test_an_optimizer_is_not_kept_alive_by_masks() -> None:
    import gc
    import weakref

    model, masks = network(), MaskSet()
    optimizer = torch.optim.Adam(model.parameters())
    masks.attach(optimizer, parameters(model))
    gone = weakref.ref(optimizer)
    del optimizer
    gc.collect()
    assert gone() is None


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
