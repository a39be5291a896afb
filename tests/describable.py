"""Described policies that have every kind of layer, and what they are given."""

from __future__ import annotations

import numpy as np

from prune_search.artifacts.base import Material
from prune_search.artifacts.card import card_for
from prune_search.policy.actions import Choice, Continuous, Gaussian
from prune_search.policy.arrays import Array
from prune_search.policy.description import PolicyDescription
from prune_search.policy.layers import (
    LSTM,
    Activation,
    ChannelsLast,
    Convolution,
    Dense,
    Encoding,
    Expectation,
    Flatten,
    FrameStack,
    LayerNorm,
    Normalisation,
    Numbers,
    OneHot,
    Scaling,
)
from prune_search.policy.reference import draw_noise

_drawn = np.random.default_rng(0)


def weights(*shape: int, sparsity: float = 0.0) -> Array:
    """Numbers of which so many are zero."""
    scale = np.sqrt(np.prod(shape[1:]) if len(shape) > 1 else 1)
    found = _drawn.standard_normal(shape) / scale
    found[_drawn.random(shape) < sparsity] = 0
    return found.astype(np.float32)


VECTOR = PolicyDescription(
    (4,),
    (Normalisation(weights(4), np.abs(weights(4)) + 0.5, 2.0),),
    (
        Dense(weights(300, 4), weights(300)),
        Activation("tanh"),
        LayerNorm(weights(300), weights(300), 1e-3),
        Dense(weights(12, 300, sparsity=0.9), weights(12)),
        Activation("relu"),
        Dense(weights(5, 12, sparsity=1.0), weights(5)),
        Dense(weights(3, 5), None),
    ),
    Choice((3,), (1,), single=True),
)
IMAGE = PolicyDescription(
    (4, 8, 9),
    (ChannelsLast(), Scaling(1 / 128, -1.0)),
    (
        Convolution(weights(6, 4, 3, 3), weights(6), (2, 2), (1, 0, 1, 1)),
        Activation("silu"),
        LayerNorm(weights(6), weights(6), 1e-3),
        Convolution(weights(5, 6, 2, 3, sparsity=0.9), None, (1, 2), (0, 0, 0, 0)),
        Activation("elu"),
        Flatten(),
        Dense(weights(7, 30), weights(7)),
        Activation("gelu"),
        Dense(weights(2, 7), weights(2)),
    ),
    Continuous(np.array([-2.0, 0.0]), np.array([2.0, 1.0]), "scale"),
)
CATEGORIES = PolicyDescription(
    (4,),
    (Encoding((OneHot(3, first=1), Numbers(2), OneHot(2))),),
    (
        Dense(weights(10, 7), weights(10)),
        Activation("sigmoid"),
        Expectation(np.array([-1.0, 3.0])),
    ),
    Choice((2, 3), (1, 5), single=False, sampled=True),
)
RECURRENT = PolicyDescription(
    (4,),
    (),
    (
        Dense(weights(5, 4), weights(5)),
        LSTM(weights(12, 5), weights(12, 3, sparsity=0.9), weights(12)),
        LSTM(weights(8, 3), weights(8, 2), weights(8)),
        Dense(weights(4, 2), weights(4)),
    ),
    Continuous(
        np.array([-1.0, -1]), np.array([1.0, 1]), "clip", Gaussian(None, (-5.0, 2.0), squashed=True)
    ),
)
FRAMES = PolicyDescription(
    (6, 6, 1),
    (FrameStack(3),),
    (
        Convolution(weights(3, 3, 3, 3), weights(3), (1, 1), (0, 0, 0, 0)),
        Flatten(),
        Dense(weights(3, 48), weights(3)),
    ),
    Continuous(
        np.full(3, -np.inf), np.full(3, np.inf), "none", Gaussian(weights(3), None, squashed=False)
    ),
)
POLICIES = {
    "vector": VECTOR,
    "image": IMAGE,
    "categories": CATEGORIES,
    "recurrent": RECURRENT,
    "frames": FRAMES,
}


def given(name: str, rows: int) -> tuple[Array, Array, Array | None]:
    """Observations, states and noise for one of the policies."""
    policy, drawn = POLICIES[name], np.random.default_rng(1)
    seen = 2 * drawn.standard_normal((rows, *policy.observation_shape))
    if name == "image":
        seen = drawn.integers(0, 256, seen.shape)
    if name == "categories":
        seen[:, 0], seen[:, 3] = drawn.integers(1, 4, rows), drawn.integers(0, 2, rows)
    state = drawn.standard_normal((rows, policy.state_size))
    return seen.astype(np.float32), state.astype(np.float32), draw_noise(policy, rows, drawn)


def material(name: str, target: str) -> Material:
    """One of the policies, to be written."""
    policy = POLICIES[name]
    card = card_for(policy, version="0", target=target, name=f"tests {name} */")
    return Material(policy, card, given(name, 50)[0])
