"""Rules for stopping trials that are widely used, as rivals of the study's own."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import moocore
import numpy as np

from prune_search.records.fronts import log_hypervolume
from prune_search.records.models import TrialRecord
from tuners.search.front_stopping import CONTINUE, Decision

STOP = Decision(stop=True, reason="stopped by a rival's rule")


@dataclass
class Halving:
    """Asynchronous successive halving on one figure (Li et al. 2020, ASHA).

    The figure is what a trial's points are worth so far, in log-hypervolume: of sparsity and
    return, which are told apart here, ASHA can be given but one. At 1, 2, 4 … rounds a trial goes
    on if it is among the best 1 / `factor` of those that got there; the first ones do.
    """

    factor: int = 2
    _rungs: defaultdict[int, list[float]] = field(default_factory=lambda: defaultdict(list))

    def on_trial_result(self, trial: TrialRecord) -> Decision:
        rounds = len(trial.points)
        if trial.state != "running" or rounds & (rounds - 1):
            return CONTINUE
        rung, value = self._rungs[rounds], log_hypervolume(trial.points)
        rung.append(value)
        kept = sorted(rung, reverse=True)[: max(1, len(rung) // self.factor)]
        return CONTINUE if value >= kept[-1] else STOP


@dataclass
class ParetoRank:
    """A trial goes on while its newest point is in the better half of its round's, by rank.

    Ranks are those of non-dominated sorting (Deb et al. 2002), as multi-objective successive
    halving takes them (Schmucker et al. 2021).
    """

    _rounds: defaultdict[int, list[tuple[float, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def on_trial_result(self, trial: TrialRecord) -> Decision:
        if trial.state != "running":
            return CONTINUE
        now = trial.points[-1]
        known = self._rounds[len(trial.points)]
        known.append((now.sparsity, now.retention))
        ranks = moocore.pareto_rank(np.array(known), maximise=True)
        better = np.sum(ranks < ranks[-1])
        return CONTINUE if better < max(1, len(known) / 2) else STOP


@dataclass
class AfterRounds:
    """Each trial is stopped after the same share of its rounds."""

    share: float = 0.5

    def on_trial_result(self, trial: TrialRecord) -> Decision:
        done = trial.state == "running" and trial.points[-1].progress >= self.share - 1e-9
        return STOP if done else CONTINUE
