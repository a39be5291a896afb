"""Hidden units of networks: which entries of which parameters each of them has."""

import copy

import pytest
import torch
from torch import Tensor, nn

from prune_search.sparsity import couplings
from tests.sparsity.structure.finding import Recurrent, each, find, readable


def test_plain_network() -> None:
    model = nn.Sequential(
        nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3, bias=False), nn.ReLU(), nn.Linear(3, 2)
    )
    assert find(model, torch.randn(2, 4), ["4.weight"]) == {
        "0.weight": {("0.weight", 0): each(5), ("0.bias", 0): each(5), ("2.weight", 1): each(5)},
        "2.weight": {("2.weight", 0): each(3), ("4.weight", 1): each(3)},
    }


def test_what_reaches_an_output_is_kept_even_if_no_head_is_named() -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
    assert list(find(model, torch.randn(2, 4), [])) == ["0.weight"]


class ActorCritic(nn.Module):
    """Nested as in RLlib's catalogs."""

    def __init__(self, shared: bool) -> None:
        super().__init__()

        def encoder() -> nn.Module:
            return nn.ModuleDict(
                {"net": nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 5))}
            )

        names = ["encoder"] if shared else ["actor_encoder", "critic_encoder"]
        self.encoder = nn.ModuleDict({name: encoder() for name in names})
        self.pi = nn.Linear(5, 2)
        self.vf = nn.Linear(5, 1)

    def forward(self, inputs: Tensor) -> list[Tensor]:
        features = [torch.relu(net["net"](inputs)) for net in self.encoder.values()]
        return [self.pi(features[0]), self.vf(features[-1]).squeeze(-1)]


HEADS = ["pi.weight", "vf.weight"]


def test_both_heads_read_a_shared_encoder() -> None:
    found = find(ActorCritic(shared=True), torch.randn(2, 4), HEADS)
    first, second = "encoder.encoder.net.0", "encoder.encoder.net.3"
    norm = "encoder.encoder.net.1"
    assert found == {
        f"{first}.weight": {
            (f"{first}.weight", 0): each(6),
            (f"{first}.bias", 0): each(6),
            (f"{norm}.weight", 0): each(6),
            (f"{norm}.bias", 0): each(6),
            (f"{second}.weight", 1): each(6),
        },
        f"{second}.weight": {
            (f"{second}.weight", 0): each(5),
            (f"{second}.bias", 0): each(5),
            ("pi.weight", 1): each(5),
            ("vf.weight", 1): each(5),
        },
    }


def test_separate_encoders_have_units_of_their_own() -> None:
    found = find(ActorCritic(shared=False), torch.randn(2, 4), HEADS)
    assert len(found) == 4
    for side, head in (("actor", "pi"), ("critic", "vf")):
        last = found[f"encoder.{side}_encoder.net.3.weight"]
        assert [name for name, dim in last if dim == 1] == [f"{head}.weight"]


