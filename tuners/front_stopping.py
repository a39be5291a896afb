"""Early stopping for several objectives: a trial that can no longer improve the study's front.

A decision needs three things. How far the trial still goes: its reach, the sparsity that its plan
aims at. What it needs there: the least retention at which a point at its reach would still add
something to the front's hypervolume. Whether that may come: the finished trials tell.

Asked are those that start from the same weights: from scratch, a policy gains far more than the
baseline recovers. A finished trial speaks for going on if it shows that what is needed can happen:
it held that retention at some time and, unless it reached further than this trial does, it gained
as much after the same progress. A trial is stopped when at most a share of 1 - confidence of the
finished trials and itself, (votes + 1) / (trials + 1), speak for it: a conformal p-value (Vovk,
Gammerman & Shafer 2005, Algorithmic learning in a random world). If what trials still gain is
exchangeable between them, at most that share of decisions stops a trial that would have improved
the front. The sampler bends this a little, since later trials are better ones, so only the latest
are asked.

Predicting the end of a learning curve from its beginning, and stopping where it is unlikely to
beat the best, is from Domhan, Springenberg & Hutter 2015; here without a model of the curve, and
for a front instead of one best value.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf

from prune_search.pareto import front, hypervolume
from prune_search.pruning import Plan
from prune_search.reasons import no_longer_improves
from prune_search.record import Point, TrialRecord

_LATEST = 100  # finished trials that are asked, so that a decision takes the same time in any study


@dataclass(frozen=True)
class Decision:
    """What becomes of a trial."""

    stop: bool
    reason: str = ""
    """Why it is stopped, in one line."""


CONTINUE = Decision(stop=False)


@dataclass
class FrontStopping:
    """Stops trials that can no longer improve the study's front; see the module's description.

    Args:
        confidence: in (0, 1). Nothing is stopped before confidence / (1 - confidence) trials have
            finished: 4 at 0.8, 9 at 0.9.
        gain: least improvement that counts, as a share of the front's hypervolume.
    """

    confidence: float
    gain: float = 0.0
    _front: list[Point] = field(default_factory=list, init=False)
    _seen: dict[int, int] = field(default_factory=dict, init=False)
    _finished: deque[TrialRecord] = field(default_factory=lambda: deque(maxlen=_LATEST), init=False)

    def add(self, trials: Iterable[TrialRecord]) -> None:
        """Takes over what an earlier driver of the study, or another study, has measured."""
        for trial in trials:
            self._learn(trial)

    def on_trial_result(self, trial: TrialRecord) -> Decision:
        """Continue or stop: asked after each round, with all of the trial's points so far."""
        self._learn(trial)
        if trial.state != "running" or not trial.points:
            return CONTINUE
        now = trial.points[-1]
        aim = reach(trial)
        needed = needed_retention(self._front, aim, self.gain * hypervolume(self._front))
        asked = [
            other
            for other in self._finished
            if _learns_alike(other.plan, trial.plan) and other.points[0].progress <= now.progress
        ]
        votes = sum(_shows(other, now, aim, needed) for other in asked)
        share = (votes + 1) / (len(asked) + 1)
        if share > 1 - self.confidence + 1e-9:
            return CONTINUE
        return Decision(
            stop=True,
            reason=no_longer_improves(needed, aim, votes, len(asked)),
        )

    def _learn(self, trial: TrialRecord) -> None:
        new = trial.points[self._seen.get(trial.number, 0) :]
        self._seen[trial.number] = len(trial.points)
        self._front = front([*self._front, *new])
        if trial.state == "complete" and trial.points:
            self._finished.append(trial)


def reach(trial: TrialRecord) -> float:
    """The sparsity that a trial can still get to, 0 to 1; 1 where its plan doesn't tell."""
    plan, now = trial.plan, trial.points[-1]
    if plan.ratio is not None:
        aim = plan.ratio if plan.scope != "critic" else 0.0
    elif plan.schedule == "gated" or (plan.end is not None and now.progress < plan.end):
        aim = 1.0
    else:  # by value or by pattern, and all of it is gone
        aim = 0.0
    return max(aim, *(point.sparsity for point in trial.points))


def needed_retention(best: Sequence[Point], sparsity: float, area: float) -> float:
    """The retention with which a point at this sparsity adds just this area to a front.

    Args:
        best: the front, by rising sparsity.
        sparsity: of the point, in [0, 1].
        area: of hypervolume, 0 or more.
    """
    # The front's edge from the sparsity to the left, each step higher than the one before. The
    # new point fills it up like water.
    edges = [(p.sparsity, max(p.retention, 0.0)) for p in reversed(best)]
    level = max((height for end, height in edges if end >= sparsity), default=0.0)
    for end, height in edges:
        if end >= sparsity or height <= level:
            continue
        step = (sparsity - end) * (height - level)
        if step > area:
            return level + area / (sparsity - end)
        area, level = area - step, height
    return level + area / sparsity if sparsity > 0 else inf


def _learns_alike(one: Plan, other: Plan) -> bool:
    return (one.origin, one.rewind) == (other.origin, other.rewind)


def _shows(other: TrialRecord, now: Point, aim: float, needed: float) -> bool:
    """Whether a finished trial shows that what is needed can happen."""
    if max(point.retention for point in other.points) <= needed:
        return False
    if max(point.sparsity for point in other.points) > aim:
        return True  # it had more to remove, so that what it gained says too little
    before = [point for point in other.points if point.progress <= now.progress]
    later = (point.retention for point in other.points[len(before) :])
    return max(later, default=-inf) - before[-1].retention > needed - now.retention
