"""A task as a recording shows it: what any plan would have returned, without training.

A plan that was recorded returns what it did. Any other's curve is predicted from all rounds of all
recorded trials by gradient-boosted trees: first how sparse each round is, then what is kept there,
which falls with sparsity. What trees cannot know, recorded trials lend: the errors that were made
about them while their plans were left out are added to the curve, so that trials differ as much as
trials do, and round follows round as it does. One trial's errors stay with a plan, another's come
with the training's seed, each with its share of the variance: where plans were recorded with
several seeds, their errors have that much in common. The error is told, see `World.error`.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import GroupKFold

from prune_search.plan.plan import Plan
from tuners.recordings.dataset import Recording, Round
from tuners.search.curves.features import Encoding, log_density

_FOLDS = 5
_ALIKE = 10  # trials of which one lends its errors


class Seen(NamedTuple):
    """What a search is shown of a round."""

    progress: float
    env_steps: int
    sparsity: float
    retention: float


class Error(NamedTuple):
    """How far predictions are off, of trials that were left out: root mean squares over rounds."""

    retention: float
    log_density: float
    """Of the natural logarithm of 1 - sparsity."""
    spread: float
    """Standard deviation of the recorded retentions: the error of knowing nothing."""
    of_plan: float
    """Share of the retention's error (its square) that seeds of one plan have in common."""


class World:
    """See the module's description.

    Args:
        recording: of the task; ten trials or more.
    """

    def __init__(self, recording: Recording) -> None:
        self.task, self._trials = recording.task, recording.trials
        self.baseline = recording.baseline
        self._encoding = Encoding(trial.plan for trial in self._trials)
        shares = [[each.progress for each in trial.rounds] for trial in self._trials]
        sizes = [len(each) for each in shares]
        rounds = [each for trial in self._trials for each in trial.rounds]
        data = _Data(
            *self._encoding.every(
                (trial.plan, share, 1.0) for trial, share in zip(self._trials, shares, strict=True)
            ),
            density=np.array([log_density(each.sparsity) for each in rounds]),
            kept=np.array([recording.retention(each) for each in rounds]),
        )
        self._models = _fit(data)
        self._ends = np.array([log_density(trial.rounds[-1].sparsity) for trial in self._trials])
        self._sparsest = float(data.density.min())
        plans = _numbered([trial.plan for trial in self._trials])
        off = _left_out(data, np.repeat(plans, sizes))
        errors = np.split(off, np.cumsum(sizes)[:-1])
        self._errors = list(zip(map(np.array, shares), errors, strict=True))
        self.common = _in_common(errors, plans)
        """Shares of both errors' squares that seeds of one plan have in common; None where no plan
        was recorded with several."""
        # Where nobody knows all is the seed's, unless `assume` is told otherwise.
        self._of_plan = np.zeros(2) if self.common is None else self.common
        self._off = np.sqrt((off**2).mean(axis=0))
        self._spread = float(data.kept.std())

    @property
    def error(self) -> Error:
        """How far predictions are off."""
        density, retention = map(float, self._off)
        return Error(retention, density, self._spread, float(self._of_plan[1]))

    def assume(self, common: NDArray[np.float64]) -> None:
        """Takes other tasks' shares, where this one's plans were recorded with one seed each."""
        if self.common is None:
            self._of_plan = common

    def returned(self, retention: float) -> float:
        """The return of a retention."""
        return self.baseline.return_at(retention)

    def curve(self, plan: Plan, seed: int, study: int = 0) -> list[Seen]:
        """All rounds of a trial, as training them would have shown them.

        Args:
            plan: the trial's.
            seed: of the training; another one gives other errors.
            study: a number of the study's. What stays with a plan stays with it in a study: nobody
                knows what it is on the task, so that others are given others.
        """
        generator = np.random.default_rng(seed)
        same = [trial for trial in self._trials if trial.plan == plan]
        if same:  # with several seeds, perhaps
            again = same[int(generator.integers(len(same)))]
            return [self._again(each, generator) for each in again.rounds]
        progress = np.arange(1, plan.rounds + 1) / plan.rounds
        features, asked = self._encoding.rows(plan, progress.tolist())
        density = asked + self._models[0].predict(features)
        off = self._off_by(density[-1], progress, _of(plan, study), generator).T
        # Nothing grows back between rounds, nor is it denser than dense or sparser than recorded.
        density = np.minimum.accumulate((density + off[0]).clip(self._sparsest, 0.0))
        kept = self._models[1].predict(np.column_stack([features, density])) + off[1]
        return [
            Seen(float(share), round(share * plan.env_steps), 1 - math.exp(log), float(value))
            for share, log, value in zip(progress, density, kept, strict=True)
        ]

    def _off_by(
        self, density: float, progress: NDArray[np.float64], *draws: np.random.Generator
    ) -> NDArray[np.float64]:
        """Errors, [rounds, 2], of two of the recorded trials that went about as far, since
        elsewhere errors are others: one is drawn for the plan, one for the seed.

        What all of those are off by counts once. So mean and variance are as theirs, whatever the
        shares are.
        """
        near = np.argsort(np.abs(self._ends - density))[:_ALIKE]
        lent = np.array([self._error(each, progress) for each in near])
        mean = lent.mean(axis=0)
        of_plan, of_seed = (lent[int(draw.integers(len(lent)))] - mean for draw in draws)
        return np.asarray(
            mean + self._of_plan**0.5 * of_plan + (1 - self._of_plan) ** 0.5 * of_seed
        )

    def _error(self, trial: int, progress: NDArray[np.float64]) -> NDArray[np.float64]:
        """A recorded trial's errors, [rounds, 2], at other shares of its env steps."""
        at, errors = self._errors[trial]
        return np.column_stack([np.interp(progress, at, errors[:, k]) for k in (0, 1)])

    def _again(self, each: Round, generator: np.random.Generator) -> Seen:
        """A recorded round with episodes drawn anew from its own."""
        drawn = generator.choice(each.returns, len(each.returns))
        kept = self.baseline.retention(float(drawn.mean()))
        return Seen(each.progress, each.env_steps, each.sparsity, kept)


