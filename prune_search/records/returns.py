"""A policy's return over episodes, and what it keeps of the dense policy's."""

from __future__ import annotations

from typing import Literal

from prune_search.records.record import Record

Aggregate = Literal["mean", "iqm"]
"""What a policy's return over episodes counts as."""
_TAIL = 0.1  # share of the episodes that are the worst ones


class Return(Record):
    """The undiscounted return of a policy over evaluation episodes.

    `value` is what it counts as: for retention, the front, limits and verdicts alike.
    """

    aggregate: Aggregate = "iqm"
    """Which figure counts, `evaluation.aggregate`; versions that did not write it knew the IQM."""
    iqm: float
    """Interquartile mean over the episodes: the mean without the lowest and the highest quarter."""
    low: float
    """Lower end of the 95 % bootstrap interval of what counts."""
    high: float
    """Upper end of it."""
    episodes: int
    """Episodes measured."""
    each: list[float] = []
    """Return of each, in the order of their env seeds; empty where it was not kept."""
    mean_alone: float | None = None
    """The mean, where each was left out to save room."""

    @property
    def value(self) -> float:
        """The figure that counts."""
        return self.iqm if self.aggregate == "iqm" or self.mean is None else self.mean

    @property
    def mean(self) -> float | None:
        """Mean over all episodes; None where neither they nor it were kept."""
        return sum(self.each) / len(self.each) if self.each else self.mean_alone

    def without_episodes(self) -> Return:
        """The same, but for what only single episodes can say."""
        return self.model_copy(update={"each": [], "mean_alone": self.mean})

    @property
    def worst(self) -> float | None:
        """Mean of the worst tenth of the episodes, its conditional value at risk.

        With n episodes the mean of the n/10 worst; where that is no whole number, the last one
        counts by the fraction that is left (Acerbi & Tasche 2002, On the coherence of expected
        shortfall, definition 2.6): of fewer than 10 it is the worst. None where they were not kept.
        """
        if not self.each:
            return None
        size = max(1.0, _TAIL * len(self.each))
        ranked = sorted(self.each)
        whole = int(size)
        rest = (size - whole) * ranked[whole] if size > whole else 0.0
        return (sum(ranked[:whole]) + rest) / size


def retention_of(value: float, dense: Return, random: Return) -> float:
    """Share of the dense policy's gain over random actions that a return keeps."""
    return (value - random.value) / (dense.value - random.value)


def return_at(retention: float, dense: Return, random: Return) -> float:
    """The return of a given retention."""
    return random.value + retention * (dense.value - random.value)
