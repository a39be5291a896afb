import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from prune_search.sparsity import size
from prune_search.sparsity.structure.compaction import compact


def call(module: nn.Module, inputs: Any) -> Any:
    return module(inputs)


def zero(tensor: Tensor, *index: Any) -> None:
    with torch.no_grad():
        tensor[index] = 0.0


def bias_(layer: nn.Module) -> None:
    """Biases that matter."""
    with torch.no_grad():
        for name, param in layer.named_parameters():
            if name.endswith("bias"):
                param.uniform_(0.3, 1.0)


def mlp(activation: nn.Module | None = None, last_bias: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(4, 5),
        activation or nn.Tanh(),
        nn.Linear(5, 3),
        activation or nn.Tanh(),
        nn.Linear(3, 2, bias=last_bias),
    )
    bias_(network)
    return network


def assert_same(first: nn.Module, second: nn.Module, shape: tuple[int, ...]) -> None:
    first, second = copy.deepcopy(first).eval(), copy.deepcopy(second).eval()
    with torch.no_grad():
        for scale in (0.1, 1.0, 5.0):
            inputs = scale * torch.randn(200, *shape)
            expected = first(inputs)
            # Folding changes the order of sums, and with it the rounding.
            atol = 1e-6 * max(1.0, float(expected.abs().max()))
            torch.testing.assert_close(second(inputs), expected, rtol=1e-5, atol=atol)


def test_a_network_without_zeros_stays() -> None:
    network = mlp()
    found = compact(network, torch.randn(8, 4), call)
    assert found.removed == found.folded == {"0.weight": 0, "2.weight": 0}
    assert found.before == found.after == size(dict(network.named_parameters()))
    assert found.error == 0
    for key, value in found.module.state_dict().items():
        assert torch.equal(value, network.state_dict()[key])
    assert found.module is not network


def test_units_that_nobody_reads_go() -> None:
    network = mlp()
    zero(network[2].weight, slice(None), [1, 3])
    found = compact(network, torch.randn(8, 4), call)
    assert found.removed == {"0.weight": 2, "2.weight": 0}
    assert found.folded == {"0.weight": 0, "2.weight": 0}
    assert found.layout.kept["0.bias"][0].tolist() == [0, 2, 4]
    assert found.module[0].weight.shape == (3, 4)
    assert found.module[2].weight.shape == (3, 3)
    assert torch.equal(found.module[0].weight, network[0].weight[[0, 2, 4]])
    assert found.before.parameters - found.after.parameters == 2 * (4 + 1 + 3)
    assert_same(network, found.module, (4,))


@pytest.mark.parametrize(
    "activation", [nn.Tanh(), nn.ReLU(), nn.Sigmoid(), nn.Softplus(), nn.ELU(), nn.Hardtanh()]
)
def test_constant_units_are_folded_whatever_the_activation(activation: nn.Module) -> None:
    network = mlp(activation)
    zero(network[0].weight, 2)
    constant = activation(network[0].bias[2]).item()
    found = compact(network, torch.randn(8, 4), call)
    assert found.removed == found.folded == {"0.weight": 1, "2.weight": 0}
    expected = network[2].bias + network[2].weight[:, 2] * constant
    torch.testing.assert_close(found.module[2].bias, expected)
    assert_same(network, found.module, (4,))


def test_removals_go_on_in_both_directions() -> None:
    network = mlp()
    zero(network[4].weight, slice(None), 0)  # nobody reads unit 0 of the second layer,
    zero(network[2].weight, [1, 2], 4)  # the only reader of unit 4 of the first
    zero(network[0].weight, [0, 1])  # two constants,
    zero(network[2].weight, 1, [2, 3])  # and what reads them alone is a constant
    found = compact(network, torch.randn(8, 4), call)
    assert found.removed == {"0.weight": 3, "2.weight": 2}
    assert found.folded == {"0.weight": 2, "2.weight": 1}
    assert found.layout.kept["2.bias"][0].tolist() == [2]
    assert_same(network, found.module, (4,))


def test_a_reader_without_bias_takes_no_constant_but_zero() -> None:
    network = mlp(nn.ReLU(), last_bias=False)
    zero(network[2].weight, [0, 1])
    with torch.no_grad():
        network[2].bias[0] = -1.0  # behind the ReLU zero
    found = compact(network, torch.randn(8, 4), call)
    assert found.removed == {"0.weight": 0, "2.weight": 1}
    assert found.folded == {"0.weight": 0, "2.weight": 0}
    assert found.layout.kept["2.bias"][0].tolist() == [1, 2]
    assert_same(network, found.module, (4,))


