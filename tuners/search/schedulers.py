"""Tune's own schedulers, for a search with one objective.

Those that only stop trials. HyperBand and population-based training also pause them and clone
their weights, which a trial that keeps its own checkpoints has no part in.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from prune_search.errors import UserError, check_known, one_line
from prune_search.experiment.fields import highest, lowest
from prune_search.experiment.schema import Experiment
from prune_search.records.objectives import OBJECTIVES

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler

_OURS = ("self", "time_attr", "metric", "mode", "hard_stop")


def scheduler(experiment: Experiment) -> TrialScheduler | None:
    """The scheduler of `search.scheduler`; None where there is none.

    It counts env steps, and decides by the trials that this driver has run. By default a trial is
    left alone in its first round, and asha's last rung is at the largest `pruning.env_steps`.

    Raises:
        UserError: it has no such option, or can't work with its value.
    """
    from ray.tune.schedulers import ASHAScheduler, MedianStoppingRule

    search, pruning = experiment.search, experiment.pruning
    if search.scheduler is None:
        return None
    kinds = {"asha": ASHAScheduler, "median_stopping": MedianStoppingRule}
    kind, options = kinds[search.scheduler.name], search.scheduler.options
    known = [name for name in inspect.signature(kind.__init__).parameters if name not in _OURS]
    for name in options:
        check_known(f"search.scheduler.options of {search.scheduler.name}", name, known)
    first = lowest(pruning.env_steps) / highest(pruning.rounds)
    usual: dict[str, Any] = {"grace_period": max(1, round(first))}
    if "max_t" in known:
        usual["max_t"] = int(highest(pruning.env_steps))
    (objective,) = search.objectives
    try:
        return kind(
            time_attr="env_steps",
            metric=objective,
            mode="min" if OBJECTIVES[objective].minimised else "max",
            **(usual | options),
        )
    except Exception as error:  # Tune asserts
        raise UserError(f"search.scheduler.options: {options}: {one_line(error)}") from None
