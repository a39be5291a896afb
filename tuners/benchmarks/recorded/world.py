"""A task as a recording shows it: what any plan would have returned, without training.

A plan that was recorded returns what it did. Any other's curve is predicted from all rounds of all
recorded trials by gradient-boosted trees: first how sparse each round is, then what is kept there,
which falls with sparsity. What trees cannot know, a recorded trial lends: the errors that were made
about it while it was left out are added to the curve, so that trials differ as much as trials do,
and round follows round as it does. The error itself is told, see `World.error`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import GroupKFold

from prune_search.plan.plan import Plan
from prune_search.trial.pruning.targets import plan_schedule
from tuners.benchmarks.recorded.dataset import Recording, Round

_CHOICES = (
    "granularity", "criterion", "allocation", "scope", "schedule", "origin", "rewind", "regrowth",
)  # fmt: skip
_FOLDS = 5
_LARGEST = 1e-4  # density below which nothing is told apart


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


class World:
    """See the module's description.

    Args:
        recording: of the task; ten trials or more.
    """

    def __init__(self, recording: Recording) -> None:
        self.task, self._trials = recording.task, recording.trials
        self._dense, self._random = (float(np.mean(r)) for r in (self.task.dense, self.task.random))
        self._values = {
            name: sorted({str(getattr(trial.plan, name)) for trial in self._trials})
            for name in _CHOICES
        }
        rows = [(trial, each) for trial in self._trials for each in trial.rounds]
        groups = np.array([trial.number for trial, _ in rows])
        features = np.array([self._features(trial.plan, each.progress) for trial, each in rows])
        density = np.array([_log_density(each.sparsity) for _, each in rows])
        kept = np.array([self.retention(each) for _, each in rows])
        self._models = _fit(features, density, kept)
        self._errors, self.error = _left_out(features, density, kept, groups)

    def retention(self, each: Round) -> float:
        """Share of the dense policy's gain over random actions that a recorded round keeps."""
        return (float(np.mean(each.returns)) - self._random) / (self._dense - self._random)

    def returned(self, retention: float) -> float:
        """The return of a retention."""
        return self._random + retention * (self._dense - self._random)

    def curve(self, plan: Plan, seed: int) -> list[Seen]:
        """All rounds of a trial, as training them would have shown them.

        Args:
            plan: the trial's.
            seed: of the training; another one gives other errors.
        """
        generator = np.random.default_rng(seed)
        for trial in self._trials:
            if trial.plan == plan:
                return [self._again(each, generator) for each in trial.rounds]
        progress = np.arange(1, plan.rounds + 1) / plan.rounds
        features = np.array([self._features(plan, share) for share in progress])
        density = self._models[0].predict(features)
        lent = self._errors[generator.integers(len(self._errors))]
        off = np.array([np.interp(progress, lent[:, 0], lent[:, k]) for k in (1, 2)])
        # Nothing grows back between rounds, and nothing is denser than dense.
        density = np.minimum.accumulate(np.minimum(density + off[0], 0.0))
        kept = self._models[1].predict(np.column_stack([features, density])) + off[1]
        return [
            Seen(float(share), round(share * plan.env_steps), 1 - math.exp(log), float(value))
            for share, log, value in zip(progress, density, kept, strict=True)
        ]

    def _again(self, each: Round, generator: np.random.Generator) -> Seen:
        """A recorded round with episodes drawn anew from its own."""
        drawn = generator.choice(each.returns, len(each.returns))
        kept = (float(drawn.mean()) - self._random) / (self._dense - self._random)
        return Seen(each.progress, each.env_steps, each.sparsity, kept)

    def _features(self, plan: Plan, progress: float) -> list[float]:
        """Progress first; choices as 0 and 1, numbers, NaN where there is none."""
        chosen = [
            float(str(getattr(plan, name)) == value)
            for name, values in self._values.items()
            for value in values
        ]
        schedule = plan_schedule(plan)
        done = schedule.fraction(progress) if schedule else math.nan
        asked = math.nan
        if plan.ratio is not None and schedule is not None and plan.scope != "critic":
            asked = _log_density(schedule.at(progress, plan.ratio))
        ended = 1.0 if plan.end is None else plan.end
        return [
            progress,
            *chosen,
            done,
            asked,
            math.nan if plan.critic_ratio is None else plan.critic_ratio,
            math.nan if plan.threshold is None else done * math.log(plan.threshold),
            max(0.0, progress - ended) * plan.env_steps,
            math.log(plan.env_steps * progress),
            math.log(plan.env_steps),
            plan.rounds,
            math.log(plan.lr_scale),
            plan.distillation,
        ]


def _left_out(
    features: NDArray[np.float64],
    density: NDArray[np.float64],
    kept: NDArray[np.float64],
    groups: NDArray[np.int64],
) -> tuple[list[NDArray[np.float64]], Error]:
    """Each trial's errors, [rounds, (progress, log density, retention)], when left out."""
    off = np.empty((len(kept), 2))
    for learned, asked in GroupKFold(_FOLDS).split(features, kept, groups):
        models = _fit(features[learned], density[learned], kept[learned])
        off[asked, 0] = density[asked] - models[0].predict(features[asked])
        # At the sparsity that there was: errors of both are added one after the other.
        known = np.column_stack([features[asked], density[asked]])
        off[asked, 1] = kept[asked] - models[1].predict(known)
    table = np.column_stack([features[:, 0], off])
    each = [table[groups == number] for number in np.unique(groups)]
    density_error, retention_error = np.sqrt((off**2).mean(axis=0))
    return each, Error(float(retention_error), float(density_error), float(kept.std()))


def _log_density(sparsity: float) -> float:
    return math.log(max(_LARGEST, 1.0 - sparsity))


def _fit(
    features: NDArray[np.float64], density: NDArray[np.float64], kept: NDArray[np.float64]
) -> tuple[HistGradientBoostingRegressor, HistGradientBoostingRegressor]:
    """Of the log density by a round's features, and of the retention by both."""
    # Shallow: there are a few hundred rows, in which choices show one by one.
    usual = {
        "max_iter": 200, "learning_rate": 0.05, "max_depth": 3, "min_samples_leaf": 8,
        "random_state": 0,
    }  # fmt: skip
    # The more is left of a network the better: retention rises with density.
    rising = [0] * features.shape[1] + [1]
    first = HistGradientBoostingRegressor(**usual).fit(features, density)
    both = np.column_stack([features, density])
    return first, HistGradientBoostingRegressor(monotonic_cst=rising, **usual).fit(both, kept)
