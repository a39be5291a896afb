"""Searches compared on recorded tasks, many seeds each, at equal env steps."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed

from prune_search.experiment.pruning import Pruning
from prune_search.experiment.schema import Experiment
from prune_search.experiment.search_section import Search, Stopping
from prune_search.records.fronts import Curve, hypervolume_curve, log_hypervolume
from tuners.benchmarks.differences import Ahead, StepsRatio, speed
from tuners.benchmarks.recorded.replay import Rule, given_up, replay, stops
from tuners.benchmarks.recorded.retrained import SEEDS, retrained
from tuners.benchmarks.recorded.stopping import AfterRounds, Halving, ParetoRank
from tuners.benchmarks.recorded.tasks import TASKS, experiment
from tuners.benchmarks.recorded.world import Error, World
from tuners.benchmarks.search.arms import DEFAULT, PROBED_TPE, arms
from tuners.recordings.dataset import Recording
from tuners.search.improvement import Stops
from tuners.search.usual import PROBES
from tuners.words import paragraph

_TRIALS = 16
_ALONE = ("tpe", "nsga2", "gp")
_RULES: dict[str, Callable[[], Rule]] = {
    "probed tpe, halving": Halving,
    "probed tpe, pareto rank": ParetoRank,
    "probed tpe, half the rounds": AfterRounds,
}


class Arm(NamedTuple):
    """What chooses plans, and what stops trials in place of the experiment's own rule, if any."""

    experiment: Experiment
    rule: Callable[[], Rule] | None = None


@dataclass(frozen=True)
class Compared:
    """One search on one task.

    Attributes:
        search: its name, see `searches`.
        curves: (env steps, log-hypervolume) of each seed.
        stops: of each seed.
        given_up: trials that gave up by themselves, of each seed.
        ratio: env steps in which `DEFAULT` has what this search ends with / its own; None for it.
        retrained: log-hypervolume of each seed's front, its plans trained anew.
        ahead: by how much `DEFAULT` is ahead in that; None for it.
    """

    search: str
    curves: list[Curve]
    stops: list[Stops]
    given_up: list[Stops]
    ratio: StepsRatio | None
    retrained: list[float]
    ahead: Ahead | None


@dataclass(frozen=True)
class TaskResult:
    """All searches on one task."""

    task: str
    env_steps: int
    """Of each study."""
    error: Error
    """Of what was not recorded but predicted."""
    repeated: bool
    """Whether plans of this task were recorded with several seeds."""
    searches: list[Compared]


def searches(recording: Recording, seed: int, env_steps: int) -> dict[str, Arm]:
    """What is compared.

    - The arms of `benchmark search`, the default that of a file without a `search` section, which
      is `curves`. Trials are given up as in a file that says nothing of it, although those that
      were recorded were not.
    - The default with nothing borrowed of other tasks, after probes, with no trial given up, and
      with none that goes on after it was.
    - Other samplers alone: no probes, nothing stopped.
    - TPE after probes with rules that are widely used in place of its own, see `stopping`.
    """
    recorded = experiment(recording.task.name, 1, ".")
    usual = Pruning().model_dump(include={"floor", "patience"})
    pruning = recorded.pruning.model_copy(update=usual)
    chosen = recorded.model_copy(update={"pruning": pruning, "search": Search()})
    made = arms(chosen, seed, env_steps)
    default = made[DEFAULT]
    found = {
        **made,
        "nothing borrowed": _changed(default, sampler_options={"borrow": False}),
        "default after probes": _changed(default, probes=PROBES),
        "nothing given up": _patient(default),
        "nothing thawed": _changed(
            default, sampler_options={**default.search.sampler_options, "thaw": False}
        ),
        **{name: _changed(made["random"], sampler=name) for name in _ALONE},
    }
    ruled = {name: Arm(made[PROBED_TPE], rule) for name, rule in _RULES.items()}
    return {name: Arm(each) for name, each in found.items()} | ruled


def _patient(chosen: Experiment) -> Experiment:
    """In which no trial is given up: none has so many rounds."""
    pruning = chosen.pruning.model_copy(update={"patience": sys.maxsize})
    return chosen.model_copy(update={"pruning": pruning})


def _changed(chosen: Experiment, **search: Any) -> Experiment:
    return chosen.model_copy(update={"search": chosen.search.model_copy(update=search)})


def compare(
    recordings: Sequence[Recording],
    seeds: int,
    env_steps: int | None,
    tell: Callable[[str], None],
) -> list[TaskResult]:
    """Replays every search on every task.

    Args:
        recordings: of the tasks, whose names are keys of `TASKS`.
        seeds: studies of each search, from seed 0 on.
        env_steps: of each study; None for those of 16 mean trials.
        tell: told of each seed that is done, in a line.
    """
    worlds = [World(one) for one in recordings]
    known = [world.common for world in worlds if world.common is not None]
    if known:
        elsewhere = np.mean(known, axis=0)
        for world in worlds:
            world.assume(elsewhere)
    return [
        _compare(one, world, seeds, env_steps, tell)
        for one, world in zip(recordings, worlds, strict=True)
    ]


