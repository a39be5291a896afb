"""Weights of few values: what every method must keep, and what each is for."""

from __future__ import annotations

import doctest
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import prune_search.compression
from prune_search.compression.methods import METHODS, method
from prune_search.compression.quantization import quantize
from prune_search.compression.weight_sharing import share

tensors = st.lists(
    arrays(
        np.float32,
        st.sampled_from([(3, 4), (5,), (2, 3, 2, 2), (1, 1)]),
        elements=st.floats(-8, 8, width=16),
    ),
    min_size=1,
    max_size=3,
)


@given(tensors, st.integers(2, 8), st.sampled_from(sorted(METHODS)))
def test_every_method_keeps_zeros_and_is_read_back_bit_for_bit(
    given_: list[np.ndarray], bits: int, name: str
) -> None:
    """What is fitted to values that were fitted before is the same once more."""
    found = method(name).fit(given_, bits)
    values = found.values()
    for before, after, symbols in zip(given_, values, found.symbols, strict=True):
        assert after.dtype == np.float32 and after.shape == before.shape == symbols.shape
        assert (after[before == 0] == 0).all() and ((symbols == 0) <= (after == 0)).all()
        most = 2 ** (bits if symbols.ndim > 1 or name != "uniform" else 8)
        assert symbols.min() >= 0 and symbols.max() < most
    assert np.array_equal(found.floats, found.floats.astype(np.float16))
    again = method(name).read(found.symbols, found.floats).values()
    refitted = method(name).fit(values, bits).values()
    for value, read, fitted in zip(values, again, refitted, strict=True):
        assert np.array_equal(value, read) and np.array_equal(value, fitted)


def test_sharing_clusters_by_value() -> None:
    """Three clusters, and zero: the centroids are their means."""
    weights = np.array([[-1.0, -1.25, 0.0, 0.5], [0.75, 0.0, 4.0, 4.5]], np.float32)
    shared = share([weights], 2)
    assert shared.floats.tolist() == [-1.125, 0.625, 4.25]
    assert shared.symbols[0].tolist() == [[1, 1, 0, 2], [2, 0, 3, 3]]


def test_what_shares_a_codebook() -> None:
    layers = [["a.weight", "a.bias"], ["b.weight"]]
    assert list(method("sharing").groups(layers)) == layers
    assert list(method("network_sharing").groups(layers)) == [["a.weight", "a.bias", "b.weight"]]


def test_uniform_has_a_scale_for_each_output() -> None:
    weights = np.array([[1.0, -0.5, 0.25], [0.0, 64.0, -128.0]], np.float32)
    found = quantize([weights, np.array([0.5, -0.125], np.float32)], 3)
    assert [one.tolist() for one in found.integers] == [[[3, -2, 1], [0, 2, -3]], [127, -32]]
    assert found.floats == pytest.approx([1 / 3, 128 / 3, 0.5 / 127], rel=1e-3)


@given(
    arrays(np.float32, (4, 6), elements=st.floats(-8, 8, width=32)),
    st.integers(2, 8),
    st.sampled_from(sorted(METHODS)),
)
def test_what_was_fitted_stays_what_it_is_where_some_of_it_has_gone(
    weights: np.ndarray, bits: int, name: str
) -> None:
    """Rows and columns leave with units that are superfluous, the largest weights among them."""
    found = METHODS[name]
    kernel, bias = found.fit([weights, weights[0]], bits).values()
    largest = np.argmax(np.abs(kernel).max(axis=0))
    left = [np.delete(kernel, largest, axis=1)[1:], np.delete(bias, np.abs(bias).argmax())]
    again = found.fit(left, bits).values()
    assert all(np.array_equal(one, other) for one, other in zip(left, again, strict=True))


@pytest.mark.parametrize(
    ("weights", "bits", "message"),
    [
        ([[np.nan]], 4, "not finite"),
        ([[1e5]], 4, "float16"),
        ([[1.0]], 1, "bits must be 2 to 8"),
    ],
)
def test_what_no_method_takes(weights: list[list[float]], bits: int, message: str) -> None:
    for entry in METHODS.values():
        with pytest.raises(ValueError, match=message):
            entry.fit([np.array(weights, np.float32)], bits)


def test_unknown_method_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="quantization 'shering', did you mean sharing"):
        method("shering")


def test_the_example_runs() -> None:
    result = doctest.testmod(prune_search.compression)
    assert result.attempted > 0 and result.failed == 0


def test_names_are_known_without_torch() -> None:
    code = "import sys, prune_search.compression.methods; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
