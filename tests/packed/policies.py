"""Policies of every kind that a file has to hold, made up, most of their weights zero."""

from __future__ import annotations

import numpy as np

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


class _Source:
    def __init__(self) -> None:
        self._generator = np.random.default_rng(0)

    def sparse(self, *shape: int, density: float = 0.2) -> Array:
        kept = self._generator.random(shape) < density
        return np.where(kept, self.dense(*shape), 0).astype(np.float32)

    def dense(self, *shape: int) -> Array:
        return self._generator.standard_normal(shape).astype(np.float32)


def vector_policy(hidden: int = 16) -> PolicyDescription:
    """Discrete actions, a filter, two hidden layers."""
    source = _Source()
    spread = np.array([0.5, 1, 2, 3], np.float32)
    layers = (
        Dense(source.sparse(hidden, 4), source.sparse(hidden)),
        Activation("tanh"),
        Dense(source.sparse(hidden, hidden), source.dense(hidden)),
        Activation("tanh"),
        Dense(source.sparse(2, hidden), source.dense(2)),
    )
    front = (Normalisation(source.dense(4), spread, 10.0),)
    return PolicyDescription((4,), front, layers, Choice((2,), (0,), single=True))


def image_policy() -> PolicyDescription:
    """Convolutions, normalised features, sampled actions of two groups, a distribution's means."""
    source = _Source()
    layers = (
        Convolution(source.sparse(6, 2, 3, 3), source.dense(6), (1, 1), (1, 1, 1, 1)),
        Activation("relu"),
        LayerNorm(source.dense(6), source.dense(6), 1e-5),
        Convolution(source.sparse(4, 6, 2, 2), None, (2, 2), (0, 0, 0, 0)),
        Activation("silu"),
        Flatten(),
        LayerNorm(source.dense(16), source.dense(16), 1e-5),
        Dense(source.sparse(10, 16), source.dense(10)),
        Expectation(np.linspace(-1, 1, 2, dtype=np.float32)),
    )
    front = (ChannelsLast(), Scaling(1 / 128, -1.0))
    action = Choice((2, 3), (0, -1), single=False, sampled=True)
    return PolicyDescription((2, 4, 4), front, layers, action, ("a note",))


def stack_policy() -> PolicyDescription:
    """Stacked frames."""
    source = _Source()
    layers = (
        Convolution(source.sparse(3, 2, 2, 2), source.dense(3), (1, 1), (0, 0, 0, 0)),
        Flatten(),
        Dense(source.sparse(2, 12), None),
    )
    front = (FrameStack(2),)
    return PolicyDescription((3, 3, 1), front, layers, Choice((2,), (0,), single=True))


def recurrent_policy() -> PolicyDescription:
    """A memory, categories in the observation, sampled continuous actions, an open bound."""
    source = _Source()
    layers = (
        Dense(source.sparse(8, 5), source.dense(8)),
        Activation("relu"),
        LSTM(source.sparse(12, 8), source.sparse(12, 3), source.dense(12)),
        Dense(source.sparse(2, 3), source.dense(2)),
    )
    front = (Encoding((Numbers(2), OneHot(3, 1))),)
    infinite = np.full(2, np.inf, np.float32)
    sampling = Gaussian(source.dense(2), (-20.0, 2.0), squashed=False)
    action = Continuous(-infinite, infinite, "none", sampling)
    return PolicyDescription((3,), front, layers, action)


POLICIES = {
    "vector": vector_policy,
    "image": image_policy,
    "stack": stack_policy,
    "recurrent": recurrent_policy,
}
