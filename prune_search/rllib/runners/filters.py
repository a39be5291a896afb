"""RLlib's running mean and standard deviation of observations, applied to many rows at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.rllib.connectors.env_to_module import MeanStdFilter
from ray.rllib.utils.numpy import SMALL_NUMBER

from prune_search.rllib.connectors.policy_parts import observation_filter


def filtered(connector: MeanStdFilter, rows: NDArray[Any]) -> NDArray[Any]:
    """What RLlib's filter makes of observations that it is shown one after another.

    It pushes each observation before it scales it, so that the first of the rows is scaled by
    other statistics than the last. The updates are Welford's, as RLlib's are, for all rows
    together; sums are taken in another order, so that the last bits of the double precision that
    statistics are kept in may differ.

    Args:
        connector: of one agent; it learns from the rows, unless told not to.
        rows: [observations, ...].

    Returns:
        Scaled and clipped rows, of the same type and shape.
    """
    if connector._filters is None:
        connector._init_new_filters()
    held = observation_filter(connector)
    if not connector._update_stats:
        return np.asarray(held(rows, update=False))
    means, variances = _pushed(held.running_stats, rows)
    _pushed(held.buffer, rows)  # what has been seen since env runners were last merged
    found: NDArray[Any] = rows
    if held.demean:
        found = found - means
    if held.destd:
        found = found / (np.sqrt(np.maximum(0, variances)) + SMALL_NUMBER)
    if held.clip:
        found = np.clip(found, -held.clip, held.clip)
    return found.astype(rows.dtype)


def _pushed(stat: Any, rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Pushes rows to a RunningStat: its mean and variance after each of them, [rows, ...]."""
    before, mean = stat.num_pushes, stat.mean_array
    counts = np.arange(before + 1, before + 1 + len(rows), dtype=np.float64)
    counts = counts.reshape(-1, *[1] * mean.ndim)
    values = rows.astype(np.float64)
    origin = mean if before else values[0]
    means = origin + np.cumsum(values - origin, axis=0) / counts
    earlier = np.concatenate([origin[None], means[:-1]])
    grown = np.cumsum((values - earlier) * (values - means), axis=0)
    squares = stat.sum_sq_diff_array + grown
    divisors = np.maximum(counts - 1, 1)
    variances = np.where(counts > 1, squares / divisors, 0.0).astype(np.float32)
    stat.mean_delta_array += means[-1] - (mean if before else 0.0)
    stat.sum_sq_diff_delta_array += grown[-1]
    stat.mean_array[...], stat.sum_sq_diff_array[...] = means[-1], squares[-1]
    stat.num_pushes += len(rows)
    stat.num_pushes_delta += len(rows)
    return means, variances
