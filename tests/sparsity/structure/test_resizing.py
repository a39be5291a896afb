import copy
import functools
import io
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from prune_search.sparsity import Coupling, MaskSet, Slice, couplings, select
from prune_search.sparsity.structure.resizing import Layout, carry_, layout, resize_, shrink_

DENSE = {"weight": (4, 3, 2), "bias": (4,), "scale": ()}


def index(*kept: int) -> Any:
    return torch.tensor(kept)


SMALLER = Layout(DENSE, {"weight": (index(0, 2, 3), None, index(1)), "bias": (index(0, 2, 3),)})


def ramp(shape: Sequence[int]) -> Tensor:
    return torch.arange(1.0, 1 + torch.Size(shape).numel()).view(torch.Size(shape))


class Network(nn.Module):
    """Calls modules on observations, for whatever shape a network has."""

    def __init__(self, heads: Sequence[str], example: Any) -> None:
        super().__init__()
        self.heads, self.example = heads, example


class Mlp(Network):
    def __init__(self, activation: type[nn.Module] = nn.Tanh, bias: bool = True) -> None:
        super().__init__(["net.4.weight"], torch.randn(16, 4))
        self.net = nn.Sequential(
            nn.Linear(4, 9, bias=bias),
            activation(),
            nn.Linear(9, 7, bias=bias),
            activation(),
            nn.Linear(7, 2),
        )

    def forward(self, inputs: Tensor) -> list[Tensor]:
        return [self.net(inputs)]


class Duelling(Network):
    def __init__(self) -> None:
        super().__init__(["advantage.2.weight", "value.2.weight"], torch.randn(16, 4))
        self.encoder = nn.Sequential(nn.Linear(4, 8), nn.Sigmoid())
        self.advantage = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
        self.value = nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 1))

    def forward(self, inputs: Tensor) -> list[Tensor]:
        features = self.encoder(inputs)
        advantage = self.advantage(features)
        return [self.value(features) + advantage - advantage.mean(-1, keepdim=True)]


class TwinCritics(Network):
    def __init__(self) -> None:
        example = [torch.randn(16, 3), torch.randn(16, 2)]
        super().__init__(["twin.0.2.weight", "twin.1.2.weight"], example)
        self.twin = nn.ModuleList(
            nn.Sequential(nn.Linear(8 + 2, 6), nn.ReLU(), nn.Linear(6, 1)) for _ in range(2)
        )
        self.encoder = nn.Linear(3, 8)

    def forward(self, inputs: list[Tensor]) -> list[Tensor]:
        features = torch.cat([torch.relu(self.encoder(inputs[0])), inputs[1]], -1)
        return [critic(features) for critic in self.twin]


class Convolutional(Network):
    """With channels last when flattened, as RLlib's encoders, or first."""

    def __init__(self, channels_last: bool = True) -> None:
        super().__init__(["pi.weight", "vf.2.weight"], torch.randn(8, 3, 7, 7))
        self.channels_last = channels_last
        self.first = nn.Conv2d(3, 6, 3, padding=1, bias=False)  # before BatchNorm it has no effect
        self.norm = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 5, 3, stride=2)
        self.pi = nn.Linear(45, 2)
        self.vf = nn.Sequential(nn.Linear(45, 7), nn.Tanh(), nn.Linear(7, 1))

    def forward(self, inputs: Tensor) -> list[Tensor]:
        features = torch.relu(self.second(torch.relu(self.norm(self.first(inputs)))))
        if self.channels_last:
            features = features.permute(0, 2, 3, 1)
        return [self.pi(features.flatten(1)), self.vf(features.flatten(1))]


class Normalized(Network):
    def __init__(self) -> None:
        super().__init__(["head.weight"], torch.randn(16, 4))
        self.first = nn.Linear(4, 8)
        self.norm = nn.LayerNorm(8)
        self.second = nn.Linear(8, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, inputs: Tensor) -> list[Tensor]:
        features = torch.relu(self.norm(self.first(inputs)))
        return [self.head(torch.relu(self.second(features)))]


NETWORKS: dict[str, Callable[[], Network]] = {
    "mlp": Mlp,
    "mlp without biases": lambda: Mlp(bias=False),
    "mlp of softplus": lambda: Mlp(nn.Softplus),
    "duelling": Duelling,
    "twin critics": TwinCritics,
    "channels last": Convolutional,
    "channels first": lambda: Convolutional(channels_last=False),
    "layer norm": Normalized,
}


