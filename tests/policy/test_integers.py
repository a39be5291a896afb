"""Policies in integers: near to the floats', exact by hand, and within 32 bits."""

from __future__ import annotations

import numpy as np
import pytest

from prune_search.policy.actions import Choice, Continuous
from prune_search.policy.description import PolicyDescription
from prune_search.policy.integers import (
    Sums,
    Table,
    integer_act,
    integer_outputs,
    integer_policy,
)
from prune_search.policy.layers import Activation, Convolution, Dense, Flatten
from prune_search.policy.reference import act, outputs
from tests.packed.policies import recurrent_policy, stack_policy, vector_policy


def made(function: str) -> PolicyDescription:
    source = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return (source.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)

    layers = (
        Convolution(2 * normal(6, 2, 3, 3), normal(6), (2, 1), (1, 0, 0, 1)),
        Activation(function),  # type: ignore[arg-type]
        Flatten(),
        Dense(normal(16, 6 * 2 * 4), normal(16)),
        Activation(function),  # type: ignore[arg-type]
        Dense(normal(3, 16), None),
    )
    bound = np.ones(3, np.float32)
    return PolicyDescription((5, 5, 2), (), layers, Continuous(-bound, bound, "clip"))


def seen(policy: PolicyDescription, rows: int = 500, seed: int = 1) -> np.ndarray:
    source = np.random.default_rng(seed)
    return source.standard_normal((rows, *policy.observation_shape)).astype(np.float32)


@pytest.mark.parametrize("function", ["relu", "tanh", "elu", "silu", "sigmoid", "gelu"])
def test_near_the_floats_on_observations_that_it_has_not_seen(function: str) -> None:
    policy = made(function)
    integers = integer_policy(policy, seen(policy))
    fresh = seen(policy, seed=2)
    want, _ = outputs(policy, fresh)
    found, _ = integer_outputs(integers, fresh)
    errors, largest = np.abs(found * integers.output_scale - want), np.abs(want).max()
    assert errors.mean() < 0.01 * largest
    assert errors.max() < 0.15 * largest  # where something was larger than what was seen before
    actions, _ = integer_act(integers, fresh)
    assert actions.dtype == np.float32 and np.abs(actions - act(policy, fresh)[0]).mean() < 0.1


def test_fewer_bits_are_further_away() -> None:
    policy = made("tanh")
    fresh = seen(policy, seed=2)
    want, _ = outputs(policy, fresh)
    errors = []
    for bits in (8, 4, 2):
        integers = integer_policy(policy, seen(policy), bits)
        found, _ = integer_outputs(integers, fresh)
        errors.append(np.abs(found * integers.output_scale - want).mean())
    assert errors[0] < errors[1] < errors[2]


def test_by_hand() -> None:
    """(100 * 3 + 10) * 2^-2 = 77.5 is 78, -77.5 is -77: half is added, and the rest cut off."""
    layer = Dense(np.array([[1.0], [-1.0]], np.float32), None)
    sums = Sums(
        np.array([[3], [-3]], np.int8),
        np.array([10, -10], np.int32),
        np.array([2**30, 2**30], np.int32),
        np.array([32, 32], np.int32),
        -200,
        77,
        layer,
    )
    policy = PolicyDescription((1,), (), (layer,), Choice((2,), (0,), single=True))
    integers = integer_policy(policy, np.array([[1.0]], np.float32))
    assert integers.input_scale == pytest.approx(2 / 32767)
    (step,) = integers.steps
    assert isinstance(step, Sums) and step.weight.tolist() == [[127], [-127]]
    found = step.multiplier / 2.0**step.shift * 127 * 16383.5
    assert found == pytest.approx([16383.5, 16383.5], rel=1e-3)
    by_hand = type(integers)(policy, 1.0, 127, (sums,), 1.0)
    assert integer_outputs(by_hand, np.array([[99.5], [1000.0]]))[0].tolist() == [
        [77, -77],
        [77, -98],
    ]


def test_zeros_stay_zeros_and_are_the_packed_ones() -> None:
    policy = vector_policy()
    integers = integer_policy(policy, seen(policy), 4)
    weights = [layer.weight for layer in policy.layers if isinstance(layer, Dense)]
    sums = [step for step in integers.steps if isinstance(step, Sums)]
    for weight, step in zip(weights, sums, strict=True):
        assert (step.weight[weight == 0] == 0).all() and np.abs(step.weight).max() == 7
    assert [type(step) for step in integers.steps].count(Table) == 2


def test_sums_that_would_not_fit_get_smaller_inputs() -> None:
    source = np.random.default_rng(0)
    layer = Dense(np.ones((2, 4000), np.float32), None)
    policy = PolicyDescription((4000,), (), (layer,), Choice((2,), (0,), single=True))
    integers = integer_policy(policy, source.random((4, 4000)).astype(np.float32))
    assert integers.input_most * 127 * 4000 <= 2**30
    assert integers.input_most == 2**11 - 1


def test_frames_are_remembered() -> None:
    policy = stack_policy()
    frames = seen(policy, 40)
    integers = integer_policy(policy, frames)
    state = kept = None
    for frame in frames:
        want, state = outputs(policy, frame[None], state)
        found, kept = integer_outputs(integers, frame[None], kept)
        assert np.abs(found * integers.output_scale - want).max() < 0.2
    assert np.array_equal(state, kept)  # type: ignore[arg-type]


def test_what_has_no_integer_version() -> None:
    with pytest.raises(ValueError, match="no integer version of LSTM"):
        integer_policy(recurrent_policy(), seen(recurrent_policy(), 3))
    with pytest.raises(ValueError, match="there are none"):
        integer_policy(vector_policy(), np.zeros((0, 4), np.float32))
