"""A smaller network in place of a masked one: it computes, and trains on, as that one did."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from prune_search.sparsity import MaskSet
from prune_search.sparsity.structure.resizing import Layout, carry_, layout, resize_, shrink_
from tests.sparsity.structure.networks import (
    NETWORKS,
    Convolutional,
    Mlp,
    index,
    masks_without,
    perturb,
    random_masks,
    units_by_name,
    units_of,
)

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
