"""How much sooner networks break on a study's task than on others, as a factor.

What a policy loses at 97 % sparsity on one task it loses at 70 % on another, and what came of other
tasks' trials misleads there. So log densities of the study are stretched before they are held
against those of other tasks: by a factor of 2, what has 10 % of its weights left is taken for what
has 1 % left there. The factor is as little known as the rest: it has a prior, log-normal, and each
trial of the study tells of it by how far other tasks' trials, so stretched, are off its retentions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FACTORS = np.exp(np.linspace(-1.6, 1.6, 17))
"""Those that are weighed against each other, 0.2 to 5."""
_SPREAD = 0.7
"""Standard deviation of the factor's logarithm, over tasks: that of the recorded ones is 0.7, each
held against the others."""
_OFF = 0.2
"""By which trees are off a retention that they were not grown on, as on the recorded tasks."""


def stretched(
    rows: NDArray[np.float32], columns: list[int], factor: ArrayLike
) -> NDArray[np.float32]:
    """Rows of features with the log densities among them multiplied.

    Args:
        rows: [rows, columns].
        columns: in which log densities are.
        factor: of all rows, or of each.
    """
    found = rows.copy()
    found[:, columns] *= np.reshape(factor, (-1, 1))
    return found


def believed(wrong: NDArray[np.float64]) -> NDArray[np.float64]:
    """How likely each of `FACTORS` is, [factors]; they sum to 1.

    Args:
        wrong: [factors, trials], the mean square by which other tasks' trials are off a trial's
            retentions at each factor; of no trials, and the prior is left. A trial counts once,
            however many its rounds: they resemble each other.
    """
    prior = -((np.log(FACTORS) / _SPREAD) ** 2) / 2
    log = prior - wrong.sum(axis=1) / (2 * _OFF**2)
    likely = np.exp(log - log.max())
    return np.asarray(likely / likely.sum())


def drawn(
    likely: NDArray[np.float64], number: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """So many factors, spread evenly over what is likely, in any order."""
    at = (np.arange(number) + 0.5) / number
    places = np.searchsorted(np.cumsum(likely), at).clip(max=len(FACTORS) - 1)
    return generator.permutation(FACTORS[places])