@pytest.mark.parametrize("blocked", ["first", "second", "output"])
def test_a_network_all_of_whose_paths_are_cut_keeps_one_unit_a_layer(blocked: str) -> None:
    network = mlp(nn.Sigmoid())
    nn.init.zeros_(network[{"first": 0, "second": 2, "output": 4}[blocked]].weight)
    found = compact(network, torch.randn(8, 4), call)
    assert found.removed == {"0.weight": 4, "2.weight": 2}
    assert found.module[2].weight.shape == (1, 1)
    assert not any(bool(found.module[place].weight.any()) for place in (0, 2, 4))
    assert_same(network, found.module, (4,))


class Branches(nn.Module):
    """A trunk that two layers read, one of them beside the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Linear(4, 6)
        self.beside = nn.Linear(4 + 6, 5)
        self.pi = nn.Linear(6, 2)
        self.vf = nn.Linear(5, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        features = torch.sigmoid(self.trunk(inputs))
        value = self.vf(torch.relu(self.beside(torch.cat([inputs, features], -1))))
        return torch.cat([self.pi(features), value], -1)


def test_a_unit_with_several_readers() -> None:
    network = Branches()
    bias_(network)
    zero(network.pi.weight, slice(None), [0, 1])
    zero(network.beside.weight, slice(None), [4 + 0, 4 + 2])  # unit 0 alone has no reader left
    zero(network.trunk.weight, 5)
    found = compact(network, torch.randn(8, 4), call)
    assert found.layout.kept["trunk.bias"][0].tolist() == [1, 2, 3, 4]
    assert found.layout.kept["beside.weight"][1].tolist() == [0, 1, 2, 3, 5, 6, 7, 8]
    assert found.folded["trunk.weight"] == 1
    assert_same(network, found.module, (4,))


class Convolutional(nn.Module):
    def __init__(self, padding: int, mode: str = "zeros") -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 3, 3, padding=padding, padding_mode=mode)
        self.head = nn.Linear(3 * (4 + 2 * padding) ** 2, 2)
        bias_(self)
        with torch.no_grad():
            self.norm.running_mean.uniform_(-1, 1)
            self.norm.running_var.uniform_(0.5, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        features = torch.sigmoid(self.norm(self.first(inputs)))
        features = torch.relu(self.second(features)).permute(0, 2, 3, 1)
        return self.head(features.flatten(1))


@pytest.mark.parametrize(
    ("padding", "mode", "folded"), [(0, "zeros", 1), (1, "zeros", 0), (1, "replicate", 1)]
)
def test_constant_filters(padding: int, mode: str, folded: int) -> None:
    network = Convolutional(padding, mode)
    zero(network.first.weight, 2)
    zero(network.second.weight, 0)  # flattened: constant at each position
    found = compact(network, torch.randn(8, 2, 8, 8), call)
    assert found.removed == found.folded == {"first.weight": folded, "second.weight": 1}
    assert found.module.norm.running_mean.shape == (4 - folded,)
    assert_same(network, found.module, (2, 8, 8))


def test_a_zero_is_no_border() -> None:
    network = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1), nn.Flatten(), nn.Linear(27, 2)
    )
    zero(network[0].weight, 2)
    with torch.no_grad():
        network[0].bias[2] = -0.5
    found = compact(network, torch.randn(8, 2, 5, 5), call)
    assert found.removed == {"0.weight": 1, "2.weight": 0}
    assert found.folded == {"0.weight": 0, "2.weight": 0}
    assert_same(network, found.module, (2, 5, 5))


def test_nothing_goes_in_front_of_a_layer_norm() -> None:
    network = nn.Sequential(
        nn.Linear(4, 6), nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2)
    )
    zero(network[0].weight, [0, 1])
    zero(network[3].weight, slice(None), [2, 3])
    zero(network[3].weight, 4)
    found = compact(network, torch.randn(8, 4), call)
    assert found.removed == found.folded == {"3.weight": 1}
    assert_same(network, found.module, (4,))


class Gated(nn.Module):
    """A unit without incoming weights is no constant here."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(4, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.hidden(inputs) * inputs.mean(-1, keepdim=True))


def test_constants_are_measured() -> None:
    network = Gated()
    bias_(network)
    zero(network.hidden.weight, [1, 2])
    zero(network.hidden.bias, 2)
    found = compact(network, torch.randn(8, 4), call)
    assert found.layout.kept["hidden.bias"][0].tolist() == [0, 1, 3, 4, 5]
    assert found.folded == {"hidden.weight": 0}
    assert_same(network, found.module, (4,))