def call(module: nn.Module, inputs: Any) -> list[Tensor]:
    found: list[Tensor] = module(inputs)
    return found


def units_of(network: Network) -> list[Coupling]:
    return couplings(network, network.example, call, network.heads)


@functools.cache
def units_by_name(name: str) -> list[Coupling]:
    """They do not depend on the weights."""
    return units_of(NETWORKS[name]())


def random_masks(network: nn.Module, found: list[Coupling], ratio: float) -> dict[str, Tensor]:
    params = dict(network.named_parameters())
    scores = {name: torch.rand(param.shape) for name, param in params.items()}
    layers = [coupling.layer for coupling in found]
    return select("neuron", params, layers, found, scores, {}, "global", ratio)


def perturb(network: nn.Module) -> None:
    """Away from what initialisation leaves at zero or one."""
    with torch.no_grad():
        for param in network.parameters():
            param.add_(0.1 * torch.randn_like(param))
        for buffer in network.buffers():
            if buffer.dim():
                buffer.add_(torch.rand_like(buffer))


# --- layouts ---


def test_shapes_of_the_smaller_network() -> None:
    assert SMALLER.shapes == {"weight": (3, 3, 1), "bias": (3,), "scale": ()}
    assert Layout(DENSE).shapes == DENSE


def test_the_full_layout_keeps_everything() -> None:
    params = {name: ramp(shape) for name, shape in DENSE.items()}
    full = Layout.full(params)
    assert full.shapes == DENSE
    for name, param in params.items():
        assert torch.equal(full.take(name, param), param)
        assert full.take(name, param) is not param


def test_take_picks_kept_entries_of_any_dtype() -> None:
    weight = ramp(DENSE["weight"])
    assert torch.equal(SMALLER.take("weight", weight), weight[[0, 2, 3]][:, :, [1]])
    assert torch.equal(
        SMALLER.take("bias", torch.tensor([True, False, False, True])),
        torch.tensor([True, False, True]),
    )


def test_put_fills_what_is_not_kept() -> None:
    small = torch.tensor([7.0, 8.0, 9.0])
    assert SMALLER.put("bias", small).tolist() == [7, 0, 8, 9]
    assert SMALLER.put("bias", small, 5).tolist() == [7, 5, 8, 9]
    assert SMALLER.put("bias", small, torch.tensor([1.0, 2.0, 3.0, 4.0])).tolist() == [7, 2, 8, 9]
    assert SMALLER.put("bias", small > 7.5, False).tolist() == [False, False, True, True]
    assert SMALLER.put("scale", torch.tensor(3.0)).item() == 3


@st.composite
def layouts(draw: st.DrawFn, dense: dict[str, tuple[int, ...]]) -> Layout:
    def kept(size: int) -> Any:
        if draw(st.booleans()):
            return None
        return torch.tensor(sorted(draw(st.sets(st.integers(0, size - 1), min_size=1))))

    return Layout(dense, {name: tuple(map(kept, shape)) for name, shape in dense.items()})


@given(layouts({"weight": (4, 3, 5), "bias": (6,)}), st.data())
def test_put_and_take_are_inverse_and_layouts_compose(first: Layout, data: st.DataObject) -> None:
    second = data.draw(layouts(first.shapes))
    both = first.then(second)
    assert both.dense == first.dense
    assert both.shapes == second.shapes
    for name, shape in first.dense.items():
        dense = ramp(shape)
        small = first.take(name, dense)
        assert small.shape == first.shapes[name]
        assert torch.equal(first.take(name, first.put(name, small)), small)
        assert torch.equal(first.put(name, small, dense), dense)
        assert first.put(name, small).sum() == small.sum()
        assert torch.equal(both.take(name, dense), second.take(name, small))
        smallest = second.take(name, small)
        laid = first.put(name, second.put(name, smallest))
        assert torch.equal(both.put(name, smallest), laid)


def test_layouts_survive_a_file() -> None:
    file = io.BytesIO()
    torch.save(SMALLER.state_dict(), file)
    file.seek(0)
    loaded = Layout.from_state_dict(torch.load(file, weights_only=True))
    assert loaded.dense == SMALLER.dense
    weight = ramp(DENSE["weight"])
    assert torch.equal(loaded.take("weight", weight), SMALLER.take("weight", weight))


