"""Parameters keep few values through training, whatever the optimizer; zeros stay zeros."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from prune_search.compression.holding import Holding
from prune_search.compression.methods import METHODS
from prune_search.sparsity import MaskSet, prune

LAYERS = [["0.weight", "0.bias"], ["2.weight", "2.bias"]]
INPUTS, TARGETS = torch.randn(2, 64, 6, generator=torch.Generator().manual_seed(0))


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 6))


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> float:
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (net(INPUTS) - TARGETS).square().mean()
        loss.backward()
        optimizer.step()
    return float((net(INPUTS) - TARGETS).square().mean())


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW"])
@pytest.mark.parametrize("name", sorted(METHODS))
def test_few_values_through_training_and_a_smaller_loss(name: str, optimizer: str) -> None:
    net = network()
    params = dict(net.named_parameters())
    trainer = getattr(torch.optim, optimizer)(net.parameters(), lr=0.02)
    masks = MaskSet()
    masks.attach(trainer, params)
    prune(masks, {key: value for key, value in params.items() if value.dim() > 1}, 0.5)
    train(net, trainer, 20)  # moments that differ from weight to weight
    holding = Holding(params, LAYERS, name, 3)
    holding.attach(trainer)
    before = float((net(INPUTS) - TARGETS).square().mean())
    values = {key: value.detach().clone() for key, value in params.items()}
    after = train(net, trainer, 100)
    assert after < before
    assert any(not torch.equal(values[key], params[key]) for key in params)
    for group, found in zip(holding.groups, holding.quantized(), strict=True):
        for key, quantized in zip(group, found.values(), strict=True):
            assert torch.allclose(params[key], torch.from_numpy(quantized), rtol=1e-3, atol=1e-7)
            most = 16 * 3 if name == "uniform" else 8
            assert len(params[key].unique()) <= (most if "weight" in key else 255)
    assert all((params[key][~mask] == 0).all() for key, mask in masks.masks.items())


def test_a_centroids_gradient_is_the_sum_of_its_weights() -> None:
    net = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 1.0, 0.0, -2.0]]))
    trainer = torch.optim.SGD(net.parameters(), lr=0.1)
    Holding({"weight": net.weight}, [["weight"]], "sharing", 2).attach(trainer)
    net(torch.tensor([[1.0, 2.0, 4.0, 8.0]])).sum().backward()
    trainer.step()
    assert net.weight.tolist() == [pytest.approx([0.7, 0.7, 0.0, -2.8])]


def test_steps_smaller_than_a_level_add_up() -> None:
    """Straight-through: rounded after each step, a weight would never move."""
    net = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 0.0]]))
    trainer = torch.optim.SGD(net.parameters(), lr=0.01)
    holding = Holding({"weight": net.weight}, [["weight"]], "uniform", 2)
    holding.attach(trainer)
    for _ in range(60):
        trainer.zero_grad()
        (-net(torch.tensor([[0.0, 1.0]]))).sum().backward()
        trainer.step()
    assert net.weight.tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize("name", sorted(METHODS))
def test_goes_on_from_a_saved_state_as_if_never_stopped(name: str) -> None:
    def start(net: nn.Module) -> tuple[torch.optim.Optimizer, Holding]:
        trainer = torch.optim.SGD(net.parameters(), lr=0.05)
        holding = Holding(dict(net.named_parameters()), LAYERS, name, 3)
        holding.attach(trainer)
        return trainer, holding

    net = network()
    trainer, holding = start(net)
    train(net, trainer, 10)
    saved = copy.deepcopy((net.state_dict(), holding.state_dict()))
    train(net, trainer, 10)
    other = network()
    trainer, holding = start(other)
    other.load_state_dict(saved[0])
    holding.load_state_dict(saved[1])
    train(other, trainer, 10)
    for name_, value in net.named_parameters():
        assert torch.equal(value, dict(other.named_parameters())[name_])


def test_removed_parameters_are_free() -> None:
    net = network()
    trainer = torch.optim.SGD(net.parameters(), lr=0.05)
    holding = Holding(dict(net.named_parameters()), LAYERS, "sharing", 2)
    holding.attach(trainer)
    holding.remove()
    train(net, trainer, 2)
    assert len(net[0].weight.unique()) > 10