def test_dropout_is_off_and_modes_are_kept() -> None:
    network = nn.Sequential(nn.Linear(4, 6), nn.Sigmoid(), nn.Dropout(0.5), nn.Linear(6, 2))
    network[2].eval()
    zero(network[0].weight, 0)
    before = copy.deepcopy(network.state_dict())
    found = compact(network, {"obs": [torch.randn(8, 4)]}, lambda net, x: net(x["obs"][0]))
    assert found.folded == {"0.weight": 1}
    assert [module.training for module in found.module] == [True, True, False, True]
    assert [module.training for module in network] == [True, True, False, True]
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert_same(network, found.module, (4,))


class Treacherous(nn.Module):
    """Computes something else with four units, but not with any other number of its six."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(4, 6)
        self.second = nn.Linear(6, 5)
        self.head = nn.Linear(5, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        features = torch.tanh(self.hidden(inputs))
        return self.head(torch.relu(self.second(features))) + float(features.shape[-1] == 4)


def test_only_what_changes_the_outputs_stays() -> None:
    network = Treacherous()
    zero(network.second.weight, slice(None), [0, 1])
    zero(network.head.weight, slice(None), 3)
    found = compact(network, torch.randn(8, 4), call)
    assert found.refused == ("hidden.weight",)
    assert found.removed == {"hidden.weight": 0, "second.weight": 1}
    assert_same(network, found.module, (4,))


class Erratic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()
        self.calls = 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        return self.net(inputs) + self.calls


def test_what_differs_from_call_to_call_is_not_handed_out() -> None:
    with pytest.raises(RuntimeError, match="outputs differ from call to call by"):
        compact(Erratic(), torch.randn(8, 4), call)


ACTIVATIONS = [nn.Tanh, nn.ReLU, nn.Sigmoid, nn.Softplus, nn.SiLU, nn.LeakyReLU, nn.Identity]


@st.composite
def networks(draw: st.DrawFn) -> tuple[nn.Sequential, tuple[int, ...]]:
    torch.manual_seed(draw(st.integers(0, 2**31)))
    activation = draw(st.sampled_from(ACTIVATIONS))
    sparsity = draw(st.sampled_from([0.3, 0.7, 0.9, 0.97]))
    layers: list[nn.Module] = []
    shape: tuple[int, ...] = (3,)
    width = 3
    if draw(st.booleans()):
        shape = (2, 6, 6)
        filters, padding = draw(st.integers(1, 5)), draw(st.integers(0, 1))
        bias = draw(st.booleans())
        layers += [nn.Conv2d(2, filters, 3), activation()]
        layers += [nn.Conv2d(filters, 4, 3, padding=padding, bias=bias), activation()]
        layers += [nn.Flatten()]
        width = 4 * (2 + 2 * padding) ** 2
    for _ in range(draw(st.integers(1, 4))):
        wider = draw(st.integers(1, 12))
        layers += [nn.Linear(width, wider, bias=draw(st.booleans()))]
        layers += [nn.LayerNorm(wider)] if draw(st.integers(0, 5)) == 0 else []
        layers += [activation()]
        width = wider
    network = nn.Sequential(*layers, nn.Linear(width, 2))
    with torch.no_grad():
        for param in network.parameters():
            if param.dim() >= 2:
                param.mul_(2.0)
            param.mul_(torch.rand(param.shape) >= (sparsity if param.dim() >= 2 else 0.3))
    return network, shape


@settings(max_examples=15)
@given(networks())
def test_the_function_stays_the_same(drawn: tuple[nn.Sequential, tuple[int, ...]]) -> None:
    network, shape = drawn
    found = compact(network, torch.randn(8, *shape), call)
    assert_same(network, found.module, shape)
    assert found.after.parameters <= found.before.parameters
    assert found.after.nonzero <= found.before.nonzero
    assert found.error <= 1e-5
    shapes = {name: tuple(param.shape) for name, param in found.module.named_parameters()}
    assert shapes == found.layout.shapes

    assert isinstance(found.module, nn.Sequential)
    for layer, removed in found.removed.items():
        weight = found.module.get_parameter(layer).detach()
        assert len(weight) == len(network.get_parameter(layer)) - removed
        if len(weight) == 1:
            continue
        following = [*found.module][int(layer.split(".")[0]) + 1 :]
        reader = next(each for each in following if isinstance(each, (nn.Linear, nn.Conv2d)))
        used = reader.weight.detach().movedim(1, 0).reshape(len(weight), -1)
        assert bool(used.any(1).all())
        if isinstance(reader, nn.Linear) and reader.bias is not None:
            assert bool(weight.flatten(1).any(1).all())
