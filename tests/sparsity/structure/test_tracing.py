"""Which networks tracing sees through: what is removable, what is only masked, what is refused."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prune_search.sparsity import couplings
from tests.sparsity.structure.finding import Formula, Recurrent, each, find, readable


class Between(nn.Module):
    """Two layers with something between them."""

    def __init__(self, between: nn.Module) -> None:
        super().__init__()
        self.hidden = nn.Linear(4, 6)
        self.between = between
        self.head = nn.Linear(6, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.between(self.hidden(inputs)))


class SwitchedOff(Formula):
    """A branch that a buffer takes out, as it is zero now."""

    def __init__(self, formula: Callable[[Tensor], Tensor], scale: Tensor) -> None:
        super().__init__(formula)
        self.register_buffer("scale", scale)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.scale * self.formula(inputs)


@pytest.mark.parametrize(
    ("between", "removable"),
    [
        (nn.Tanh(), True),
        (nn.Sigmoid(), True),
        (nn.Dropout(), True),
        (nn.BatchNorm1d(6), True),
        (nn.LayerNorm(6), False),
        (nn.LayerNorm(6, elementwise_affine=False), False),
        (nn.BatchNorm1d(6, affine=False), False),
        (nn.GroupNorm(2, 6), False),
        (nn.Softmax(-1), False),
        (nn.Unflatten(-1, (6,)), False),
        (nn.PReLU(), True),
        (nn.PReLU(6), True),
        (nn.RMSNorm(6), False),
        (Formula(lambda x: x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()), False),
        (Formula(lambda x: x / x.square().sum(-1, keepdim=True).add(1e-6).sqrt()), False),
        (Formula(lambda x: F.local_response_norm(x.unsqueeze(-1), 3).squeeze(-1)), False),
        (Formula(lambda x: x / x.abs().amax(-1, keepdim=True).clamp_min(0.1)), False),
        (Formula(lambda x: x.relu() / (1 + x.relu().amax(-1, keepdim=True))), False),
        (Formula(lambda x: x * (1 + (x.amax(-1, keepdim=True) > 50))), False),
        (Formula(lambda x: x / x.shape[-1] ** 0.5), False),
        (SwitchedOff(lambda x: x.softmax(-1), torch.zeros(1)), False),
        (SwitchedOff(lambda x: x.softmax(-1), torch.tensor(False)), False),
        (SwitchedOff(lambda x: x.softmax(-1), torch.tensor(0)), False),
        (SwitchedOff(torch.sin, torch.zeros(1)), True),
    ],
)
def test_what_can_be_masked_but_not_taken_out(between: nn.Module, removable: bool) -> None:
    found = couplings(Between(between), torch.randn(3, 4), lambda net, x: net(x), ["head.weight"])
    assert [(coupling.layer, coupling.removable) for coupling in found] == [
        ("hidden.weight", removable)
    ]


@pytest.mark.parametrize("after", [nn.Identity(), nn.LayerNorm(2), nn.RMSNorm(2)])
def test_what_comes_behind_hides_nothing(after: nn.Module) -> None:
    """Two outputs that are normalised are 1 and -1, whatever is in front of them."""
    model = nn.Sequential(
        nn.Linear(4, 6), nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2),
        after,
    )  # fmt: skip
    found = couplings(model, torch.randn(3, 4), lambda net, x: net(x))
    assert [coupling.removable for coupling in found] == [False, True]


@pytest.mark.parametrize("memory", [nn.GRU, nn.LSTM, nn.RNN])
def test_recurrent_layers_of_several_steps(memory: type[nn.RNNBase]) -> None:
    model = Recurrent()
    model.memory = memory(8, 6, batch_first=True)  # type: ignore[assignment]
    found = find(model, torch.randn(2, 5, 4), ["head.weight"])
    assert found == {
        "after.weight": {
            ("after.weight", 0): each(5),
            ("after.bias", 0): each(5),
            ("head.weight", 1): each(5),
        }
    }


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("channels_last", [False, True])
def test_convolutions_of_each_dimension(dims: int, channels_last: bool) -> None:
    layer = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
    order: nn.Module = nn.Identity()
    if channels_last:
        order = Formula(lambda x: x.movedim(1, -1))
    model = nn.Sequential(
        layer(2, 4, 3), nn.PReLU(4), layer(4, 3, 2), order, nn.Flatten(), nn.Linear(3 * 2**dims, 2)
    )
    coupled = couplings(model, torch.randn(2, 2, *[5] * dims), lambda net, x: net(x))
    assert [coupling.removable for coupling in coupled] == [True, True]
    found = readable(coupled)
    assert found["0.weight"][("1.weight", 0)] == found["0.weight"][("2.weight", 1)] == each(4)
    places = (
        torch.arange(3 * 2**dims).view(-1, 3).T
        if channels_last
        else (torch.arange(3 * 2**dims).view(3, -1))
    )
    assert found["2.weight"][("5.weight", 1)] == places.tolist()


def test_parametrized_layers_and_what_they_read_are_left_out() -> None:
    model = nn.Sequential(
        nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(),
        nn.Linear(5, 2),
    )  # fmt: skip
    torch.nn.utils.parametrizations.weight_norm(model[2])
    assert list(find(model, torch.randn(3, 4), [])) == ["4.weight"]


def test_weight_normalization_by_hooks_is_refused_by_name() -> None:
    with pytest.warns(FutureWarning):
        normalized = torch.nn.utils.weight_norm(nn.Linear(4, 6))
    model = nn.Sequential(normalized, nn.ReLU(), nn.Linear(6, 2))
    with pytest.raises(ValueError, match="Linear '0' has weight normalisation"):
        find(model, torch.randn(3, 4), [])


def test_networks_in_half_precision_and_with_types_written_into_them() -> None:
    class Typed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.head = nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, inputs: Tensor) -> Tensor:
            features = F.linear(inputs, torch.eye(4))  # of float32, and no other
            return self.head(self.hidden(features).relu())

    for model, example in (
        (
            nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)).half(),
            torch.randn(3, 4).half(),
        ),
        (Typed(), torch.randn(3, 4)),
    ):
        found = couplings(model, example, lambda net, x: net(x))
        assert [(unit.units, unit.removable) for unit in found] == [(6, True)]


def test_random_numbers_are_left_as_they_were() -> None:
    model, example = Between(nn.Tanh()), torch.zeros(3, 4)
    before = torch.get_rng_state()
    find(model, example, ["head.weight"])
    assert torch.equal(torch.get_rng_state(), before)


def test_the_values_of_linear_kernels_are_not_asked_for() -> None:
    """However many there are: here they do not exist."""

    def network() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(2, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(27, 6), nn.LayerNorm(6),
            nn.Tanh(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2),
        )  # fmt: skip

    expected = find(network(), torch.randn(2, 2, 4, 4), ["8.weight"])
    without = network()
    for layer in without:
        if isinstance(layer, nn.Linear):
            layer.weight = nn.Parameter(torch.empty_like(layer.weight, device="meta"))
    assert find(without, torch.randn(2, 2, 4, 4), ["8.weight"]) == expected
    assert len(expected) == 3


class OfValues(nn.Module):
    """Its forward pass reads a kernel beside calling the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 5)
        self.head = nn.Linear(5, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.relu(self.first(inputs)) / (1 + self.second.weight.norm())
        return self.head(torch.tanh(self.second(hidden)))


class Fixed(nn.Linear):
    """Computes otherwise than torch does."""

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight / self.weight.norm(), self.bias)


def test_a_forward_pass_that_reads_a_kernel_has_it() -> None:
    model = OfValues()
    assert list(find(model, torch.randn(2, 4), ["head.weight"])) == [
        "first.weight",
        "second.weight",
    ]
    model.second = Fixed(6, 5)
    assert list(find(model, torch.randn(2, 4), ["head.weight"])) == [
        "first.weight",
        "second.weight",
    ]
