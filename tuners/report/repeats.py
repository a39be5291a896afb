"""Plans that a study has run with several seeds, and what they come to over all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from prune_search.plan.plan import Plan
from prune_search.records.fronts import delivered
from prune_search.records.intervals import Verdict, compare, pooled, sides
from prune_search.records.models import BaselineRecord, Point, TrialRecord
from prune_search.records.returns import Return


@dataclass(frozen=True)
class PooledPoint:
    """One round of a plan over all of its seeds."""

    round: int
    points: list[Point]
    """One of each seed's trial."""
    sparsity: float
    """Mean over seeds."""
    returned: Return
    """What seeds x episodes count as, with the t interval over seeds, and their IQM."""
    retention: float
    than_dense: Verdict | None
    """What may be said of its return and `StudyReport.dense`'s, where episodes were kept."""
    above: int
    """Seeds whose return is more than that one's."""
    below: int
    """Seeds whose return is less."""

    @property
    def told(self) -> str:
        """The verdict, and how many seeds stand for it: `undecided: 0 of 3 above, 3 below`."""
        sides = f"{self.above} of {len(self.points)} above, {self.below} below"
        return f"{self.than_dense}: {sides}" if self.than_dense else sides


@dataclass(frozen=True)
class Repeated:
    """A plan, the trials that ran it to their end, and the rounds that all of them have."""

    plan: Plan
    trials: list[TrialRecord]
    rounds: list[PooledPoint]
    left_out: list[TrialRecord]
    """Its trials that failed or were stopped: what they would have come to is unknown."""

    @property
    def collapsed(self) -> int:
        """How many of its trials gave up by themselves before their budgets were used."""
        return sum(trial.collapsed for trial in self.trials)

    def best(self, retention: float) -> PooledPoint | None:
        """Its sparsest round at this retention, else its best return; None without a round."""
        return delivered(self.rounds, retention) if self.rounds else None


def repeated(
    trials: Sequence[TrialRecord], baseline: BaselineRecord, dense: Return
) -> list[Repeated]:
    """The plans that ran to their end with more than one seed, in the order of their first trials.

    Rounds are pooled only where every one of the plan's trials has them and kept the return of each
    episode.

    Args:
        trials: of a study.
        baseline: what retention is a share of.
        dense: of the dense policy that plans are compared with.
    """
    groups: dict[str, list[TrialRecord]] = defaultdict(list)
    for trial in trials:
        groups[trial.plan.model_dump_json()].append(trial)
    found = []
    for group in groups.values():
        ended = [trial for trial in group if trial.state == "complete"]
        if len(ended) > 1:
            left_out = [trial for trial in group if trial.state in ("stopped", "failed")]
            found.append(Repeated(group[0].plan, ended, _rounds(ended, baseline, dense), left_out))
    return found


def verdict(returns: Sequence[Return], dense: Return) -> Verdict | None:
    """`compare` with the dense policy; None where an older version kept no episodes."""
    kept = all(one.each for one in (*returns, dense))
    return compare(returns, dense) if kept else None


def _rounds(
    trials: Sequence[TrialRecord], baseline: BaselineRecord, dense: Return
) -> list[PooledPoint]:
    by_round = [{point.round: point for point in trial.points} for trial in trials]
    common = sorted(set.intersection(*(set(rounds) for rounds in by_round)))
    return [
        _pooled([rounds[number] for rounds in by_round], baseline, dense)
        for number in common
        if all(rounds[number].returned.each for rounds in by_round)
    ]


def _pooled(points: list[Point], baseline: BaselineRecord, dense: Return) -> PooledPoint:
    returns = [point.returned for point in points]
    together = pooled(returns)
    above, below = sides(returns, dense)
    return PooledPoint(
        round=points[0].round,
        points=points,
        sparsity=sum(point.sparsity for point in points) / len(points),
        returned=together,
        retention=baseline.retention(together.value),
        than_dense=verdict(returns, dense),
        above=above,
        below=below,
    )