class Convolutional(nn.Module):
    def __init__(self, channels_last: bool) -> None:
        super().__init__()
        self.channels_last = channels_last
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 5, 3, stride=2, padding=1)
        self.hidden = nn.Linear(5 * 9, 7)
        self.head = nn.Linear(7, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        features = torch.relu(self.second(torch.relu(self.norm(self.first(inputs)))))
        if self.channels_last:
            features = features.permute(0, 2, 3, 1)
        return self.head(torch.relu(self.hidden(features.flatten(1))))


@pytest.mark.parametrize("channels_last", [False, True])
def test_filters_that_are_flattened_keep_their_columns(channels_last: bool) -> None:
    found = find(Convolutional(channels_last), torch.randn(2, 3, 6, 6), ["head.weight"])
    assert list(found) == ["first.weight", "second.weight", "hidden.weight"]
    assert found["first.weight"][("second.weight", 1)] == each(4)
    assert found["first.weight"][("norm.bias", 0)] == each(4)
    places = torch.arange(45).view(9, 5).T if channels_last else torch.arange(45).view(5, 9)
    assert found["second.weight"][("hidden.weight", 1)] == places.tolist()
    assert found["hidden.weight"][("head.weight", 1)] == each(7)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 8)
        self.down = nn.Linear(8, 5)
        self.up = nn.Linear(5, 8)
        self.head = nn.Linear(4 + 8, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        stream = self.stem(inputs)
        stream = stream + self.up(torch.tanh(self.down(torch.relu(stream))))
        return self.head(torch.cat([inputs, torch.relu(stream)], -1))


def test_layers_that_are_added_up_share_their_units() -> None:
    assert find(Residual(), torch.randn(2, 4), ["head.weight"]) == {
        "stem.weight": {
            ("stem.weight", 0): each(8),
            ("stem.bias", 0): each(8),
            ("down.weight", 1): each(8),
            ("up.weight", 0): each(8),
            ("up.bias", 0): each(8),
            ("head.weight", 1): each(8, offset=4),  # behind the observations
        },
        "down.weight": {
            ("down.weight", 0): each(5),
            ("down.bias", 0): each(5),
            ("up.weight", 1): each(5),
        },
    }


def test_what_touches_a_recurrent_layer_is_left_out() -> None:
    assert list(find(Recurrent(), torch.randn(2, 3, 4), ["head.weight"])) == ["after.weight"]


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.both = nn.Linear(4, 8)
        self.head = nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        value, gate = self.both(inputs).chunk(2, -1)
        return self.head(value * gate.sigmoid())


def test_rows_that_meet_in_one_column_are_one_unit() -> None:
    model, example = Gated(), torch.randn(2, 4)
    assert find(model, example, ["head.weight"]) == {
        "both.weight": {
            ("both.weight", 0): [[unit, unit + 4] for unit in range(4)],
            ("both.bias", 0): [[unit, unit + 4] for unit in range(4)],
            ("head.weight", 1): each(4),
        }
    }
    assert couplings(model, example, lambda net, x: net(x))[0].removable


def test_layers_that_are_not_called_are_left_out() -> None:
    model = ActorCritic(shared=False)
    actor = model.encoder["actor_encoder"]["net"]
    found = couplings(model, torch.randn(2, 4), lambda net, x: actor(x).detach(), HEADS)
    assert [coupling.layer for coupling in found] == []
    found = couplings(
        model,
        torch.randn(2, 4),
        lambda net, x: net.pi(net.encoder["actor_encoder"]["net"](x)),
        HEADS,
    )
    assert [coupling.layer.split(".")[1] for coupling in found] == ["actor_encoder"] * 2


def test_the_module_is_left_as_it_was() -> None:
    model = ActorCritic(shared=True)
    model.vf.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    params = list(model.parameters())
    with torch.no_grad():
        assert find(model, torch.randn(2, 4), HEADS)
    assert model.training and not model.vf.weight.requires_grad and model.pi.weight.requires_grad
    assert all(new is old for new, old in zip(model.parameters(), params, strict=True))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_errors() -> None:
    model = nn.Sequential(nn.Linear(4, 5))
    with pytest.raises(ValueError, match=r"not parameters of the module: \['head.weight'\]"):
        find(model, torch.randn(2, 4), ["head.weight"])
    assert couplings(model, torch.randn(2, 4), lambda net, x: net(x).detach(), []) == []
    with pytest.raises(ValueError, match="LazyLinear '0' has no shape yet"):
        find(nn.Sequential(nn.LazyLinear(3)), torch.randn(2, 4), [])


class Duelling(nn.Module):
    """As RLlib's DQN: a shared encoder, and streams of advantages and values."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
        self.advantage = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
        self.value = nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.encoder(inputs)
        advantage = self.advantage(features)
        return self.value(features) + advantage - advantage.mean(-1, keepdim=True)


def test_duelling_streams() -> None:
    found = find(Duelling(), torch.randn(2, 4), ["advantage.2.weight", "value.2.weight"])
    assert list(found) == ["encoder.0.weight", "advantage.0.weight", "value.0.weight"]
    assert found["encoder.0.weight"] == {
        ("encoder.0.weight", 0): each(8),
        ("encoder.0.bias", 0): each(8),
        ("advantage.0.weight", 1): each(8),
        ("value.0.weight", 1): each(8),
    }
    assert found["advantage.0.weight"][("advantage.2.weight", 1)] == each(6)
    assert found["value.0.weight"][("value.2.weight", 1)] == each(5)


class TwinCritics(nn.Module):
    """As RLlib's SAC: critics read observations beside actions, given and sampled ones."""

    def __init__(self) -> None:
        super().__init__()
        self.pi = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4))
        self.qf = nn.Sequential(nn.Linear(3 + 2, 6), nn.ReLU(), nn.Linear(6, 1))
        self.qf_twin = nn.Sequential(nn.Linear(3 + 2, 6), nn.ReLU(), nn.Linear(6, 1))

    def forward(self, batch: dict[str, Tensor]) -> list[Tensor]:
        observations = batch["observations"]
        mean, log_std = self.pi(observations).chunk(2, -1)
        sampled = torch.tanh(mean + log_std.clamp(-20, 2).exp() * torch.randn_like(mean))
        values = [
            critic(torch.cat([observations, actions], -1))
            for critic in (self.qf, self.qf_twin)
            for actions in (batch["actions"], sampled.detach())
        ]
        return [mean, log_std, *values]


