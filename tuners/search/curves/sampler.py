"""Optuna's interface: suggests the plan whose whole predicted curve adds most per env step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from prune_search.experiment.pruning import Pruning
from prune_search.plan.plan import Plan
from prune_search.records.models import BaselineRecord, TrialRecord
from tuners.search.curves.borrowed import borrowed
from tuners.search.curves.gain import curves_attained, each_attained, gains
from tuners.search.curves.giving_up import until_given_up
from tuners.search.curves.proposals import Proposal, propose
from tuners.search.curves.surrogate import Curves, Experience, Measured, Surrogate
from tuners.search.space import Asked
from tuners.search.usual import refused_by_curves

_DRAWN, _CHANGED = 128, 64  # plans to choose among: of the whole space, and near the best
_PARENTS = 6
_ROUNDS = 1_000  # that are learned from, at most: the latest trials'
_STARTUP = 4
_Z95 = 1.96
_NEVER = Pruning(floor=0.0, patience=10**6)  # is a trial given up with these


class CurveSampler(BaseSampler):
    """Learns from every round of every trial, ended or not.

    Of some two hundred plans it takes the one that is expected to add most log-hypervolume to the
    front per env step (expected hypervolume improvement, Emmerich, Giannakoglou & Naujoks 2006, of
    a whole curve and for its cost). Expected over the members of `Surrogate`, each of which
    predicts whole curves. What the trials that run are predicted to still reach counts as reached,
    so that several at a time don't repeat each other.

    Args:
        seed: of its random numbers.
        space: makes a plan of what it asks for.
        trials: gives the records of the study's trials, by Optuna's numbers, running ones too.
        baseline: of the study; None, and nothing is borrowed of other tasks.
        startup: trials with a round or more before it chooses; until then it draws at random. By
            default 0 where something is borrowed, else 4; 1 at least where nothing is.
        borrow: whether it begins with what recorded trials of other tasks tell.
        without: id of an environment; nothing is borrowed of it and its variants.
        pruning: the experiment's, by which trials are given up; None where none is.
        thaw: whether one that was given up may go on from its last round, where that is expected
            to add more than any new trial.

    Raises:
        ValueError: startup is no whole number from 0 on.
    """

    def __init__(
        self,
        seed: int,
        space: Callable[[Asked], Plan],
        trials: Callable[[], Sequence[TrialRecord]],
        baseline: BaselineRecord | None = None,
        startup: int | None = None,
        borrow: bool = True,
        without: str = "",
        pruning: Pruning | None = None,
        thaw: bool = True,
    ) -> None:
        self._others = borrowed(without) if borrow and baseline else ()
        if startup is None:
            startup = 0 if self._others else _STARTUP
        if not isinstance(startup, int) or startup < 0:
            raise ValueError(f"startup: must be a whole number from 0 on, got {startup!r}")
        startup = startup if self._others else max(startup, 1)
        self._seed, self._space, self._trials, self._startup = seed, space, trials, startup
        self._baseline, self._pruning, self._thaw = baseline, pruning, thaw
        self._random = RandomSampler(seed=seed)
        self._chosen: dict[str, Any] | None = None
        self.thaws: TrialRecord | None = None
        """The trial that goes on before a new one begins, once it has chosen so."""

    refusal = staticmethod(refused_by_curves)

    @property
    def chosen_by(self) -> str:
        """How it came to the last trial's plan, in a word or two."""
        if self.thaws:
            return "curves, thawed"
        return "curves" if self._chosen else "curves, at random"

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        if self._chosen is None:
            self._chosen = self._choose(study, trial.number)
        if param_name in self._chosen:
            return self._chosen[param_name]
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _choose(self, study: Study, number: int) -> dict[str, Any]:
        measured = [trial for trial in self._trials() if trial.points]
        if len(measured) < self._startup:
            return {}
        generator = np.random.default_rng(self._seed)
        each = self._each_attained(measured)
        suggested = study.get_trials(deepcopy=False)
        parents = _parents(measured, each, suggested)
        proposed = propose(self._space, generator, parents, drawn=_DRAWN, changed=_CHANGED)
        # Optuna knows those that have been suggested and have not measured anything yet.
        running = [
            self._space(FixedTrial(trial.params))
            for trial in suggested
            if trial.state is TrialState.RUNNING and trial.number != number
        ]
        level = each.max(axis=0, initial=0.0)
        params = {trial.number: trial.params for trial in suggested}
        given_up = [one for one in measured if self._thaw and one.given_up and one.number in params]
        best = self._best(proposed, given_up, measured, running, level)
        if isinstance(best, Proposal):
            return best.params
        self.thaws = best
        return params[best.number]

    def _each_attained(self, measured: Sequence[TrialRecord]) -> NDArray[np.float64]:
        """Of each trial's points, [trials, cells]."""
        fronts = [[(point.sparsity, point.retention) for point in one.points] for one in measured]
        return each_attained(fronts, self._parameters(measured))

    def _parameters(self, measured: Sequence[TrialRecord]) -> int:
        return self._baseline.parameters if self._baseline else measured[0].points[0].parameters

    def _best(
        self,
        proposed: Sequence[Proposal],
        given_up: Sequence[TrialRecord],
        measured: Sequence[TrialRecord],
        running: Sequence[Plan],
        level: NDArray[np.float64],
    ) -> Proposal | TrialRecord:
        plans = [one.plan for one in proposed]
        begun = [one.plan for one in given_up]
        unit = float((self._baseline and self._baseline.env_steps) or _longest(plans))
        scale = self._baseline.scale if self._baseline else _scale(measured)
        known = [experience(trial, scale, unit) for trial in _latest(measured)]
        surrogate = Surrogate(known, [*plans, *running, *begun], self._seed, self._others, unit)
        parameters = self._parameters(measured)
        if running:
            under_way = self._coming(surrogate.predict(running), running)
            level = np.maximum(level, curves_attained(under_way, parameters).max(axis=1))

        def worth(curves: Curves, env_steps: Sequence[int]) -> NDArray[np.float64]:
            """Log-hypervolume per env step, of each plan."""
            found = gains(level, curves_attained(curves, parameters))
            return np.asarray(found.mean(axis=0) / env_steps)

        curves = self._coming(surrogate.predict(plans), plans)
        new = worth(curves, [plan.env_steps for plan in plans])
        best = int(np.argmax(new))
        if begun:
            done = [len(one.points) for one in given_up]
            curves = self._coming(surrogate.predict(begun), begun, done)
            again = worth(curves, [one.plan.env_steps - one.env_steps for one in given_up])
            if again.max() > new[best]:
                return given_up[int(np.argmax(again))]
        return proposed[best]

    def _coming(
        self, curves: Curves, plans: Sequence[Plan], done: Sequence[int] | None = None
    ) -> Curves:
        """What would come of predicted curves in this study, where trials may be given up."""
        return until_given_up(curves, plans, self._pruning or _NEVER, done)


