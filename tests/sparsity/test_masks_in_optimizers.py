"""Masks that an optimizer keeps: after each step, whatever it has of moments and decay."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from prune_search.sparsity import MaskSet
from tests.sparsity.masked import (
    Optimizer,
    every_optimizer,
    leaks,
    network,
    parameters,
    random_masks,
    train,
)


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
