"""Early stopping for several objectives: a trial that can no longer improve the study's front.

**How hopeful a trial looks.** How far does it still go: its reach, the sparsity that its plan's
ratio has led to in finished trials. A ratio is of the kernels that may be pruned, a sparsity of all
parameters, biases and other kernels too. What does it need there: the least retention at which a
point at its reach would still improve the front, see `improvement`. Do finished trials show that
this can happen: a finished trial speaks for going on if it held that retention at some time and,
unless it reached further than this trial does, gained as much after the same progress. The share of
finished trials that speak for it is its hope, 0 to 1. Asked are those that start from the same
weights: from scratch, a policy gains far more than the baseline recovers.

**How often that is wrong.** Hope is a guess, so it is calibrated. Some trials run to their end
whatever they do, chosen by their numbers alone, and the rule is tried on each of them as if it came
now: at which rounds did it look how hopeless, and did it improve the front afterwards? A trial is
stopped if, of those that looked as hopeless as it does in *any* of their rounds, at most a share of
1 - confidence still improved the front, this one counted as one more that would have; and if its
hope is no more than that either. The share is of trials and not of looks, since a trial that is
looked at often has often a chance to look bad.

It is a conformal estimate of the share of false discoveries (Jin & Candès 2023, Selection by
prediction with conformal p-values), with one p-value a trial, that of its worst look. It is meant
on average over studies, and as far as trials are exchangeable (Vovk, Gammerman & Shafer 2005,
Algorithmic learning in a random world). A sampler that gets better bends this; the front that
calibrating trials are held against is today's, and only the latest are asked.

Predicting the end of a learning curve from its beginning, and stopping where it is unlikely to
beat the best, is from Domhan, Springenberg & Hutter 2015; here without a model of the curve, and
for a front instead of one best value.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil, inf

import numpy as np
from numpy.typing import NDArray

from prune_search.plan.plan import Plan
from prune_search.records.fronts import front
from prune_search.records.models import Point, TrialRecord
from prune_search.records.reasons import no_longer_improves
from prune_search.sparsity.gate import GATED
from tuners.search.improvement import front_area, needed_retention

EVERY = 4
"""Each so many trials one runs to its end, so that it is known how often stopping is wrong."""
# Trials that are asked and, at least, that calibrate, so that a decision takes the same time in any
# study; where more are needed before anything is stopped, twice as many as that.
_LATEST, _CALIBRATING = 100, 20
# Of the budget: rounds end where a training iteration does, some a little sooner than others.
_ALIKE = 0.02


@dataclass(frozen=True)
class Decision:
    """What becomes of a trial."""

    stop: bool
    reason: str = ""
    """Why it is stopped, in one line."""


CONTINUE = Decision(stop=False)


@dataclass(frozen=True)
class _Calibrated:
    """What the rule would have made of a trial that ran to its end."""

    hope: float
    """In the round in which it looked worst."""
    overcome: float
    """In the worst-looking round after which it still improved the front; infinite if none."""


@dataclass
class FrontStopping:
    """Stops trials that can no longer improve the study's front; see the module's description.

    Args:
        confidence: in (0, 1). The first confidence / (1 - confidence) trials run to their end, 4 at
            0.8, 9 at 0.9, and so does each fourth after them.
        gain: least improvement that counts, as a share of the front's area.
    """

    confidence: float
    gain: float = 0.0
    _contenders: list[Point] = field(default_factory=list, init=False)
    _seen: dict[int, int] = field(default_factory=dict, init=False)
    _ended: set[int] = field(default_factory=set, init=False)
    _groups: dict[tuple[str, str], _Group] = field(default_factory=dict, init=False)
    # The most sparsity per ratio that a finished trial has come to, by granularity.
    _shares: dict[str, float] = field(default_factory=dict, init=False)

    def add(self, trials: Iterable[TrialRecord]) -> None:
        """Takes over what an earlier driver of the study has measured."""
        for trial in trials:
            self._learn(trial)

    def calibrates(self, number: int) -> bool:
        """Whether a trial runs to its end, however it does."""
        return number % EVERY == 0 or number < self._fewest

    @property
    def _fewest(self) -> int:
        """Calibrating trials without which nothing is stopped."""
        return ceil(self.confidence / (1 - self.confidence) - 1e-9)

    def on_trial_result(self, trial: TrialRecord) -> Decision:
        """Continue or stop: asked after each round, with all of the trial's points so far."""
        self._learn(trial)
        group = self._groups.get(_start(trial.plan))
        if (
            trial.state != "running"
            or not trial.points
            or trial.thawed  # what has it go on is a decision of the same kind
            or self.calibrates(trial.number)
            or group is None
            or len(group.calibrating) < self._fewest
        ):
            return CONTINUE
        best, aim = front(self._contenders), self.reach(trial.plan, trial.points)
        needed = needed_retention(best, aim, self._counts(best))
        hope = group.hope(trial.number, trial.points[-1], aim, needed)
        if hope > 1 - self.confidence + 1e-9:
            return CONTINUE
        alike = [one for one in self._calibrated(group) if one.hope <= hope]
        wrong = sum(one.overcome <= hope for one in alike)
        if (wrong + 1) / (len(alike) + 1) > 1 - self.confidence + 1e-9:
            return CONTINUE
        reason = no_longer_improves(needed, aim, wrong, len(alike))
        return Decision(stop=True, reason=reason)

    def _counts(self, best: Sequence[Point]) -> float:
        """The least area that counts."""
        return self.gain * front_area(best)

    def _learn(self, trial: TrialRecord) -> None:
        new = trial.points[self._seen.get(trial.number, 0) :]
        self._seen[trial.number] = len(trial.points)
        self._contenders = _contenders([*self._contenders, *new])
        # After a resumption the last round of one that had ended is reported again.
        if trial.state == "complete" and trial.points and trial.number not in self._ended:
            self._ended.add(trial.number)
            group = self._groups.setdefault(_start(trial.plan), _Group())
            group.add(trial)
            self._learn_share(trial)
            if self.calibrates(trial.number):
                kept = max(_CALIBRATING, 2 * self._fewest)
                group.calibrating = [*group.calibrating, trial][-kept:]

    def _learn_share(self, trial: TrialRecord) -> None:
        plan, last = trial.plan, trial.points[-1]
        if plan.ratio is None or plan.scope == "critic" or last.progress < 1:
            return
        share = min(1.0, last.sparsity / plan.ratio)  # units go whole, and may go further
        self._shares[plan.granularity] = max(share, self._shares.get(plan.granularity, 0.0))

    def reach(self, plan: Plan, points: Sequence[Point]) -> float:
        """The sparsity that a trial can still get to, 0 to 1.

        Args:
            plan: the trial's.
            points: its rounds so far, one or more.
        """
        if plan.scope == "critic":
            aim = 0.0  # what acts stays as it is
        elif plan.ratio is not None:
            aim = plan.ratio * self._shares.get(plan.granularity, 1.0)
        elif plan.schedule == GATED or (plan.end is not None and points[-1].progress < plan.end):
            aim = 1.0  # its plan doesn't tell
        else:  # by value or by pattern, and all of it is gone
            aim = 0.0
        return max(aim, *(point.sparsity for point in points))

    def _calibrated(self, group: _Group) -> list[_Calibrated]:
        """The calibrating trials, as if each came now; kept until something changes."""
        known = tuple(point.name for point in self._contenders), group.version
        if group.known != known:
            group.known = known
            group.calibrated = [self._calibrate(trial, group) for trial in group.calibrating]
        return group.calibrated

    def _calibrate(self, trial: TrialRecord, group: _Group) -> _Calibrated:
        best = front(point for point in self._contenders if point.trial != trial.number)
        least = self._counts(best)
        found = _Calibrated(inf, inf)
        for rounds in range(1, len(trial.points)):
            so_far, later = trial.points[:rounds], trial.points[rounds:]
            best = front([*best, so_far[-1]])
            aim = self.reach(trial.plan, so_far)
            needed = needed_retention(best, aim, least)
            hope = group.hope(trial.number, so_far[-1], aim, needed)
            improves = any(p.retention > needed_retention(best, p.sparsity, least) for p in later)
            found = _Calibrated(
                min(found.hope, hope), min(found.overcome, hope) if improves else found.overcome
            )
        return found