def test_twin_critics_that_read_observations_and_actions() -> None:
    batch = {"observations": torch.randn(2, 3), "actions": torch.randn(2, 2)}
    heads = ["pi.2.weight", "qf.2.weight", "qf_twin.2.weight"]
    model = TwinCritics()
    coupled = couplings(model, batch, lambda net, inputs: net(inputs), heads)
    assert all(coupling.removable for coupling in coupled)
    found = readable(coupled)
    assert {layer: len(slices) for layer, slices in found.items()} == {
        "pi.0.weight": 3,
        "qf.0.weight": 3,
        "qf_twin.0.weight": 3,
    }
    assert found["qf_twin.0.weight"][("qf_twin.2.weight", 1)] == each(6)


class Gaussian(nn.Module):
    """A standard deviation that doesn't depend on observations, as in RLlib's free_log_std."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(4, 6)
        self.mean = nn.Linear(6, 2)
        self.log_std = nn.Parameter(torch.zeros(2))

    def forward(self, inputs: Tensor) -> Tensor:
        mean = self.mean(torch.tanh(self.hidden(inputs)))
        return torch.cat([mean, self.log_std.expand_as(mean)], -1)


@pytest.mark.parametrize("heads", [["mean.weight"], []])
def test_a_free_standard_deviation_is_no_unit(heads: list[str]) -> None:
    found = find(Gaussian(), torch.randn(2, 4), heads)
    assert list(found) == ["hidden.weight"]
    assert found["hidden.weight"][("mean.weight", 1)] == each(6)


class Fused(nn.Module):
    """A flattened convolution and a linear layer, added up: SAC's critic of images and actions."""

    def __init__(self, filters_first: bool) -> None:
        super().__init__()
        if filters_first:
            self.convolution = nn.Conv2d(2, 3, 3, stride=2)
        self.action = nn.Linear(2, 12)
        if not filters_first:
            self.convolution = nn.Conv2d(2, 3, 3, stride=2)
        self.out = nn.Sequential(nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 1))

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        features = self.convolution(inputs["image"]).flatten(1)
        return self.out(features + self.action(inputs["action"]))


@pytest.mark.parametrize("filters_first", [True, False])
def test_a_filter_takes_along_what_is_added_to_it_flattened(filters_first: bool) -> None:
    batch = {"image": torch.randn(2, 2, 5, 5), "action": torch.randn(2, 2)}
    model = Fused(filters_first)
    coupled = couplings(model, batch, lambda net, inputs: net(inputs))
    first = "convolution.weight" if filters_first else "action.weight"
    assert [coupling.layer for coupling in coupled] == [first, "out.0.weight"]
    assert all(coupling.removable for coupling in coupled)
    four = [[4 * unit + place for place in range(4)] for unit in range(3)]
    found = readable(coupled)[first]
    assert found[("convolution.weight", 0)] == found[("convolution.bias", 0)] == each(3)
    assert found[("action.weight", 0)] == found[("out.0.weight", 1)] == four


class TwoHeadedConvolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, stride=2)
        self.pi = nn.Sequential(nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 2))
        self.vf = nn.Sequential(nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 1))

    def forward(self, inputs: Tensor) -> list[Tensor]:
        images = inputs.permute(0, 3, 1, 2)
        features = torch.relu(self.convolution(images)).permute(0, 2, 3, 1).flatten(1)
        return [self.pi(features), self.vf(features)]


def test_both_heads_read_filters_that_are_flattened_channels_last() -> None:
    model = TwoHeadedConvolutional()
    found = find(model, torch.randn(2, 5, 5, 3), ["pi.2.weight", "vf.2.weight"])
    places = torch.arange(16).view(4, 4).T.tolist()
    assert found["convolution.weight"][("pi.0.weight", 1)] == places
    assert found["convolution.weight"][("vf.0.weight", 1)] == places
    assert list(found) == ["convolution.weight", "pi.0.weight", "vf.0.weight"]


class Nested(nn.Module):
    """Each layer reads all that came before it, raw inputs included, as OFENet."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(10, 5)
        self.head = nn.Linear(15, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        inputs = torch.cat([inputs, self.first(inputs).relu()], -1)
        inputs = torch.cat([inputs, self.second(inputs).relu()], -1)
        return self.head(inputs)


def test_nested_concatenation_with_raw_inputs() -> None:
    found = couplings(Nested(), torch.randn(3, 4), lambda net, x: net(x))
    assert all(coupling.removable for coupling in found)
    assert readable(found) == {
        "first.weight": {
            ("first.weight", 0): each(6),
            ("first.bias", 0): each(6),
            ("second.weight", 1): each(6, offset=4),
            ("head.weight", 1): each(6, offset=4),
        },
        "second.weight": {
            ("second.weight", 0): each(5),
            ("second.bias", 0): each(5),
            ("head.weight", 1): each(5, offset=10),
        },
    }


class AddedToInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(inputs + self.hidden(inputs).relu())


def test_units_that_are_added_to_raw_inputs_are_left_out() -> None:
    assert couplings(AddedToInputs(), torch.randn(3, 4), lambda net, x: net(x)) == []