def test_what_does_not_fit_a_layout() -> None:
    with pytest.raises(ValueError, match="no parameter 'other'"):
        SMALLER.take("other", torch.zeros(4))
    with pytest.raises(ValueError, match=r"'bias' must have shape \(4,\), not \(3,\)"):
        SMALLER.take("bias", torch.zeros(3))
    with pytest.raises(ValueError, match=r"'bias' must have shape \(3,\), not \(4,\)"):
        SMALLER.put("bias", torch.zeros(4))
    with pytest.raises(ValueError, match=r"'bias' must have shape \(4,\), not \(3,\)"):
        SMALLER.put("bias", torch.zeros(3), torch.zeros(3))
    with pytest.raises(ValueError, match="'weight' has 3 dimensions, kept indices 1"):
        Layout(DENSE, {"weight": (None,)})
    with pytest.raises(ValueError, match="no parameter 'other'"):
        Layout(DENSE, {"other": (None,)})
    with pytest.raises(ValueError, match="the second layout's dense shapes"):
        SMALLER.then(SMALLER)


# --- which units go ---


def masks_without(params: dict[str, Tensor], coupling: Coupling, units: list[int]) -> Any:
    masks = {name: torch.ones(param.shape, dtype=torch.bool) for name, param in params.items()}
    for part in coupling.slices:
        masks[part.parameter].index_fill_(part.dim, part.index[units].flatten(), False)
    return masks


def test_units_that_are_masked_altogether_go() -> None:
    network = Convolutional()
    params = dict(network.named_parameters())
    first, second, hidden = units_of(network)
    removed = layout(params, [first, second, hidden], masks_without(params, second, [1, 4]))
    assert removed.shapes["second.weight"] == (3, 6, 3, 3)
    assert removed.shapes["second.bias"] == (3,)
    assert removed.shapes["pi.weight"] == (2, 27)
    assert removed.kept["vf.0.weight"][1].tolist() == [  # type: ignore[union-attr]
        column for column in range(45) if column % 5 not in (1, 4)
    ]
    assert removed.shapes["first.weight"] == (6, 3, 3, 3)


@pytest.mark.parametrize("spared", ["net.0.weight", "net.0.bias", "net.2.weight"])
def test_a_unit_with_one_entry_left_stays(spared: str) -> None:
    network = Mlp()
    params = dict(network.named_parameters())
    found = units_of(network)
    masks = masks_without(params, found[0], [3, 5])
    masks[spared][(0, 3) if spared == "net.2.weight" else 3] = True
    assert layout(params, found, masks).kept["net.0.bias"][0].tolist() == [  # type: ignore[union-attr]
        0, 1, 2, 3, 4, 6, 7, 8,
    ]  # fmt: skip
    del masks[spared]  # no mask is a mask that keeps all
    assert layout(params, found, masks).shapes == Layout.full(params).shapes


def test_one_unit_is_always_left() -> None:
    network = Mlp()
    params = dict(network.named_parameters())
    found = units_of(network)
    masks = masks_without(params, found[0], list(range(9)))
    assert layout(params, found, masks).kept["net.0.bias"][0].tolist() == [0]  # type: ignore[union-attr]


def test_units_behind_a_layer_norm_stay() -> None:
    network = Normalized()
    params = dict(network.named_parameters())
    found = units_of(network)
    assert [unit.removable for unit in found] == [False, True]
    masks = masks_without(params, found[0], [1, 2]) | {
        name: mask
        for name, mask in masks_without(params, found[1], [0]).items()
        if name in ("second.bias", "head.weight")
    }
    assert layout(params, found, masks).shapes == Layout.full(params).shapes


def test_a_coupling_into_nowhere() -> None:
    coupling = Coupling("a", 2, (Slice("b", 0, index(0, 1).view(2, 1)),))
    with pytest.raises(ValueError, match="reaches into 'b', which is not given"):
        layout({"a": torch.ones(2)}, [coupling], {})


# --- the smaller network ---


