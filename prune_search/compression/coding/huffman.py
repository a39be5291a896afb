"""Deep Compression's own coding: gaps between kept weights, Huffman codes, and their tables.

What is written of each matrix, into one stream of bits:

1. How many weights are kept (32 bits).
2. For each of them, row by row, how many zeros lie before it: as a relative index of 5 bits, of
   which 31 skips as many zeros and keeps nothing (Han et al. 2016, Deep Compression, figure 2),
   Huffman-coded; or as a Rice code of the parameter that fits best (5 bits).
3. The highest of their codes (8 bits), and all of them, Huffman-coded.

A table has the length of each symbol's Huffman code, 5 bits each, 0 where it does not occur.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from prune_search.compression.coding.matrices import Form, Matrix

Integers = NDArray[np.int32]

_FILLER = 31  # the relative index that only skips as many zeros
_LENGTH_BITS, _COUNT_BITS = 5, 32


class _Stream(Protocol):
    """A writer, which is given what it writes, or a reader, which is not: both return it."""

    def number(self, bits: int, given: int | None) -> int: ...

    def symbols(self, lengths: Integers, count: int, given: Integers | None) -> Integers: ...


class _Writer:
    def __init__(self) -> None:
        import constriction

        self._trees = constriction.symbol.huffman.EncoderHuffmanTree
        self._coder = constriction.symbol.QueueEncoder()
        self._bit = self._trees(np.ones(2))

    def number(self, bits: int, given: int | None) -> int:
        assert given is not None
        for place in reversed(range(bits)):
            self._coder.encode_symbol(given >> place & 1, self._bit)
        return given

    def symbols(self, lengths: Integers, count: int, given: Integers | None) -> Integers:
        assert given is not None
        used = np.flatnonzero(lengths)
        tree = self._trees(0.5 ** lengths[used])
        for place in np.searchsorted(used, given):
            self._coder.encode_symbol(int(place), tree)
        return given

    def finished(self) -> bytes:
        """What was written, without the bits that fill the last word up."""
        words, bits = self._coder.get_compressed_and_bitrate()
        data: bytes = words.astype("<u4").tobytes()
        return data[: -(-int(bits) // 8)]


class _Reader:
    def __init__(self, data: bytes) -> None:
        import constriction

        self._trees = constriction.symbol.huffman.DecoderHuffmanTree
        words = np.frombuffer(data + bytes(-len(data) % 4), "<u4").astype(np.uint32)
        self._coder = constriction.symbol.QueueDecoder(words)
        self._bit = self._trees(np.ones(2))

    def number(self, bits: int, given: int | None) -> int:
        found = 0
        for _ in range(bits):
            found = found << 1 | self._coder.decode_symbol(self._bit)
        return found

    def symbols(self, lengths: Integers, count: int, given: Integers | None) -> Integers:
        used = np.flatnonzero(lengths).astype(np.int32)
        if not len(used):
            raise ValueError("a table without symbols")
        tree = self._trees(0.5 ** lengths[used])
        places = [self._coder.decode_symbol(tree) for _ in range(count)]
        return used[np.array(places, np.intp)]


def encode(matrices: Sequence[Matrix], *, rice: bool = False) -> bytes:
    """All matrices in one stream, relative indices or Rice codes for the gaps."""
    writer = _Writer()
    for matrix in matrices:
        _matrix(writer, matrix.form, rice, matrix.codes)
    return writer.finished()


def decode(data: bytes, forms: Sequence[Form], *, rice: bool = False) -> list[Integers]:
    """The codes of the matrices.

    Raises:
        ValueError: the data are not what ``encode`` has written of such matrices.
    """
    reader = _Reader(data)
    return [_matrix(reader, form, rice, None) for form in forms]


def relative_indices(gaps: Integers) -> Integers:
    """Gaps as numbers of 0 to 31, which 5 bits hold, fillers among them.

    Args:
        gaps: how many zeros lie before each kept weight since the one before it.
    """
    fillers = gaps // _FILLER
    indices = np.full(len(gaps) + int(fillers.sum()), _FILLER, np.int32)
    indices[np.cumsum(fillers + 1) - 1] = gaps % _FILLER
    return indices


def gaps_of(codes: Integers) -> Integers:
    """How many zeros lie, row by row, before each code that is none since the one before it."""
    return np.diff(np.flatnonzero(codes), prepend=-1).astype(np.int32) - 1


def _matrix(stream: _Stream, form: Form, rice: bool, given: Integers | None) -> Integers:
    flat = None if given is None else given.ravel()
    count = stream.number(_COUNT_BITS, None if flat is None else int(np.count_nonzero(flat)))
    if count > form.rows * form.columns:
        raise ValueError("more weights than the matrix has")
    gaps = None if given is None else gaps_of(given)
    found = (_rice if rice else _relative)(stream, count, gaps)
    where = np.cumsum(found.astype(np.int64) + 1) - 1
    if count and where[-1] >= form.rows * form.columns:
        raise ValueError("a weight lies beyond the matrix")
    codes = np.zeros(form.rows * form.columns, np.int32)
    if count:
        values = None if flat is None else flat[where] - 1
        highest = stream.number(8, None if values is None else int(values.max()))
        codes[where] = 1 + _coded(stream, highest + 1, count, values)
    return codes.reshape(form.rows, form.columns)


def _relative(stream: _Stream, count: int, gaps: Integers | None) -> Integers:
    """Gaps as relative indices: `_FILLER`s, and what is left."""
    indices = None if gaps is None else relative_indices(gaps)
    total = stream.number(_COUNT_BITS, None if indices is None else len(indices))
    found = _coded(stream, _FILLER + 1, total, indices)
    ends = np.flatnonzero(found != _FILLER)
    if len(ends) != count:
        raise ValueError("another number of weights than was said")
    return np.diff(np.cumsum(found)[ends], prepend=0).astype(np.int32)


def _rice(stream: _Stream, count: int, gaps: Integers | None) -> Integers:
    shift = None
    if gaps is not None:
        sizes = [int((gaps >> bits).sum()) + count * (1 + bits) for bits in range(31)]
        shift = int(np.argmin(sizes))
    shift = stream.number(_LENGTH_BITS, shift)
    found = np.zeros(count, np.int32)
    for place in range(count):
        gap = None if gaps is None else int(gaps[place])
        high = 0
        while stream.number(1, None if gap is None else int(high < gap >> shift)):
            high += 1
        low = stream.number(shift, None if gap is None else gap & ((1 << shift) - 1))
        found[place] = min(high << shift | low, 2**31 - 1)
    return found


def _coded(stream: _Stream, alphabet: int, count: int, given: Integers | None) -> Integers:
    """Huffman codes with their table."""
    if not count:
        return np.zeros(0, np.int32)
    known = (
        np.zeros(alphabet, int)
        if given is None
        else _lengths(np.bincount(given, minlength=alphabet))
    )
    lengths = [
        stream.number(_LENGTH_BITS, None if given is None else int(length)) for length in known
    ]
    return stream.symbols(np.array(lengths), count, given)


def _lengths(counts: NDArray[np.intp]) -> NDArray[np.intp]:
    """Each symbol's bits in a Huffman code; 0 where it does not occur, 1 where it is alone."""
    import constriction

    used = np.flatnonzero(counts)
    tree = constriction.symbol.huffman.EncoderHuffmanTree(counts[used].astype(np.float64))
    lengths = np.zeros(len(counts), np.intp)
    for place, symbol in enumerate(used):
        alone = constriction.symbol.QueueEncoder()
        alone.encode_symbol(place, tree)
        lengths[symbol] = max(int(alone.get_compressed_and_bitrate()[1]), 1)
    return lengths