def _compare(
    recording: Recording,
    world: World,
    seeds: int,
    env_steps: int | None,
    tell: Callable[[str], None],
) -> TaskResult:
    if env_steps is None:
        env_steps = round(_TRIALS * float(np.mean(TASKS[recording.task.name].env_steps)))
    studies: dict[str, list[_Study]] = {}
    # joblib leaves each process its share of threads: with more, trees spin for cores they share.
    pool = Parallel(min(seeds, os.cpu_count() or 1), return_as="generator")
    asked = (delayed(_studies)(recording, world, seed, env_steps) for seed in range(seeds))
    for seed, found in enumerate(pool(asked)):
        for name, study in found.items():
            studies.setdefault(name, []).append(study)
        tell(f"{recording.task.name}: seed {seed + 1} of {seeds}")
    ours = studies[DEFAULT]
    every = []
    for name, theirs in studies.items():
        rival = name != DEFAULT
        ends = [one.curve[-1][1] for one in theirs]
        again = [one.retrained for one in theirs]
        every.append(
            Compared(
                search=name,
                curves=[one.curve for one in theirs],
                stops=[one.stops for one in theirs],
                given_up=[one.given_up for one in theirs],
                ratio=speed([one.curve for one in ours], ends, env_steps) if rival else None,
                retrained=again,
                ahead=Ahead.of([one.retrained for one in ours], again) if rival else None,
            )
        )
    repeated = world.common is not None
    return TaskResult(recording.task.name, env_steps, world.error, repeated, every)


class _Study(NamedTuple):
    """What a study finds, (env steps, log-hypervolume), what ends early, and see `retrained`."""

    curve: Curve
    stops: Stops
    given_up: Stops
    retrained: float


def _studies(recording: Recording, world: World, seed: int, env_steps: int) -> dict[str, _Study]:
    """A study of each search."""
    found = {}
    for name, chosen in searches(recording, seed, env_steps).items():
        rule = chosen.rule() if chosen.rule else None
        trials = replay(world, chosen.experiment, env_steps, rule)
        found[name] = _Study(
            hypervolume_curve(trials, log_hypervolume),
            stops(world, chosen.experiment, trials),
            given_up(world, chosen.experiment, trials),
            retrained(world, seed, trials),
        )
    return found


_HEAD = """# Searches on recorded tasks

```bash
prune-search benchmark replay --seeds {seeds} --to docs/replay.md
```

Studies in which nothing is trained: what was recorded, or is predicted from it, is returned
([recorded.md](recorded.md) says how, and what each search is). {seeds} studies of each search on
each task, at equal env steps; figures are means of the log-hypervolume after a share of them. The
default is `curves`; it borrows nothing of the task itself and its variants. One column is how many
env steps the default takes to what another search ends with, over that one's: the median over all
pairs of studies, with its 95 % bootstrap interval. Of the trials that were stopped, the share of
wrong ones is told: those that would still have improved the front by the least that counts
(`search.stopping.gain`), had they run on. The project's own rule states at most {wrong:.0%}; those
named after TPE (`halving` and the others) state nothing. The same is told of the trials that were
given up (`pruning.floor`); in `nothing given up` none is.

The best of many trials are partly the luckiest, most of all where one plan is repeated. So the
plans of each study's front are trained anew with {again} other seeds: `anew` is the mean
log-hypervolume that is left, which is what one gets of them, and the column after it by how much
the default is ahead of each search in that, with its 95 % interval over studies (Welch's t).

What of the error is the plan's is drawn once for a plan in each study: how good a plan happens to
be on a task, the expert's one plan too, is in the intervals.

A replay is no training. Plans that were not recorded, which are most, return what trees predict,
and the default predicts by trees as well: it may be at an advantage here that it lacks elsewhere.
[search.md](search.md) has what was measured with training. Each task says how large the error of
those predictions is.
"""
_SHARES = (0.03, 0.06, 0.12, 0.25, 0.5, 1.0)


def markdown(results: Sequence[TaskResult]) -> str:
    """A page with a table of each task."""
    seeds = len(results[0].searches[0].curves)
    stated = 1 - Stopping().confidence
    lines = [_HEAD.format(seeds=seeds, wrong=stated, again=SEEDS)]
    columns = [f"{share:.0%}" for share in _SHARES]
    for result in results:
        lines += [
            f"## {result.task}",
            "",
            paragraph(_told(result)),
            f"| search | {' | '.join(columns)} | wrong stops | wrongly given up"
            " | env steps of the default / its own | anew | default ahead |",
            f"|---|{'---:|' * len(columns)}---|---|---|---:|---|",
            *(_row(one, result.env_steps) for one in result.searches),
            "",
        ]
    return "\n".join(lines)


def _told(result: TaskResult) -> str:
    error = result.error
    whose = "two seeds of one" if result.repeated else "two seeds of one on other tasks"
    return (
        f"{result.env_steps:,} env steps. Retention of plans that were not recorded is predicted"
        f" with an error of {error.retention:.3f} (root mean square; knowing nothing:"
        f" {error.spread:.3f}). Of its square {error.of_plan:.0%} is the plan's, by what {whose}"
        " have in common."
    )


def _row(one: Compared, env_steps: int) -> str:
    means = [
        float(np.mean([reached(curve, share * env_steps) for curve in one.curves]))
        for share in _SHARES
    ]
    cells = [
        one.search,
        *(f"{mean:.3f}" for mean in means),
        _wrong(one.stops),
        _wrong(one.given_up),
        one.ratio.brief if one.ratio else "",
        f"{np.mean(one.retrained):.3f}",
        str(one.ahead) if one.ahead else "",
    ]
    return f"| {' | '.join(cells)} |"


def _wrong(found: Sequence[Stops]) -> str:
    ended, wrong = (sum(each) for each in zip(*found, strict=True))
    return f"{wrong} of {ended}, {wrong / ended:.0%}" if ended else ""


def reached(curve: Curve, env_steps: float) -> float:
    """What a front was worth after so many env steps; 0 before its first point."""
    return max((value for steps, value in curve if steps <= env_steps), default=0.0)
