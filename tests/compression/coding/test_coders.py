"""Coders: what is read is what was written, in the bytes that it should take."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from prune_search.compression.coding.coders import CODERS
from prune_search.compression.coding.entropy import entropy
from prune_search.compression.coding.matrices import Matrix, row_order

codes = arrays(
    np.int32,
    array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=9),
    elements=st.sampled_from([0, 0, 0, 1, 2, 7, 254]),
)


def matrix(values: NDArray[np.int32], *, order: bool = False) -> Matrix:
    return Matrix(values[row_order(values)] if order else values, order)


@given(st.lists(codes, max_size=4), st.booleans(), st.sampled_from(sorted(CODERS)))
def test_read_back(values: list[NDArray[np.int32]], order: bool, name: str) -> None:
    matrices = [matrix(one, order=order) for one in values]
    coder = CODERS[name]
    found = coder.decode(coder.encode(matrices), [one.form for one in matrices])
    for read, written in zip(found, matrices, strict=True):
        assert np.array_equal(read, written.codes)


def sparse_network() -> list[NDArray[np.int32]]:
    """4-256-256-2 with independent survivors, 99 % sparse, 3 bits."""
    source = np.random.default_rng(0)
    chances = np.array([1, 2, 3, 3, 3, 2, 1]) / 15
    return [
        np.where(
            source.random(shape) < 0.01, source.choice(7, size=shape, p=chances) + 1, 0
        ).astype(np.int32)
        for shape in ((256, 4), (256, 256), (2, 256))
    ]


def test_sizes_of_a_sparse_network() -> None:
    """The range coder needs what the entropy says, and less where units may change places."""
    plain = [matrix(one) for one in sparse_network()]
    bound = entropy(plain).bits / 8
    sizes = {name: len(coder.encode(plain)) for name, coder in CODERS.items()}
    assert 860 < bound < 900
    assert sizes["range"] < 1.02 * bound < sizes["rice"] < sizes["huffman"] < 1.25 * bound
    first, second, last = sparse_network()
    order = row_order(first)
    first, second = first[order], second[:, order]
    order = row_order(second)
    free = [
        *(matrix(one, order=True) for one in (first, second[order])),
        matrix(last[:, order]),
    ]
    assert len(CODERS["range"].encode(free)) < 1.02 * entropy(free).bits / 8 < 0.8 * bound


def test_entropy_by_hand() -> None:
    """One of four kept, twice, of two equally frequent codes; two rows that may change places."""
    values = np.array([[1, 0, 0, 0], [0, 2, 0, 0]], np.int32)
    found = entropy([matrix(values, order=True)])
    assert found == pytest.approx((8 * (0.75 * np.log2(4 / 3) + 0.25 * 2), 2.0, 1.0))
    assert found.bits == pytest.approx(found.mask + 1.0)
    equal = np.array([[1, 0], [1, 0]], np.int32)
    assert entropy([matrix(equal, order=True)]).order == 0


@pytest.mark.parametrize("name", sorted(CODERS))
def test_other_bytes_are_refused_or_read_as_something_else(name: str) -> None:
    source = np.random.default_rng(0)
    matrices = [matrix(one[:40, :40]) for one in sparse_network()]
    forms = [one.form for one in matrices]
    data = CODERS[name].encode(matrices)
    for _ in range(60):
        bad = bytearray(data)
        for place in source.integers(len(bad), size=3):
            bad[place] ^= int(source.integers(1, 256))
        try:
            found = CODERS[name].decode(bytes(bad[: source.integers(1, len(bad))]), forms)
        except ValueError:
            continue
        for read, form in zip(found, forms, strict=True):
            assert read.shape == form[:2] and read.min() >= 0 and read.max() <= 255
