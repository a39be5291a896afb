"""Steps of Adam in a few calls are torch's, bit for bit, and run the hooks behind them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from prune_search.rllib.runners.adam import take_step
from prune_search.sparsity.masks import MaskSet

SHAPES = [(64, 5), (64,), (33, 64), (33,), (1, 33), (1,), ()]


def parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def course(make: Any, lean: bool, steps: int) -> tuple[list[nn.Parameter], Optimizer, list[int]]:
    """Steps on random gradients, one of which is missing now and then, under masks."""
    held, seen = parameters(), []
    optimizer = make(held)
    optimizer.register_step_post_hook(lambda *_: seen.append(1))
    masks = MaskSet()
    named = {str(number): each for number, each in enumerate(held)}
    masks.attach(optimizer, named)
    generator = torch.Generator().manual_seed(1)
    for step in range(steps):
        for each in held:
            scale = 10 ** float(torch.randint(-4, 3, (), generator=generator))
            each.grad = torch.randn(each.shape, generator=generator) * scale
        if step % 7 == 3:
            held[1].grad = None
        if step == steps // 2:
            masks.update(named, {"2": torch.rand(SHAPES[2], generator=generator) < 0.3})
            optimizer.param_groups[0]["lr"] = 3e-3
        take_step(optimizer) if lean else optimizer.step()
    assert not held[2][~masks.masks["2"]].any()
    return held, optimizer, seen


@pytest.mark.parametrize(
    "make",
    [
        lambda held: Adam(held, lr=1e-2),
        lambda held: Adam([{"params": held[:3]}, {"params": held[3:], "lr": 0.1, "eps": 1e-3}]),
        lambda held: Adam(held, lr=1e-2, weight_decay=0.1),
        lambda held: Adam(held, lr=1e-2, amsgrad=True),
        lambda held: Adam(held, lr=torch.tensor(1e-2)),
        lambda held: AdamW(held, lr=1e-2),
        lambda held: SGD(held, lr=1e-2, momentum=0.9),
    ],
    ids=["plain", "groups", "decay", "amsgrad", "tensor", "adamw", "sgd"],
)
def test_they_are_torchs(make: Any) -> None:
    ours, theirs = course(make, True, 60), course(make, False, 60)
    for one, other in zip(ours[0], theirs[0], strict=True):
        assert torch.equal(one, other)
        states = ours[1].state[one], theirs[1].state[other]
        assert states[0].keys() == states[1].keys()
        for name, value in states[0].items():
            assert value is None or torch.equal(value, states[1][name])
    assert ours[2] == theirs[2] == [1] * 60


def test_zeros_stay_without_masks_being_enforced() -> None:
    """Where gradients of masked entries are zero, as moments are; other hooks are run."""
    mask = torch.rand(SHAPES[2], generator=torch.Generator().manual_seed(2)) < 0.3
    ends = []
    for zeros_stay in (True, False):
        held, enforced, seen = parameters(), [], []
        optimizer, masks = Adam(held, lr=1e-2), MaskSet()
        named = {str(number): each for number, each in enumerate(held)}
        handle = masks.attach(optimizer, named)
        handle.enforce = lambda own=handle.enforce, to=enforced: (to.append(1), own())
        optimizer.register_step_post_hook(lambda *_, to=seen: to.append(1))
        generator = torch.Generator().manual_seed(1)
        for step in range(40):
            for each in held:
                each.grad = torch.randn(each.shape, generator=generator)
            if step == 5:
                masks.update(named, {"2": mask})
                enforced.clear()
            masks.mask_gradients_(named)
            take_step(optimizer, zeros_stay and step > 5)
            assert step < 5 or not held[2][~mask].any()
        assert len(enforced) == (1 if zeros_stay else 35)
        assert len(seen) == 40
        ends.append(held)
    assert all(torch.equal(one, other) for one, other in zip(*ends, strict=True))


def test_hooks_in_front_of_a_step_are_run() -> None:
    held, seen = parameters(), []
    optimizer = Adam(held)
    for each in held:
        each.grad = torch.ones_like(each)
    optimizer.step()
    optimizer.register_step_pre_hook(lambda *_: seen.append(1))
    take_step(optimizer)
    assert seen == [1]
