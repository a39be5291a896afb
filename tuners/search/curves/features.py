"""Rounds of plans as rows of numbers, for what predicts them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from prune_search.plan.plan import Plan
from prune_search.trial.pruning.targets import plan_schedule

_LEAST_DENSITY = 1e-4  # below which nothing is told apart
_NONE = -100.0  # for trees, which ask whether a number is above another
_CHOICES = (
    "granularity", "criterion", "allocation", "scope", "schedule", "origin", "rewind", "regrowth",
    "quantization",
)  # fmt: skip


class Rows(NamedTuple):
    """Rounds of one plan.

    Attributes:
        features: [rounds, columns].
        asked: [rounds], the `log_density` that the plan asks of the policy; 0, dense, where it asks
            for none. Where a ratio is reached, little is left to be predicted of the sparsity.
    """

    features: NDArray[np.float64]
    asked: NDArray[np.float64]


class Encoding:
    """Makes rows of a plan's rounds: choices as 0 and 1, then numbers.

    Where there is no number stands one that lies beyond all. Relative densities of layers, which
    `allocation: searched` draws, are left out.

    Args:
        plans: all whose rounds will be asked about; what they have in common makes no column.
    """

    def __init__(self, plans: Iterable[Plan]) -> None:
        every = [dict(_choices(plan)) for plan in plans]
        found = {name: sorted({chosen[name] for chosen in every}) for name in _CHOICES}
        columns = [(name, one) for name, ones in found.items() if len(ones) > 1 for one in ones]
        self._columns = {column: place for place, column in enumerate(columns)}

    def rows(self, plan: Plan, progress: Sequence[float], unit: float = 1.0) -> Rows:
        """Of one plan's rounds; given as `every` has them."""
        return self.every([(plan, progress, unit)])

    def every(self, rounds: Iterable[tuple[Plan, Sequence[float], float]]) -> Rows:
        """The rows of several plans' rounds, one after the other.

        Args:
            rounds: each time a plan, one of those that the encoding was made of; the shares of its
                env steps, in (0, 1], at which its rounds end; and the env steps that it is counted
                in: where tasks are compared, what the dense policy took.
        """
        numbers, chosen = [], []
        for plan, progress, unit in rounds:
            plain = plan.model_copy(update={"densities": None}) if plan.densities else plan
            numbers.append(_numbers(plain, tuple(progress), unit))
            ones = np.zeros(len(self._columns))
            for choice in _choices(plan):
                if (place := self._columns.get(choice)) is not None:
                    ones[place] = 1.0
            chosen.append(ones)
        each = np.repeat(chosen, [len(one.asked) for one in numbers], axis=0)
        features = np.concatenate([one.features for one in numbers])
        asked = np.concatenate([one.asked for one in numbers])
        return Rows(np.concatenate([each, features], axis=1), asked)


def _choices(plan: Plan) -> list[tuple[str, str]]:
    return [(name, str(getattr(plan, name))) for name in _CHOICES]


@lru_cache(maxsize=2**12)  # what was measured is asked for again with each suggestion
def _numbers(plan: Plan, progress: tuple[float, ...], unit: float) -> Rows:
    """Without choices, of a plan that can be hashed; nobody may write into them."""
    env_steps = plan.env_steps / unit
    fixed = [
        math.log(env_steps),
        plan.rounds,
        math.log(plan.lr_scale),
        plan.distillation,
        _NONE if plan.critic_ratio is None else plan.critic_ratio,
        _NONE if plan.bits is None else plan.bits,
    ]
    schedule = plan_schedule(plan)
    end = 1.0 if plan.end is None else plan.end
    asks = plan.ratio is not None and plan.scope != "critic"
    features, asked = [], []
    for share in progress:
        done = schedule.fraction(share) if schedule else _NONE
        wanted = (
            log_density(schedule.at(share, plan.ratio))
            if asks and schedule and plan.ratio is not None
            else 0.0
        )
        asked.append(wanted)
        features.append(
            [
                *fixed,
                share,
                done,
                wanted,
                _NONE if plan.threshold is None else done * math.log(plan.threshold),
                max(0.0, share - end) * env_steps,  # since the last pruning
                math.log(env_steps * share),
            ]
        )
    return Rows(np.array(features), np.array(asked))


def log_density(sparsity: float) -> float:
    """Natural logarithm of 1 - sparsity, which tells 95 % from 99 %."""
    return math.log(max(_LEAST_DENSITY, 1.0 - sparsity))
