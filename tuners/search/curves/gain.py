"""What curves would add to a front, in log-hypervolume, member by member."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tuners.search.curves.surrogate import Curves

CELLS = 128
"""Of the axis of log compression, on which fronts are compared."""
_CENTRES = (np.arange(CELLS) + 0.5) / CELLS


def each_attained(
    fronts: Sequence[Sequence[tuple[float, float]]], parameters: int
) -> NDArray[np.float64]:
    """The retention that each front attains at each compression, [fronts, cells], 0 to 1.

    Args:
        fronts: (sparsity, retention) of any points, of each.
        parameters: of the baseline's inference network.
    """
    longest = max(map(len, fronts), default=0)
    # Nothing is kept at no sparsity: that adds nothing to shorter ones.
    padded = [[*front, *[(0.0, 0.0)] * (longest - len(front))] for front in fronts]
    given = np.array(padded).reshape(len(fronts), longest, 2)
    return np.asarray(_level(given[..., 0], given[..., 1].clip(0.0, 1.0), parameters))


def curves_attained(curves: Curves, parameters: int) -> NDArray[np.float64]:
    """The same of each predicted curve, [members, plans, cells]."""
    kept = np.where(curves.there, curves.retention, 0.0)
    shape = (-1, kept.shape[-1])
    level = _level(curves.sparsity.reshape(shape), kept.reshape(shape), parameters)
    return np.asarray(level.reshape(*kept.shape[:-1], CELLS))


def _level(
    sparsity: NDArray[np.float64], retention: NDArray[np.float64], parameters: int
) -> NDArray[np.float64]:
    """Of each row of points, [rows, cells]."""
    # A point is attained in all cells whose centre it lies beyond: their number.
    cells = np.searchsorted(_CENTRES, _log_compression(sparsity, parameters))
    level = np.zeros((len(cells), CELLS + 1))
    np.maximum.at(level, (np.arange(len(cells))[:, None], cells), retention)
    return np.asarray(np.maximum.accumulate(level[:, ::-1], axis=1)[:, ::-1][:, 1:])


def _log_compression(sparsity: NDArray[np.float64], parameters: int) -> NDArray[np.float64]:
    """As `prune_search.records.fronts` has it, of many."""
    left = np.maximum(1.0, parameters * (1.0 - sparsity))
    return np.asarray(1.0 - np.log(left) / np.log(parameters))


def gains(level: NDArray[np.float64], curves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-hypervolume that curves add to a front, [members, plans].

    Args:
        level: of the front, [cells] or [members, cells].
        curves: as `curves_attained` has them.
    """
    before = level if level.ndim == 1 else level[:, None, :]
    return np.asarray(np.maximum(curves - before, 0.0).mean(axis=-1))