@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=8)
@given(seed=st.integers(0, 2**31), ratio=st.sampled_from([0.2, 0.5, 0.8, 0.95]))
def test_the_smaller_the_masked_and_the_laid_back_network_agree(
    name: str, seed: int, ratio: float
) -> None:
    torch.manual_seed(seed)
    masked = NETWORKS[name]()
    perturb(masked)
    masked.eval()
    params = dict(masked.named_parameters())
    found = units_by_name(name)
    masks = MaskSet()
    masks.update(params, random_masks(masked, found, ratio))
    removed = layout(params, found, masks.masks)

    smaller = copy.deepcopy(masked)
    shrink_(smaller, removed)
    assert list(smaller.state_dict()) == list(masked.state_dict())
    assert {key: tuple(p.shape) for key, p in smaller.named_parameters()} == removed.shapes
    if name != "layer norm":  # some of whose units stay, masked
        total = sum(param.numel() for param in smaller.parameters())
        assert total < sum(param.numel() for param in masked.parameters())
    laid = copy.deepcopy(masked)
    with torch.no_grad():
        for key, param in laid.named_parameters():
            param.copy_(removed.put(key, smaller.get_parameter(key)))
    expected = masked(masked.example)
    torch.testing.assert_close(smaller(masked.example), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(laid(masked.example), expected, rtol=0, atol=1e-6)


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "Adam": lambda params: torch.optim.Adam(params, lr=1e-2, weight_decay=0.01),
    "AdamW": lambda params: torch.optim.AdamW(params, lr=1e-2, amsgrad=True),
    "SGD": lambda params: torch.optim.SGD(params, lr=1e-2, momentum=0.9, nesterov=True),
    "RMSprop": lambda params: torch.optim.RMSprop(params, lr=1e-3, momentum=0.5, centered=True),
}


@pytest.mark.parametrize("optimizer_name", OPTIMIZERS)
@pytest.mark.parametrize("name", ["mlp of softplus", "twin critics", "channels last"])
def test_training_goes_on_as_with_masks(name: str, optimizer_name: str) -> None:
    torch.manual_seed(0)
    dense = NETWORKS[name]()
    dense_optimizer = OPTIMIZERS[optimizer_name](
        [{"params": [*dense.parameters()][:3]}, {"params": [*dense.parameters()][3:], "lr": 3e-3}]
    )

    def losses(network: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
        found = []
        for _ in range(steps):
            optimizer.zero_grad()
            outputs = network(dense.example)
            loss = torch.stack([(out - 1).square().mean() for out in outputs]).sum()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    losses(dense, dense_optimizer, 5)
    params = dict(dense.named_parameters())
    found = units_of(dense)
    masks = MaskSet()
    masks.attach(dense_optimizer, params)
    masks.update(params, random_masks(dense, found, 0.6))
    losses(dense, dense_optimizer, 2)

    smaller, optimizer = copy.deepcopy((dense, dense_optimizer))
    old = dict(smaller.named_parameters())
    removed = layout(params, found, masks.masks)
    shrink_(smaller, removed)
    carry_(optimizer, old, dict(smaller.named_parameters()), removed)
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == {
        id(param) for param in smaller.parameters()
    }
    assert [group["lr"] for group in optimizer.param_groups] == [
        group["lr"] for group in dense_optimizer.param_groups
    ]
    expected = losses(dense, dense_optimizer, 10)
    assert losses(smaller, optimizer, 10) == pytest.approx(expected, rel=1e-5)
    assert expected[-1] < expected[0]
    for key, param in smaller.named_parameters():
        torch.testing.assert_close(
            removed.put(key, param), params[key].detach() * masks.masks.get(key, torch.tensor(True))
        )


def test_carrying_over_checks_shapes_before_it_starts() -> None:
    network = Mlp()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    old = dict(network.named_parameters())
    step = Layout(Layout.full(old).dense, {"net.4.bias": (index(0),)})
    with pytest.raises(ValueError, match=r"'net.4.bias' must have shape \(1,\), not \(2,\)"):
        carry_(optimizer, old, old, step)
    with pytest.raises(ValueError, match="no new parameter 'net"):
        carry_(optimizer, old, {}, step)
    assert optimizer.param_groups[0]["params"] == list(network.parameters())


def test_factors_over_rows_and_columns_are_carried() -> None:
    network = Convolutional()
    optimizer = torch.optim.Adafactor(network.parameters())
    params = dict(network.named_parameters())

    def step() -> None:
        optimizer.zero_grad()
        torch.cat(network(network.example), -1).square().mean().backward()
        optimizer.step()

    step()
    found = units_of(network)
    second = masks_without(params, found[1], [0, 2])
    masks = {k: mask & second[k] for k, mask in masks_without(params, found[0], [1]).items()}
    rows = optimizer.state[params["second.weight"]]["row_var"].clone()
    removed = layout(params, found, masks)
    shrink_(network, removed)
    carry_(optimizer, params, dict(network.named_parameters()), removed)
    kept, columns, *_ = removed.kept["second.weight"]
    assert kept is not None and columns is not None
    new = optimizer.state[network.second.weight]["row_var"]
    assert torch.equal(new, rows[kept][:, columns])
    step()


# --- other shapes ---


def test_resized_layers_keep_everything_but_their_shape() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False, padding_mode="reflect"),
        nn.BatchNorm2d(4, momentum=0.3),
        nn.Flatten(),
        nn.Linear(16, 5),
        nn.LayerNorm(5, eps=0.1),
    ).double()
    network[1].eval()
    network[3].weight.requires_grad_(False)
    keys = list(network.state_dict())
    seen: list[torch.Size] = []
    network[3].register_forward_hook(lambda _, __, output: seen.append(output.shape))
    layers = list(network)
    resize_(
        network,
        {"0.weight": (2, 3, 3, 3), "1.weight": (2,), "1.bias": (2,), "3.weight": (3, 8)}
        | {"3.bias": (3,), "4.weight": (3,), "4.bias": (3,)},
    )
    assert network(torch.randn(6, 3, 4, 4).double()).shape == (6, 3)
    assert seen == [(6, 3)]
    assert list(network) == layers
    assert list(network.state_dict()) == keys
    assert [module.training for module in network] == [True, False, True, True, True]
    assert not network[3].weight.requires_grad and network[3].bias.requires_grad
    assert all(param.dtype == torch.float64 for param in network.parameters())
    assert (network[1].num_features, network[1].momentum) == (2, 0.3)
    assert network[1].running_var.tolist() == [1, 1]
    assert network[4].weight.tolist() == [1, 1, 1]
    assert "in_features=8, out_features=3" in repr(network[3])
    assert all(bool(torch.isfinite(param).all()) for param in network.parameters())