class _Group:
    """The latest finished trials with one start, as arrays: [trials] or [trials, rounds]."""

    def __init__(self) -> None:
        self._trials: list[TrialRecord] = []
        self.calibrating: list[TrialRecord] = []
        self.version = 0
        self.known: object = None
        self.calibrated: list[_Calibrated] = []

    def add(self, trial: TrialRecord) -> None:
        """A trial that has finished."""
        self._trials = [*self._trials, trial][-_LATEST:]
        self.version += 1
        self._numbers = np.array([one.number for one in self._trials])
        # What a shorter trial lacks is never before and never after.
        self._progress = _padded([[p.progress for p in one.points] for one in self._trials])
        self._retention = _padded([[p.retention for p in one.points] for one in self._trials])
        self._best = np.nanmax(self._retention, axis=1)
        sparsity = _padded([[p.sparsity for p in one.points] for one in self._trials])
        self._sparsest = np.nanmax(sparsity, axis=1)

    def hope(self, number: int, now: Point, aim: float, needed: float) -> float:
        """The share of other trials that show that what is needed can happen; 1 without any."""
        until = now.progress + _ALIKE
        before = self._progress <= until
        asked = before.any(axis=1) & (self._numbers != number)
        if not asked.any():
            return 1.0
        last = np.maximum(before.sum(axis=1) - 1, 0)
        at = self._retention[np.arange(len(last)), last]
        later = np.where(self._progress > until, self._retention, -inf).max(axis=1)
        # One that had more to remove shows too little by what it gained.
        gained = (later - at > needed - now.retention) | (self._sparsest > aim)
        return float(((self._best > needed) & gained)[asked].mean())


def _start(plan: Plan) -> tuple[str, str]:
    return plan.origin, plan.rewind


def _contenders(points: Sequence[Point]) -> list[Point]:
    """Those of which any front is made that leaves one trial out: the rest are never on one.

    They are the points that all points which dominate them, if any, share a trial.
    """
    return [
        point
        for point in points
        if len({other.trial for other in points if _dominates(other, point)}) < 2
    ]


def _dominates(one: Point, other: Point) -> bool:
    return (
        one.sparsity >= other.sparsity
        and one.retention >= other.retention
        and (one.sparsity > other.sparsity or one.retention > other.retention)
    )


def _padded(rows: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    longest = max(map(len, rows))
    return np.array([[*row, *[np.nan] * (longest - len(row))] for row in rows])
