"""Policies that have an integer version: images and vectors, both kinds of actions, filters."""

from __future__ import annotations

import numpy as np

from prune_search.artifacts.base import Material
from prune_search.artifacts.card import card_for
from prune_search.policy.actions import Choice, Continuous
from prune_search.policy.arrays import Array
from prune_search.policy.description import PolicyDescription
from prune_search.policy.layers import (
    Activation,
    ChannelsLast,
    Convolution,
    Dense,
    Encoding,
    Flatten,
    Function,
    Layer,
    Normalisation,
    Numbers,
    OneHot,
    Scaling,
)
from prune_search.policy.reference import draw_noise
from tests.describable import FRAMES, weights

_CHOICE = Choice((3, 2), (0, -1), single=False)
_SCALED = Continuous(np.array([-2.0, 0, -1, 0, 5]), np.array([2.0, 1, 1, 1, 9]), "scale")
_CLIPPED = Continuous(-np.ones(5), np.ones(5), "clip")


def vector(
    action: Choice | Continuous, function: Function, *front: Layer, given: int = 6, hidden: int = 24
) -> PolicyDescription:
    """Two hidden layers, most of their weights zero."""
    network = (
        Dense(weights(hidden, 6), weights(hidden)),
        Activation(function),
        Dense(2 * weights(hidden, hidden, sparsity=0.8), weights(hidden)),
        Activation(function),
        Dense(weights(action.outputs, hidden, sparsity=0.5), weights(action.outputs)),
    )
    return PolicyDescription((given,), front, network, action)


def image(action: Choice | Continuous, *front: Layer, channels: int = 3) -> PolicyDescription:
    """Convolutions with and without zeros around, sparse and not, and a linear layer."""
    network = (
        Convolution(weights(8, channels, 3, 3), weights(8), (2, 1), (1, 0, 0, 2)),
        Activation("relu"),
        Convolution(2 * weights(6, 8, 2, 3, sparsity=0.9), None, (1, 2), (0, 0, 0, 0)),
        Activation("silu"),
        Flatten(),
        Dense(weights(7, 6 * 3 * 4), None),
        Dense(weights(action.outputs, 7), weights(action.outputs)),
    )
    shape = (8, 9, channels) if front == () or channels == 1 else (channels, 8, 9)
    return PolicyDescription(shape, front, network, action)


def _filter(*shape: int) -> Normalisation:
    return Normalisation(weights(*shape), np.abs(weights(*shape)) + 0.5, 2.0)


POLICIES = {
    "vector-discrete": vector(_CHOICE, "tanh"),
    "vector-discrete-filter": vector(_CHOICE, "relu", _filter(6)),
    "vector-continuous": vector(_CLIPPED, "sigmoid"),
    "vector-continuous-filter": vector(_SCALED, "elu", _filter(6)),
    "image-discrete": image(_CHOICE),
    "image-discrete-filter": image(_CHOICE, ChannelsLast(), Scaling(1 / 2, -1.0), _filter(8, 9, 3)),
    "image-continuous": image(_CLIPPED),
    "image-continuous-filter": image(_SCALED, _filter(8, 9, 1), channels=1),
    "sampled": vector(
        Choice((3, 2), (0, 5), single=False, sampled=True),
        "gelu",
        Encoding((OneHot(3, first=1), Numbers(3))),
        given=4,
    ),
    "frames": PolicyDescription(
        FRAMES.observation_shape,
        FRAMES.preprocessing,
        FRAMES.layers,
        Choice((3,), (0,), single=True),
    ),
}


def given(policy: PolicyDescription, rows: int, seed: int = 1) -> tuple[Array, Array, Array | None]:
    """Observations, some of them far outside, states, and noise."""
    drawn = np.random.default_rng(seed)
    seen = drawn.standard_normal((rows, *policy.observation_shape), np.float32)
    seen[::100] *= 1000
    if policy.action.noise_size:
        seen[:, 0] = drawn.integers(1, 4, rows)
    state = drawn.standard_normal((rows, policy.state_size), np.float32)
    return seen, state, draw_noise(policy, rows, drawn)


def calibration(policy: PolicyDescription) -> Array:
    """Observations that an integer version is made with."""
    return given(policy, 99)[0][1:]


def material(policy: PolicyDescription) -> Material:
    """One of the policies, to be written."""
    card = card_for(policy, version="0", target="c-int8", name="tests")
    return Material(policy, card, calibration(policy))
