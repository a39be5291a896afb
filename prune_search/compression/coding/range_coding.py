"""A range coder on models that learn as they go: no tables, and rows whose order does not matter.

What is written, matrix after matrix, into one stream:

1. The density, as a number k of 0 to 255 that stands for (k / 255)^2, and the mask model, 0 to 3.
2. The mask, column by column. Where rows may be permuted they are sorted, ones first, so that rows
   that have been equal so far form a group, and a group's ones in a column are its first rows: how
   many they are is all that is written. Whatever the rows were, that saves the logarithm of the
   number of their orders. A count of a group of n rows is taken to be binomial(n, p); p is what
   the mask model says of the row.
3. The highest code, 0 to 255, and the codes that are not zero, row by row, each taken to be as
   frequent as it was so far.

Probabilities are float64, made by additions, multiplications and divisions in the order in which
they stand here, so that every machine computes the same; `constriction` makes them fixed-point.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from prune_search.compression.coding.matrices import Form, Matrix

Floats64 = NDArray[np.float64]
Integers = NDArray[np.int32]

MASK_MODELS = ("layer", "row", "recent", "row_and_recent")
"""What a weight's chance to be kept is taken from: the matrix' density; the row's columns so far;
the columns just before; both."""

_PRIOR = 32.0  # weights that the density counts for, beside those that were seen in a row
_PACE = 0.125  # how fast the mean over columns follows
_SMALLEST, _LARGEST = 2.0**-16, 1.0 - 2.0**-16


class _Stream(Protocol):
    """A writer, which is given what it writes, or a reader, which is not: both return it."""

    def bits(self, chances: Floats64, given: Integers | None) -> Integers: ...

    def symbols(self, weights: Floats64, count: int, given: Integers | None) -> Integers: ...


class _Writer:
    def __init__(self) -> None:
        import constriction

        self._models = constriction.stream.model
        self._coder = constriction.stream.queue.RangeEncoder()

    def bits(self, chances: Floats64, given: Integers | None) -> Integers:
        assert given is not None
        self._coder.encode(given.astype(np.int32), self._models.Bernoulli(perfect=False), chances)
        return given

    def symbols(self, weights: Floats64, count: int, given: Integers | None) -> Integers:
        assert given is not None
        self._coder.encode(given.astype(np.int32), self._models.Categorical(weights, perfect=False))
        return given

    def finished(self) -> bytes:
        """What was written; zeros at the end are left out, as the reader takes them for granted."""
        words: NDArray[np.uint32] = self._coder.get_compressed()
        return words.astype(">u4").tobytes().rstrip(b"\0")


class _Reader:
    def __init__(self, data: bytes) -> None:
        import constriction

        self._models = constriction.stream.model
        words = np.frombuffer(data + bytes(-len(data) % 4), ">u4").astype(np.uint32)
        self._coder = constriction.stream.queue.RangeDecoder(words)

    def bits(self, chances: Floats64, given: Integers | None) -> Integers:
        return np.asarray(
            self._coder.decode(self._models.Bernoulli(perfect=False), chances), np.int32
        )

    def symbols(self, weights: Floats64, count: int, given: Integers | None) -> Integers:
        model = self._models.Categorical(weights, perfect=False)
        return np.asarray(self._coder.decode(model, count), np.int32)


def encode(matrices: Sequence[Matrix]) -> bytes:
    """All matrices in one stream; each mask by the model that makes it shortest."""
    writer = _Writer()
    for matrix in matrices:
        _matrix(writer, matrix.form, _shortest(matrix), matrix.codes)
    return writer.finished()


def decode(data: bytes, forms: Sequence[Form]) -> list[Integers]:
    """The codes of the matrices, in the order of their rows in the stream.

    Raises:
        ValueError: the data are not what ``encode`` has written of such matrices.
    """
    try:
        reader = _Reader(data)
        return [_matrix(reader, form, None, None) for form in forms]
    except AssertionError as error:  # constriction's
        raise ValueError(str(error)) from None


def _shortest(matrix: Matrix) -> int:
    def length(model: int) -> int:
        writer = _Writer()
        _mask(writer, matrix.form, model, (matrix.codes != 0).astype(np.int32))
        return len(writer.finished())

    return min(range(len(MASK_MODELS)), key=length)


def _matrix(stream: _Stream, form: Form, model: int | None, given: Integers | None) -> Integers:
    mask = _mask(stream, form, model, None if given is None else (given != 0).astype(np.int32))
    codes = np.zeros((form.rows, form.columns), np.int32)
    kept = mask != 0
    if kept.any():
        codes[kept] = 1 + _values(
            stream, int(kept.sum()), None if given is None else given[kept] - 1
        )
    return codes


def _mask(stream: _Stream, form: Form, model: int | None, given: Integers | None) -> Integers:
    rows, columns = form.rows, form.columns
    if not rows * columns:
        return np.zeros((rows, columns), np.int32)
    density = None if given is None else np.array([round(255 * float(given.mean()) ** 0.5)])
    level = int(stream.symbols(np.ones(256), 1, density)[0]) / 255
    chosen = None if model is None else np.array([model])
    model = int(stream.symbols(np.ones(len(MASK_MODELS)), 1, chosen)[0])
    chances = _Chances(rows, level * level, model)
    mask = np.zeros((rows, columns), np.int32)
    starts = np.zeros(1, np.int64) if form.sorted else np.arange(rows)
    for column in range(columns):
        sizes = np.diff(starts, append=rows)
        chance = chances.now()[starts]
        ones = None if given is None else np.add.reduceat(given[:, column], starts)
        some = None if ones is None else np.minimum(ones, 1)
        counts = stream.bits(1.0 - _power(1.0 - chance, sizes), some).astype(np.int32)
        for group in np.flatnonzero((counts > 0) & (sizes > 1)):
            weights = _binomial(int(sizes[group]), float(chance[group]))[1:]
            more = None if ones is None else ones[group : group + 1] - 1
            counts[group] += stream.symbols(weights, 1, more)[0]
        place = np.arange(rows) - np.repeat(starts, sizes)
        mask[:, column] = place < np.repeat(counts, sizes)
        chances.see(mask[:, column])
        split = (counts > 0) & (counts < sizes)
        starts = np.sort(np.concatenate([starts, starts[split] + counts[split]]))
    return mask


class _Chances:
    """A mask model: how likely each row's next weight is to be kept."""

    def __init__(self, rows: int, density: float, model: int) -> None:
        self._density = min(max(density, _SMALLEST), _LARGEST)
        self._by_row, self._by_recent = model in (1, 3), model in (2, 3)
        self._ones, self._seen, self._recent = np.zeros(rows), 0, self._density

    def now(self) -> Floats64:
        chances: Floats64 = np.full(len(self._ones), self._density)
        if self._by_row:
            chances = (self._ones + _PRIOR * self._density) / (self._seen + _PRIOR)
        if self._by_recent:
            chances = chances * (0.875 * self._recent / self._density + 0.125)
        np.clip(chances, _SMALLEST, _LARGEST, out=chances)
        return chances

    def see(self, column: Integers) -> None:
        self._ones += column
        self._seen += 1
        self._recent += _PACE * (int(column.sum()) / len(column) - self._recent)


