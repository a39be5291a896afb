"""Which parameters are quantized together, and the two biases of a recurrent cell that are one."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from prune_search.compression.holding import Holding
from prune_search.compression.layers import HeldLayers, held_layers
from prune_search.compression.methods import METHODS

INPUTS, TARGETS = torch.randn(2, 8, 5, 6, generator=torch.Generator().manual_seed(0))


class Recurrent(nn.Module):
    """Two cells one behind the other, and a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.cells = nn.LSTM(6, 7, num_layers=2, batch_first=True)
        self.head = nn.Linear(7, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.cells(x)[0])
        return out


def names(network: nn.Module) -> HeldLayers:
    parameters = dict(network.named_parameters())
    kernels = [name for name, value in parameters.items() if value.dim() > 1]
    return held_layers(kernels, parameters, dict(network.named_modules()))


def cell(number: int, *parts: str, path: str = "cells") -> list[str]:
    return [f"{path}.{part}_l{number}" for part in parts]


def test_a_kernel_is_with_its_bias() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.LayerNorm(4), nn.Linear(4, 2, bias=False))
    assert names(network) == ([["0.weight", "0.bias"], ["2.weight"]], {})
    assert names(nn.Linear(2, 2)) == ([["weight", "bias"]], {})


def test_a_recurrent_cell_is_one_layer_with_one_bias() -> None:
    found = names(Recurrent())
    assert found.layers == [
        cell(0, "weight_ih", "weight_hh", "bias_ih"),
        cell(1, "weight_ih", "weight_hh", "bias_ih"),
        ["head.weight", "head.bias"],
    ]
    assert found.added == {f"cells.bias_hh_l{n}": f"cells.bias_ih_l{n}" for n in (0, 1)}


@pytest.mark.parametrize(
    ("module", "parts"),
    [
        (nn.LSTM(2, 3, bias=False), ["weight_ih", "weight_hh"]),
        (nn.GRU(2, 3), ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]),
    ],
)
def test_biases_that_are_not_there_or_are_apart(module: nn.Module, parts: list[str]) -> None:
    """A GRU's second bias is multiplied before it is added."""
    network = nn.ModuleDict({"cells": module})
    assert names(network) == ([cell(0, *parts)], {})


@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_second_bias_is_in_the_first_and_stays_zero(name: str) -> None:
    """Also under an optimizer with moments; and what is held again has nothing more to move."""
    network = Recurrent()
    parameters = dict(network.named_parameters())
    trainer = torch.optim.Adam(network.parameters(), lr=0.01)

    def train() -> float:
        for _ in range(20):
            trainer.zero_grad()
            loss = (network(INPUTS) - TARGETS).square().mean()
            loss.backward()
            trainer.step()
        return float(loss.detach())

    before = train()
    layers, added = names(network)
    assert all(parameters[second].count_nonzero() for second in added)
    sums = {one: parameters[one] + parameters[other] for other, one in added.items()}
    expected = copy.deepcopy(network)
    Holding({**dict(expected.named_parameters()), **sums}, layers, name, 8, None)  # sums alone
    holding = Holding(parameters, layers, name, 8, added)
    for one, total in sums.items():
        assert torch.equal(parameters[one], total)
    holding.attach(trainer)
    assert train() < before
    holding.settle()
    held = {one: value.detach().clone() for one, value in parameters.items()}
    assert not any(held[second].count_nonzero() for second in added)
    Holding(parameters, layers, name, 8, added)
    assert all(torch.allclose(parameters[one], held[one], atol=1e-7) for one in held)