def _latest(measured: Sequence[TrialRecord]) -> list[TrialRecord]:
    taken: list[TrialRecord] = []
    rounds = 0
    for trial in reversed(measured):
        rounds += len(trial.points)
        if taken and rounds > _ROUNDS:
            break
        taken.append(trial)
    return taken[::-1]


def _longest(plans: Sequence[Plan]) -> int:
    """In place of the env steps of a baseline that was trained elsewhere."""
    return max(plan.env_steps for plan in plans)


def _parents(
    measured: Sequence[TrialRecord], each: NDArray[np.float64], suggested: Sequence[FrozenTrial]
) -> list[dict[str, Any]]:
    """Parameters of the trials that attain most by themselves."""
    best = np.argsort(each.sum(axis=1), kind="stable")[-_PARENTS:]
    numbers = {measured[place].number for place in best}
    return [trial.params for trial in suggested if trial.number in numbers]


def experience(trial: TrialRecord, scale: float, unit: float) -> Experience:
    """What a trial has shown.

    Args:
        trial: with its rounds so far.
        scale: retention per return.
        unit: env steps of the study's baseline.
    """
    return Experience(
        trial.plan,
        [
            Measured(
                point.progress,
                point.sparsity,
                point.retention,
                (point.returned.high - point.returned.low) / (2 * _Z95) * scale,
            )
            for point in trial.points
        ],
        unit,
    )


def _scale(trials: Sequence[TrialRecord]) -> float:
    """Retention per return: it is linear in the return. 0 where no two points tell."""
    points = [point for trial in trials for point in trial.points]
    if not points:
        return 0.0
    low = min(points, key=lambda point: point.returned.value)
    high = max(points, key=lambda point: point.returned.value)
    apart = high.returned.value - low.returned.value
    return (high.retention - low.retention) / apart if apart > 0 else 0.0
