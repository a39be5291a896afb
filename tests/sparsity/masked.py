"""A network, masks for it, and optimizers that train it."""

from collections.abc import Callable

import pytest
import torch
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
