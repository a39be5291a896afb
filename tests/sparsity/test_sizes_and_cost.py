import copy
import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from prune_search.sparsity import compact, couplings, size
from prune_search.sparsity.forward_cost import Cost, cost


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


def test_attention_counts_projections_and_both_products() -> None:
    """8 features, 2 heads, 7 steps: four projections, queries by keys, weights by values."""
    for layer in (
        nn.MultiheadAttention(8, 2, batch_first=True),
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
    ):
        feedforward = 7 * 2 * 8 * 16 if isinstance(layer, nn.TransformerEncoderLayer) else 0

        def forward(net: Any, x: torch.Tensor) -> Any:
            return net(x) if isinstance(net, nn.TransformerEncoderLayer) else net(x, x, x)[0]

        found = cost(layer, torch.randn(3, 7, 8), forward)
        assert found.macs == found.macs_nonzero == 7 * 4 * 64 + 2 * 7 * 7 * 8 + feedforward
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    nn.init.zeros_(attention.in_proj_weight)
    found = cost(attention, torch.randn(3, 7, 8), lambda net, x: net(x, x, x)[0])
    assert found.macs_nonzero == 7 * 64 + 2 * 7 * 7 * 8


@pytest.mark.parametrize("grad", [True, False])
def test_cells_bare_parameters_and_transposed_convolutions_count(grad: bool) -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = nn.Parameter(torch.eye(4))

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs @ self.kernel

    with torch.set_grad_enabled(grad):
        cell = cost(nn.LSTMCell(3, 5), torch.randn(2, 3), lambda net, x: net(x)[0])
        assert cell.macs == cell.macs_nonzero == 4 * 5 * (3 + 5)
        bare = cost(Bare(), torch.randn(2, 4), call)
        assert (bare.macs, bare.macs_nonzero) == (16, 4)
        assert cost(nn.ConvTranspose1d(2, 3, 2), torch.randn(5, 2, 4), call).macs == 4 * 2 * 3 * 2
    with torch.inference_mode():
        assert cost(nn.Linear(3, 5), torch.randn(2, 3), call).macs == 15


def test_a_packed_sequence_counts_its_steps() -> None:
    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(2, 7, 3), [7, 3], batch_first=True)
    found = cost(nn.GRU(3, 5, batch_first=True), packed, lambda net, x: net(x)[0].data)
    assert found.macs == (7 + 3) * 3 * 5 * (3 + 5) // 2


def test_an_example_without_a_batch_dimension_holds_one_sample() -> None:
    assert cost(nn.Linear(4, 8), torch.randn(4), call, samples=1).macs == 32
    with pytest.raises(ValueError, match="say how many samples"):
        cost(nn.Linear(4, 8), torch.randn(4), call, samples=0)


class Odd(nn.Module):
    """No kernel, a parameter of whole numbers and one without entries."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.arange(6).view(2, 3), requires_grad=False)
        self.empty = nn.Parameter(torch.zeros(0, 3))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs.relu()


def test_a_network_without_kernels_costs_nothing() -> None:
    assert cost(Odd(), torch.randn(2, 4), call) == Cost(0, 0, 6 * 8)
    assert couplings(Odd(), torch.randn(2, 4), call) == []
    assert compact(Odd(), torch.randn(2, 4), call).removed == {}
    found = size(dict(Odd().named_parameters()))
    assert (found.parameters, found.nonzero, found.layers["empty"]) == (6, 5, 0.0)


def test_a_tensor_under_two_names_counts_once() -> None:
    first, second = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
    second.weight = first.weight
    state = nn.ModuleList([first, second]).state_dict()
    assert len(state) == 2
    found = size(state)
    assert (found.parameters, found.weights) == (16, 16)
    assert found.layers == {"0.weight": 0.0, "1.weight": 0.0}


@pytest.mark.parametrize("example", [{}, torch.tensor(1.0), [torch.zeros(0, 4)], "text"])
def test_an_example_without_a_batch(example: Any) -> None:
    with pytest.raises(ValueError, match="holds no tensor whose first dimension is a batch"):
        cost(nn.Linear(4, 4), example, call)