class _Data(NamedTuple):
    """Rounds: what is known of them beforehand, and what was found."""

    features: NDArray[np.float64]
    asked: NDArray[np.float64]
    density: NDArray[np.float64]
    kept: NDArray[np.float64]

    def of(self, chosen: NDArray[np.int64]) -> _Data:
        return _Data(*(each[chosen] for each in self))


def _left_out(data: _Data, plans: NDArray[np.int64]) -> NDArray[np.float64]:
    """Each round's errors, [rounds, (log density, retention)], while its plan is left out."""
    off = np.empty((len(data.kept), 2))
    for learned, left in GroupKFold(_FOLDS).split(data.features, data.kept, plans):
        sparsities, kept = _fit(data.of(learned))
        asked = data.of(left)
        off[left, 0] = asked.density - asked.asked - sparsities.predict(asked.features)
        # At the sparsity that there was: errors of both are added one after the other.
        known = np.column_stack([asked.features, asked.density])
        off[left, 1] = asked.kept - kept.predict(known)
    return off


def _in_common(
    errors: Sequence[NDArray[np.float64]], plans: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """Share of the errors' squares that trials of one plan have in common, 0 to 1, of both kinds.

    The intraclass correlation about zero: what pairs of trials multiply to, over their squares.
    """
    together = defaultdict(list)
    for plan, found in zip(plans, errors, strict=True):
        together[plan].append(found)
    pairs = [pair for one in together.values() for pair in combinations(one, 2)]
    if not pairs:
        return None
    ones, others = (
        np.concatenate([pair[side][: min(map(len, pair))] for pair in pairs]) for side in (0, 1)
    )
    squares = (ones**2 + others**2).mean(axis=0) / 2
    return np.asarray(((ones * others).mean(axis=0) / squares).clip(0.0, 1.0))


def _numbered(plans: Sequence[Plan]) -> NDArray[np.int64]:
    """The same number for the same plans."""
    return np.array([plans.index(plan) for plan in plans])


def _of(plan: Plan, study: int) -> np.random.Generator:
    """Random numbers that are always the same for a plan in a study."""
    digest = hashlib.sha256(f"{study} {plan.model_dump_json()}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def _fit(data: _Data) -> tuple[HistGradientBoostingRegressor, HistGradientBoostingRegressor]:
    """Of the log density beyond what is asked for, and of the retention where that is known."""
    # Shallow: there are a few hundred rows, in which choices show one by one.
    usual = {
        "max_iter": 200, "learning_rate": 0.05, "max_depth": 3, "min_samples_leaf": 8,
        "random_state": 0,
    }  # fmt: skip
    # The more is left of a network the better: retention rises with density.
    rising = [0] * data.features.shape[1] + [1]
    first = HistGradientBoostingRegressor(**usual).fit(data.features, data.density - data.asked)
    both = np.column_stack([data.features, data.density])
    return first, HistGradientBoostingRegressor(monotonic_cst=rising, **usual).fit(both, data.kept)
