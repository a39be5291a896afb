"""Which choices mattered over recorded trials of random plans: effects with intervals, and a page.

Plans were drawn at random, so the trials that made a choice are compared with those that could have
made it and made another: a difference of means is the choice's effect, on average over all else.
What may be chosen depends on the granularity, so each trial counts by what it is above the mean of
its task's trials of the same granularity. Tasks may have been given the same plans: over all tasks
a plan counts once, by its mean.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from prune_search.experiment.pruning import Pruning, options
from prune_search.plan.axes import AXES
from prune_search.plan.plan import Plan
from prune_search.records.fronts import log_area
from tuners.benchmarks.recorded.tasks import TASKS, experiment
from tuners.recordings.dataset import Recording, Round, Trial

ALL = "all tasks"
LEVEL = 0.05
"""Share of the effects called clear that may be none (false discovery rate)."""
_FEWEST = 4  # trials with a choice, and without it, below which nothing is said

GRANULARITY = "granularity"
_OTHERS = ("scope", "rounds")
_BINS: dict[str, tuple[float, ...]] = {
    "ratio": (0.9, 0.97),
    "end": (0.6, 0.8),
    "lr_scale": (0.5,),
}
_FIELDS = (*AXES, *_OTHERS, "budget", "distillation", *_BINS)


class _Value(NamedTuple):
    field: str
    value: str


@dataclass(frozen=True)
class Effect:
    """What one choice did to a trial's log-hypervolume, beside the field's other choices."""

    task: str
    """A recorded task's name, or `ALL`."""
    field: str
    value: str
    trials: int
    """That made the choice; over all tasks, plans."""
    difference: float
    """Their mean minus that of the trials that chose otherwise."""
    low: float
    """End of the 95 % interval (Welch's t), like high."""
    high: float
    p: float
    """Of no effect."""


def worth(recording: Recording, trial: Trial) -> float:
    """A recorded trial's log-hypervolume, as `prune_search.records.fronts` has it."""
    axes = [(each.sparsity, recording.retention(each)) for each in trial.rounds]
    return log_area(axes, recording.task.parameters)


def effects(recordings: Sequence[Recording]) -> list[Effect]:
    """Of each choice on each task, and over all of them; intervals are over plans on these tasks.

    Args:
        recordings: one or more.
    """
    found, every = [], []
    for one in recordings:
        pruning = experiment(one.task.name, 1, ".").pruning
        values = [worth(one, trial) for trial in one.trials]
        made = [dict(_values(one, trial, pruning)) for trial in one.trials]
        alike = [trial.plan.granularity for trial in one.trials]
        rows = [
            _Row(_key(trial.plan), choices, *above)
            for trial, choices, *above in zip(
                one.trials,
                made,
                _above(values, [""] * len(values)),
                _above(values, alike),
                strict=True,
            )
        ]
        found += _of(one.task.name, rows)
        every += rows
    return found + (_of(ALL, every) if len(recordings) > 1 else [])


def compacted(recording: Recording) -> Recording:
    """The same trials, with zeros counted after lossless compaction, where that is known.

    Single weights leave the biases of units that nothing reads any more; compaction takes them out.
    """
    parameters = recording.task.parameters

    def counted(each: Round) -> Round:
        if each.compact_nonzero is None:
            return each
        return each.model_copy(update={"sparsity": 1.0 - each.compact_nonzero / parameters})

    trials = [
        trial.model_copy(update={"rounds": [counted(each) for each in trial.rounds]})
        for trial in recording.trials
    ]
    return recording.model_copy(update={"trials": trials})


def clear(found: Sequence[Effect]) -> set[Effect]:
    """Those that are told from none where all are looked at: Benjamini and Hochberg (1995)."""
    if not found:
        return set()
    adjusted = stats.false_discovery_control([one.p for one in found])
    return {one for one, p in zip(found, adjusted, strict=True) if p <= LEVEL}


class _Row(NamedTuple):
    """A trial."""

    plan: str
    """The same on all tasks."""
    choices: dict[str, str]
    above_all: float
    """Its worth above the mean of its task's trials."""
    above_alike: float
    """Above that of those of the same granularity."""


def _above(values: Sequence[float], groups: Sequence[str]) -> list[float]:
    together = defaultdict(list)
    for value, group in zip(values, groups, strict=True):
        together[group].append(value)
    means = {group: float(np.mean(each)) for group, each in together.items()}
    return [value - means[group] for value, group in zip(values, groups, strict=True)]


def _of(task: str, rows: Sequence[_Row]) -> list[Effect]:
    named = {_Value(*item) for row in rows for item in row.choices.items()}
    found = []
    for field, value in sorted(named, key=lambda each: (_FIELDS.index(each.field), each.value)):
        asked = [row for row in rows if field in row.choices]
        here = _by_plan(row for row in asked if row.choices[field] == value)
        there = _by_plan(row for row in asked if row.choices[field] != value)
        column = 0 if field == GRANULARITY else 1
        here, there = here[:, column], there[:, column]
        if min(len(here), len(there)) < _FEWEST:
            continue
        test = stats.ttest_ind(here, there, equal_var=False)
        difference = float(here.mean() - there.mean())
        if difference < 0 and len({row.choices[field] for row in asked}) == 2:
            continue  # the other one says the same
        ends = test.confidence_interval()
        found.append(
            Effect(
                task=task,
                field=field,
                value=value,
                trials=len(here),
                difference=difference,
                low=float(ends.low),
                high=float(ends.high),
                p=float(test.pvalue),
            )
        )
    return found


def _by_plan(rows: Iterable[_Row]) -> NDArray[np.float64]:
    """What each plan is above all and above those alike, on average over its tasks, [plans, 2]."""
    together = defaultdict(list)
    for row in rows:
        together[row.plan].append((row.above_all, row.above_alike))
    return np.array([np.mean(each, axis=0) for each in together.values()]).reshape(-1, 2)


def _key(plan: Plan) -> str:
    """What of a plan does not follow from its task."""
    return plan.model_dump_json(exclude={"env_steps", "regrow_every"})


def _values(recording: Recording, trial: Trial, pruning: Pruning) -> Iterator[_Value]:
    """What a plan chose where it could have chosen otherwise."""
    plan = trial.plan
    before: dict[str, object] = {}
    for axis in AXES:
        value = getattr(plan, axis)
        if value is not None and len(options(pruning, axis, before)) > 1:
            yield _Value(axis, str(value))
        before[axis] = value
    for field in _OTHERS:
        yield _Value(field, str(getattr(plan, field)))
    budgets = TASKS[recording.task.name].env_steps
    yield _Value("budget", ("short", "middle", "long")[budgets.index(plan.env_steps)])
    yield _Value("distillation", "with" if plan.distillation else "without")
    for field, edges in _BINS.items():
        number = getattr(plan, field)
        if number is not None:
            yield _Value(field, _bin(number, edges))


def _bin(value: float, edges: Sequence[float]) -> str:
    """`below 0.9`, `0.9 to 0.97`, `above 0.97`."""
    place = int(np.searchsorted(edges, value))
    if place == 0:
        return f"below {edges[0]:g}"
    if place == len(edges):
        return f"above {edges[-1]:g}"
    return f"{edges[place - 1]:g} to {edges[place]:g}"