def test_resizing_back_and_loading_gives_the_dense_network_again() -> None:
    network = Convolutional()
    before = copy.deepcopy(network.state_dict())
    shapes = {name: tuple(param.shape) for name, param in network.named_parameters()}
    found = units_of(network)
    params = dict(network.named_parameters())
    shrink_(network, layout(params, found, random_masks(network, found, 0.7)))
    resize_(network, shapes)
    network.load_state_dict(before)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_shared_parameters_stay_shared() -> None:
    first, second = nn.Linear(4, 4), nn.Linear(4, 4, bias=False)
    second.weight = first.weight
    network = nn.ModuleDict({"a": first, "b": second, "c": first})
    resize_(network, {"a.weight": (3, 4), "a.bias": (3,)})
    assert network["b"].weight is network["a"].weight
    assert network["c"] is network["a"]
    assert network["b"].weight.shape == (3, 4)


class Bare(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.log_std = nn.Parameter(torch.zeros(2))


@pytest.mark.parametrize(
    ("module", "shapes", "message"),
    [
        (Bare(), {"log_std": (1,)}, r"\['log_std'\] of Bare can't have another shape"),
        (nn.ModuleDict({"a": nn.LSTM(2, 3)}), {"a.weight_ih_l0": (8, 2)}, "of LSTM 'a' can't have"),
        (nn.Conv2d(4, 4, 3, groups=2), {"weight": (2, 2, 3, 3)}, "of Conv2d can't have another"),
        (nn.Conv2d(4, 4, 3), {"weight": (4, 4, 2, 2)}, r"can't have the shape \(4, 4, 2, 2\)"),
        (nn.Linear(4, 4), {"weight": (0, 4), "bias": (0,)}, r"can't have the shape \(0, 4\)"),
        (nn.Linear(4, 4), {"weight": (3, 4)}, r"bias of Linear can't have the shape \(4,\)"),
        (nn.Linear(4, 4), {"bias": (3,)}, r"bias of Linear can't have the shape \(3,\)"),
        (nn.Linear(4, 4), {"other": (3,)}, r"the module does not have: \['other'\]"),
    ],
)
def test_shapes_that_are_impossible(
    module: nn.Module, shapes: dict[str, tuple[int, ...]], message: str
) -> None:
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(ValueError, match=message):
        resize_(module, shapes)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


def test_shrinking_checks_before_it_starts() -> None:
    network = Mlp()
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(ValueError, match=r"the module does not have: \['other'\]"):
        shrink_(network, Layout({"other": (2,)}))
    with pytest.raises(ValueError, match=r"'net.0.bias' must have shape \(8,\), not \(9,\)"):
        shrink_(network, Layout({"net.0.bias": (8,)}))
    with pytest.raises(ValueError, match="bias of Linear 'net"):
        shrink_(network, Layout({"net.0.bias": (9,)}, {"net.0.bias": (index(1),)}))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