def _power(base: Floats64, exponents: NDArray[np.int64]) -> Floats64:
    """By multiplications alone: `**` is not the same on every machine."""
    result, factor, left = np.ones_like(base), base, exponents
    while left.any():
        result = np.where(left % 2 == 1, result * factor, result)
        factor, left = factor * factor, left // 2
    return result


def _binomial(count: int, chance: float) -> Floats64:
    """The binomial distribution's probabilities of 0 to count, up to a factor."""
    mode = min(int((count + 1) * chance), count)
    steps = np.arange(count, dtype=np.float64)
    ratios = (count - steps) / (steps + 1) * (chance / (1 - chance))
    above = np.cumprod(ratios[mode:])
    below = np.cumprod(1 / ratios[:mode][::-1])[::-1]
    chances: Floats64 = np.concatenate([below, np.ones(1), above])
    return chances


def _values(stream: _Stream, count: int, given: Integers | None) -> Integers:
    last = None if given is None else np.array([given.max()])
    symbols = int(stream.symbols(np.ones(255), 1, last)[0]) + 1
    # Krichevsky and Trofimov's 1/2 for each symbol; of many symbols most never occur.
    counts = np.full(symbols, min(0.5, 8.0 / symbols))
    found = np.zeros(count, np.int32)
    done = 0 if symbols > 1 else count
    while done < count:
        end = min(done + max(1, done // 16), count)
        part = None if given is None else given[done:end]
        found[done:end] = stream.symbols(counts, end - done, part)
        counts += np.bincount(found[done:end], minlength=symbols)
        done = end
    return found
