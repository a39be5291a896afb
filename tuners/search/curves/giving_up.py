"""Which rounds of predicted curves would not come, as their trials would have been given up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from prune_search.experiment.pruning import Pruning
from prune_search.plan.plan import Plan
from prune_search.sparsity.gate import GATED
from tuners.search.curves.surrogate import Curves


def until_given_up(
    curves: Curves, plans: Sequence[Plan], pruning: Pruning, done: Sequence[int] | None = None
) -> Curves:
    """Predictions without the rounds after those at which `trial.rounds.why_over` ends a trial.

    Trials that were given up show nothing of their later rounds. What other tasks' trials became in
    theirs would be expected of them for ever, if these rounds counted.

    Args:
        curves: of some plans.
        plans: these.
        pruning: `floor` and `patience` count.
        done: rounds that each has behind it, if it goes on after it had been given up: patience
            begins anew, and only what is still to come is there.

    Returns:
        The same, `there` of each member: [members, plans, rounds]; unchanged where none can be.
    """
    kept = curves.retention >= pruning.floor
    if done is not None:
        behind = np.arange(kept.shape[-1]) < np.array(done)[:, None]
        curves = replace(curves, there=curves.there & ~behind)
        kept = kept | behind
    if pruning.patience >= kept.shape[-1]:
        return curves  # none has so many rounds before its last
    # From each round on: are as many as patience has low, and was one before them kept?
    low = ~sliding_window_view(kept, pruning.patience, axis=-1).any(axis=-1)
    learned = np.zeros_like(low)
    learned[..., 1:] = np.logical_or.accumulate(kept, axis=-1)[..., : low.shape[-1] - 1]
    learned |= np.array([plan.origin == "baseline" for plan in plans])[:, None]
    may_end = np.array([plan.schedule != GATED for plan in plans])[:, None]
    over = np.logical_or.accumulate(low & learned & may_end, axis=-1)
    there = np.broadcast_to(curves.there, kept.shape).copy()
    there[..., pruning.patience :] &= ~over[..., :-1]
    return replace(curves, there=there)
