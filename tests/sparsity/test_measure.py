import copy
import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from prune_search.sparsity import size
from prune_search.sparsity.measure import Cost, cost


def test_everything_is_counted() -> None:
    found = size(
        {
            "a.weight": torch.tensor([[1.0, 0.0], [0.0, 0.0]]),
            "a.bias": torch.tensor([0.0, 1.0]),
            "b.weight": torch.ones(2, 1, 1, 2),
        }
    )
    assert (found.parameters, found.nonzero) == (10, 6)
    assert (found.weights, found.weights_nonzero) == (8, 5)
    assert found.layers == {"a.weight": 0.75, "b.weight": 0.0}
    assert found.sparsity == pytest.approx(0.4)
    assert found.weight_sparsity == pytest.approx(0.375)
    assert found.compression == pytest.approx(10 / 6)


def test_nothing_left() -> None:
    found = size({"w": torch.zeros(3, 3)})
    assert found.sparsity == 1.0
    assert found.compression == math.inf


def test_no_parameters() -> None:
    found = size({})
    assert found.sparsity == found.weight_sparsity == 0.0


def test_nan_is_not_zero() -> None:
    assert size({"w": torch.full((2, 2), float("nan"))}).sparsity == 0.0


def call(module: nn.Module, inputs: Any) -> Any:
    return module(inputs)


def test_cost_of_a_plain_network() -> None:
    network = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2, bias=False))
    expected = Cost(4 * 8 + 8 * 2, 4 * 8 + 8 * 2, 4 * (4 * 8 + 8 + 8 * 2))
    assert cost(network, torch.randn(3, 4), call) == expected
    assert cost(network, {"text": "x", "obs": torch.randn(1, 4)}, lambda net, x: net(x["obs"])) == (
        expected
    )
    with torch.no_grad():
        network[0].weight[:, 1] = 0.0
        network[0].bias.zero_()  # biases are no products
        network[2].weight[0, :5] = 0.0
    assert cost(network, torch.randn(3, 4), call).macs_nonzero == 3 * 8 + 8 * 2 - 5
    assert cost(network, torch.randn(3, 4), call).macs == expected.macs


def test_cost_of_a_convolutional_network() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 6, 3, stride=2, groups=2),
        nn.Flatten(),
        nn.Linear(24, 5),
    ).double()
    before = copy.deepcopy(network.state_dict())
    found = cost(network, torch.randn(2, 3, 6, 6).double(), call)
    first, second, head = 36 * 4 * 3 * 9, 4 * 6 * 2 * 9, 24 * 5
    assert found.macs == found.macs_nonzero == first + second + head
    assert found.parameter_bytes == 8 * ((108 + 4) + 8 + (108 + 6) + (120 + 5))
    with torch.no_grad():
        network[0].weight[1] = 0.0
    assert cost(network, torch.randn(2, 3, 6, 6).double(), call).macs_nonzero == (
        36 * 3 * 3 * 9 + second + head
    )
    assert network.training and not network[1].num_batches_tracked
    assert torch.equal(network[1].running_mean, before["1.running_mean"])


def test_torch_counts_the_same() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 5, stride=2, padding=2, dilation=2),
        nn.ReLU(),
        nn.Conv2d(4, 8, (3, 1), groups=4),
        nn.Flatten(2),
        nn.Linear(15, 7),
    )
    example = torch.randn(6, 3, 13, 13)
    with FlopCounterMode(display=False) as counter:
        network(example)
    assert cost(network, example, call).macs == counter.get_total_flops() // 2 // 6


@pytest.mark.parametrize("directions", [1, 2])
def test_recurrent_layers_count_once_a_step(directions: int) -> None:
    network = nn.LSTM(3, 5, batch_first=True, bidirectional=directions == 2)
    found = cost(network, torch.randn(2, 7, 3), lambda net, x: net(x)[0])
    assert found.macs == directions * 7 * 4 * 5 * (3 + 5)


def test_a_layer_called_twice_works_twice_but_is_stored_once() -> None:
    layer = nn.Linear(4, 4)
    found = cost(nn.Sequential(layer, layer), torch.randn(2, 4), call)
    assert found == Cost(32, 32, 80)


@pytest.mark.parametrize("example", [{}, torch.tensor(1.0), [torch.zeros(0, 4)], "text"])
def test_an_example_without_a_batch(example: Any) -> None:
    with pytest.raises(ValueError, match="holds no tensor whose first dimension is a batch"):
        cost(nn.Linear(4, 4), example, call)
