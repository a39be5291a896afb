"""The reference computes what torch does, layer by layer, for any sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from prune_search.policy.actions import Choice, Continuous
from prune_search.policy.arrays import Array
from prune_search.policy.description import PolicyDescription
from prune_search.policy.layers import (
    LSTM,
    Activation,
    Convolution,
    Dense,
    Encoding,
    Flatten,
    LayerNorm,
    Normalisation,
    Numbers,
    OneHot,
)
from prune_search.policy.reference import act, apply, outputs

NONE = np.zeros((0, 0), np.float32)


def drawn(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@settings(max_examples=60)
@given(st.data())
def test_convolutions(data: st.DataObject) -> None:
    small = st.integers(1, 4)
    channels, filters, height, width = (data.draw(small) for _ in range(4))
    stride = data.draw(st.tuples(small, small))
    padding = data.draw(st.tuples(*[st.integers(0, 3)] * 4))
    image = drawn(2, data.draw(st.integers(4, 9)), data.draw(st.integers(4, 9)), channels)
    layer = Convolution(drawn(filters, channels, height, width), drawn(filters), stride, padding)
    got, _ = apply(layer, image, NONE)
    top, bottom, left, right = padding
    padded = functional.pad(torch.from_numpy(image).permute(0, 3, 1, 2), (left, right, top, bottom))
    want = functional.conv2d(
        padded, torch.from_numpy(layer.weight.copy()), torch.from_numpy(drawn(filters)), stride
    )
    np.testing.assert_allclose(got, want.permute(0, 2, 3, 1).numpy(), atol=1e-4)
    assert got.shape[1:] == layer.output_shape(image.shape[1:])


@pytest.mark.parametrize(
    ("name", "torchs"),
    [
        ("relu", nn.ReLU()),
        ("tanh", nn.Tanh()),
        ("elu", nn.ELU()),
        ("silu", nn.SiLU()),
        ("sigmoid", nn.Sigmoid()),
        ("gelu", nn.GELU()),
    ],
)
def test_activations(name: str, torchs: nn.Module) -> None:
    x = drawn(50, 3) * 5
    got, _ = apply(Activation(name), x, NONE)  # type: ignore[arg-type]
    np.testing.assert_allclose(got, torchs(torch.from_numpy(x)).numpy(), atol=1e-6)


def test_layer_norm_and_recurrent_cells() -> None:
    x = drawn(5, 7)
    norm = nn.LayerNorm(7, eps=0.001)
    nn.init.normal_(norm.weight)
    scale, shift = norm.weight.detach().numpy(), norm.bias.detach().numpy()
    got, _ = apply(LayerNorm(scale, shift, 0.001), x, NONE)
    np.testing.assert_allclose(got, norm(torch.from_numpy(x)).detach().numpy(), atol=1e-5)

    cell = nn.LSTM(7, 3, batch_first=True)
    into, recurrent, *biases = [each.detach().numpy() for each in cell.all_weights[0]]
    layer = LSTM(into, recurrent, biases[0] + biases[1])
    hidden, memory = drawn(5, 3, seed=1), drawn(5, 3, seed=2)
    got, state = apply(layer, x, np.concatenate([hidden, memory], axis=1))
    states = torch.from_numpy(hidden)[None], torch.from_numpy(memory)[None]
    want, (h, c) = cell(torch.from_numpy(x)[:, None], states)
    np.testing.assert_allclose(got, want[:, 0].detach().numpy(), atol=1e-6)
    after = torch.cat([h[0], c[0]], dim=1).detach().numpy()
    np.testing.assert_allclose(state, after, atol=1e-6)


def test_categories_become_vectors() -> None:
    layer = Encoding((OneHot(3, first=1), Numbers(2), OneHot(2)))
    got, _ = apply(layer, np.array([[3, 0.5, -1, 0]], np.float32), NONE)
    assert got.tolist() == [[0, 0, 1, 0.5, -1, 1, 0]]


def test_actions_come_into_their_bounds() -> None:
    layers = (Dense(np.eye(2), None),)
    low, high = np.array([-2.0, 0.0]), np.array([2.0, 1.0])
    want = {"scale": [[1, 1]], "clip": [[0.5, 1]], "none": [[0.5, 7]]}
    for bounds, expected in want.items():
        action = Continuous(low, high, bounds)  # type: ignore[arg-type]
        policy = PolicyDescription((2,), (), layers, action)
        assert act(policy, np.array([[0.5, 7.0]]))[0].tolist() == expected


def test_groups_of_choices_and_the_first_of_equal_ones() -> None:
    policy = PolicyDescription((5,), (), (Flatten(),), Choice((2, 3), (1, 5), single=False))
    assert act(policy, np.array([[0, 0, 1, 9, 9]]))[0].tolist() == [[1, 6]]


def test_what_does_not_fit_is_an_error() -> None:
    action = Choice((2,), (0,), single=True)
    with pytest.raises(ValueError, match=r"Dense takes no input of shape \(4,\)"):
        PolicyDescription((4,), (), (Dense(drawn(2, 3), None),), action)
    with pytest.raises(ValueError, match="the action takes 2"):
        PolicyDescription((3,), (), (Dense(drawn(4, 3), None),), action)
    with pytest.raises(ValueError, match=r"Dense.weight holds numbers that are not finite"):
        Dense(np.full((2, 3), np.nan), None)
    policy = PolicyDescription((3,), (), (Dense(drawn(2, 3), None),), action)
    with pytest.raises(ValueError, match=r"observations must have shape \(3,\) each, got \(2,\)"):
        outputs(policy, drawn(5, 2))
    with pytest.raises(ValueError, match="read-only"):
        policy.layers[0].weight[0, 0] = 1  # type: ignore[attr-defined]


def test_filters_cut_off() -> None:
    layer = Normalisation(np.array([1.0]), np.array([0.5]), 2.0)
    assert apply(layer, np.array([[1.5], [9.0], [-9.0]]), NONE)[0].tolist() == [[1], [2], [-2]]
