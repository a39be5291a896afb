"""Which rounds of predicted curves would not come, as their trials would have been given up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from prune_search.experiment.pruning import Pruning
from prune_search.plan.plan import Plan
from prune_search.sparsity.gate import GATED
from tuners.search.curves.surrogate import Curves


def until_given_up(curves: Curves, plans: Sequence[Plan], pruning: Pruning) -> Curves:
    """Predictions without the rounds after those at which `trial.rounds.why_over` ends a trial.

    Trials that were given up show nothing of their later rounds. What other tasks' trials became in
    theirs would be expected of them for ever, if these rounds counted.

    Args:
        curves: of some plans.
        plans: these.
        pruning: `floor` and `patience` count.

    Returns:
        The same, `there` of each member: [members, plans, rounds]; unchanged where none can be.
    """
    patience = pruning.patience
    kept = curves.retention >= pruning.floor
    if patience >= kept.shape[-1]:
        return curves  # none has so many rounds before its last
    low = np.ones_like(kept)  # this round and as many before it as patience has
    for back in range(patience):
        low[..., back:] &= ~kept[..., : kept.shape[-1] - back]
    low[..., : patience - 1] = False
    before = np.zeros_like(kept)
    before[..., patience:] = np.logical_or.accumulate(kept, axis=-1)[..., :-patience]
    learned = before | np.array([plan.origin == "baseline" for plan in plans])[:, None]
    ends = low & learned & np.array([plan.schedule != GATED for plan in plans])[:, None]
    over = np.zeros_like(kept)
    over[..., 1:] = np.logical_or.accumulate(ends, axis=-1)[..., :-1]
    return replace(curves, there=curves.there & ~over)
