"""Searches compared on recorded tasks, many seeds each, at equal env steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from prune_search.experiment.schema import Experiment
from prune_search.experiment.search_section import Search
from prune_search.records.fronts import Curve, hypervolume_curve, log_hypervolume
from tuners.benchmarks.recorded.replay import Stopping, replay
from tuners.benchmarks.recorded.stopping import AfterRounds, Halving, ParetoRank
from tuners.benchmarks.recorded.tasks import TASKS, experiment
from tuners.benchmarks.recorded.world import Error, World
from tuners.benchmarks.search.arms import CURVES, DEFAULT, arms
from tuners.benchmarks.search.comparison import StepsRatio, speed
from tuners.recordings.dataset import Recording

_TRIALS = 16
_ALONE = ("tpe", "nsga2", "gp")
_RULES: dict[str, Callable[[], Stopping]] = {
    "probed tpe, halving": Halving,
    "probed tpe, pareto rank": ParetoRank,
    "probed tpe, half the rounds": AfterRounds,
}


class Arm(NamedTuple):
    """What chooses plans, and what stops trials in place of the experiment's own rule, if any."""

    experiment: Experiment
    rule: Callable[[], Stopping] | None = None


@dataclass(frozen=True)
class Compared:
    """One search on one task.

    Attributes:
        search: its name, see `searches`.
        curves: (env steps, log-hypervolume) of each seed.
        ratio: env steps in which `CURVES` has what this search ends with / this one's; None for it.
    """

    search: str
    curves: list[Curve]
    ratio: StepsRatio | None

    @property
    def final(self) -> float:
        """Mean log-hypervolume at the end."""
        return float(np.mean([curve[-1][1] for curve in self.curves]))


@dataclass(frozen=True)
class TaskResult:
    """All searches on one task."""

    task: str
    error: Error
    """Of what was not recorded but predicted."""
    searches: list[Compared]


def searches(recording: Recording, seed: int, env_steps: int) -> dict[str, Arm]:
    """What is compared.

    - The arms of `benchmark search`, the default that of a file without a `search` section.
    - Samplers alone: no probes, nothing stopped.
    - The default with rules that are widely used in place of its own, see `stopping`.
    - Of those `curves`, which begins with what other environments' tasks tell and stops trials as
      the default does: without stopping; with nothing borrowed; after the default's probes.
    """
    chosen = experiment(recording.task.name, 1, ".").model_copy(update={"search": Search()})
    made = arms(chosen, seed, env_steps)
    default, ours = made[DEFAULT], made[CURVES]
    found = {name: Arm(each) for name, each in made.items()}
    for name in _ALONE:
        found[name] = Arm(_changed(made["random"], sampler=name))
    found |= {name: Arm(default, rule) for name, rule in _RULES.items()}
    more = {
        f"{CURVES}, unstopped": _changed(ours, stopping=None),
        f"{CURVES}, nothing borrowed": _changed(ours, sampler_options={"borrow": False}),
        f"probed {CURVES}": _changed(ours, probes=default.search.probes),
    }
    return found | {name: Arm(each) for name, each in more.items()}


def _changed(chosen: Experiment, **search: Any) -> Experiment:
    return chosen.model_copy(update={"search": chosen.search.model_copy(update=search)})


def compare(
    recording: Recording, seeds: int, env_steps: int | None, tell: Callable[[str], None]
) -> TaskResult:
    """Replays every search on a task.

    Args:
        recording: of the task, whose name is a key of `TASKS`.
        seeds: studies of each search, from seed 0 on.
        env_steps: of each study; None for those of 16 mean trials.
        tell: told of each search that is done, in a line.
    """
    world = World(recording)
    if env_steps is None:
        env_steps = round(_TRIALS * float(np.mean(TASKS[recording.task.name].env_steps)))
    curves: dict[str, list[Curve]] = {}
    for seed in range(seeds):
        for name, chosen in searches(recording, seed, env_steps).items():
            rule = chosen.rule() if chosen.rule else None
            trials = replay(world, chosen.experiment, env_steps, rule)
            curves.setdefault(name, []).append(hypervolume_curve(trials, log_hypervolume))
        tell(f"{recording.task.name}: seed {seed + 1} of {seeds}")
    ours = curves[CURVES]
    found = [
        Compared(name, each, None if name == CURVES else speed(ours, _ends(each), env_steps))
        for name, each in curves.items()
    ]
    return TaskResult(recording.task.name, world.error, found)


def markdown(results: Sequence[TaskResult]) -> str:
    """A table of each task."""
    lines = []
    for result in results:
        error = result.error
        lines += [
            f"## {result.task}",
            "",
            f"Retention of plans that were not recorded is predicted with an error of"
            f" {error.retention:.3f} (root mean square; knowing nothing: {error.spread:.3f}).",
            "",
            "| search | log-hypervolume | env steps until `curves` has it / its own |",
            "|---|---:|---|",
            *(
                f"| {one.search} | {one.final:.3f} | {'' if one.ratio is None else one.ratio} |"
                for one in result.searches
            ),
            "",
        ]
    return "\n".join(lines)


def _ends(curves: Sequence[Curve]) -> list[float]:
    return [curve[-1][1] for curve in curves]
