"""The default search beside random search and a grid written by hand, at equal env steps.

Each arm is run once a seed, as an ordinary study with a name: what is finished is found again, and
what was interrupted goes on. All share one baseline, so that hypervolumes compare.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_search.errors import UserError
from prune_search.experiment import Experiment
from prune_search.pareto import area, hypervolume_curve
from prune_search.pruning import Pruning
from prune_search.record import StudyFolder
from prune_search.searchable import highest, lowest
from tuners.progress import clock

DEFAULT = "default"
OTHERS = ("random", "grid")
GRID = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
"""Ratios of the grid; repeated, with other seeds, while there are env steps left."""

Curve = list[tuple[int, float]]


@dataclass(frozen=True)
class Outcome:
    """One study of the benchmark."""

    arm: str
    seed: int
    study: str
    env_steps: int
    """That its trials sampled."""
    trials: int
    env_steps_saved: int
    """That stopped trials left of their budgets."""
    curve: Curve
    """(env steps, hypervolume), up to the benchmark's env steps."""
    hypervolume: float
    """At the benchmark's env steps, on the search's evaluation seeds."""
    final_hypervolume: float
    """Of the last front on seeds that the search never saw."""


@dataclass(frozen=True)
class Ratio:
    """Env steps in which the default reaches another arm's hypervolume / the other's env steps."""

    median: float
    """Over all pairs of a default's and the other's study; infinite if most never reach it."""
    quartiles: tuple[float, float]
    interval: tuple[float, float]
    """95 % bootstrap interval of the median, seeds of both arms drawn anew."""
    reached: float
    """Share of the pairs in which it is reached."""

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{self.median:.2f} (95 % interval {low:.2f} to {high:.2f}; quartiles"
            f" {self.quartiles[0]:.2f} to {self.quartiles[1]:.2f}; reached in"
            f" {self.reached:.0%} of the pairs)"
        )


@dataclass(frozen=True)
class Result:
    preset: str
    env_steps: int
    """Of each study, without its baseline's."""
    baseline_env_steps: int
    """Of the baseline, which the grid only needs as a measure."""
    outcomes: list[Outcome]

    def arm(self, name: str) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.arm == name]

    def ratio(self, other: str) -> Ratio:
        """Of the default to another arm."""
        return speed(
            [outcome.curve for outcome in self.arm(DEFAULT)],
            [outcome.hypervolume for outcome in self.arm(other)],
            self.env_steps,
        )

    def to_json(self) -> dict[str, object]:
        """Plain types; a ratio that is infinite is null."""
        ratios = {
            name: {key: _plain(value) for key, value in asdict(self.ratio(name)).items()}
            for name in OTHERS
        }
        return {
            "preset": self.preset,
            "env_steps": self.env_steps,
            "baseline_env_steps": self.baseline_env_steps,
            "ratios": ratios,
            "studies": [asdict(outcome) for outcome in self.outcomes],
        }


def arms(experiment: Experiment, seed: int, env_steps: int) -> dict[str, Experiment]:
    """The experiments that are compared: alike in task, baseline, evaluation and env steps.

    The default is the file's search. Random samples the same space and stops nothing. The grid is
    what one would write by hand: gradual magnitude pruning (Zhu & Gupta 2017) from scratch, uniform
    over the layers, once for each ratio, for as long as the baseline's training.
    """
    search, pruning = experiment.search, experiment.pruning
    shortest = lowest(pruning.env_steps) / highest(pruning.rounds)
    search = search.model_copy(
        update={
            "seed": seed,
            "env_steps": env_steps,
            "time_s": None,
            # Env steps end the search, also where every trial is stopped after its first round.
            "trials": math.ceil(env_steps / shortest),
        }
    )
    random: dict[str, Any] = {"sampler": "random", "stopping": None, "first": [], "probes": 0}
    runs = math.ceil(env_steps / experiment.baseline.env_steps)
    by_hand = Pruning(
        origin="scratch",
        granularity="weight",
        criterion="magnitude",
        allocation="uniform",
        scope="actor",
        layers=pruning.layers,
        ratio=list(GRID),
        schedule="cubic",
        start=0.2,
        end=0.8,
        rounds=int(highest(pruning.rounds)),
        env_steps=experiment.baseline.env_steps,
        floor=pruning.floor,
        patience=pruning.patience,
    )
    listed = [{"ratio": ratio} for ratio in islice(cycle(GRID), runs)]
    return {
        DEFAULT: experiment.model_copy(update={"search": search}),
        "random": experiment.model_copy(update={"search": search.model_copy(update=random)}),
        "grid": experiment.model_copy(
            update={
                "pruning": by_hand,
                "search": search.model_copy(update={**random, "trials": runs, "first": listed}),
            }
        ),
    }


def benchmark(
    experiment: Experiment,
    preset: str,
    seeds: Sequence[int],
    env_steps: int,
    report: Callable[[str], None],
) -> Result:
    """Runs what is missing, and reads all of it.

    Args:
        experiment: of the preset, its storage included.
        preset: its name, part of the studies' names.
        seeds: of the searches.
        env_steps: of each study.
        report: told of each study, in a line.

    Raises:
        UserError: as `tuners.study.run`, or a study of such a name has other settings.
    """
    planned = [
        (name, seed, settings)
        for seed in seeds
        for name, settings in arms(experiment, seed, env_steps).items()
    ]
    outcomes: list[Outcome] = []
    seconds = 0.0
    for number, (name, seed, settings) in enumerate(planned, start=1):
        study = f"benchmark-{preset}-{name}-{env_steps}-{seed}"
        folder = _finished(settings, study)
        found = _outcome(folder, name, seed, env_steps)
        outcomes.append(found)
        record = folder.study()
        seconds += record.wall_s if record else 0.0
        left = clock(seconds / number * (len(planned) - number))
        report(
            f"{number}/{len(planned)} {study}: hypervolume {found.hypervolume:.4f} in"
            f" {found.env_steps:,} env steps, {found.trials} trials; at most {left} left"
        )
    return Result(preset, env_steps, experiment.baseline.env_steps, outcomes)


def speed(curves: Sequence[Curve], targets: Sequence[float], env_steps: int) -> Ratio:
    """How soon curves reach other studies' hypervolumes, over all pairs of both.

    Args:
        curves: the default's, a seed each.
        targets: the others' hypervolumes, a seed each.
        env_steps: that the others took.
    """
    pairs = np.array([[_reached(curve, target) for target in targets] for curve in curves])
    pairs = pairs / env_steps
    generator = np.random.default_rng(0)
    medians = [
        _quantile(pairs[np.ix_(_drawn(generator, len(curves)), _drawn(generator, len(targets)))])
        for _ in range(2000)
    ]
    return Ratio(
        median=_quantile(pairs),
        quartiles=(_quantile(pairs, 0.25), _quantile(pairs, 0.75)),
        interval=(
            _quantile(np.array(medians), 0.025),
            _quantile(np.array(medians), 0.975),
        ),
        reached=float(np.isfinite(pairs).mean()),
    )


def value_at(curve: Curve, env_steps: float) -> float:
    """A curve's hypervolume at some env steps."""
    return max((value for steps, value in curve if steps <= env_steps), default=0.0)


def _reached(curve: Curve, target: float) -> float:
    return min((float(steps) for steps, value in curve if value >= target), default=math.inf)


def _drawn(generator: np.random.Generator, count: int) -> NDArray[np.int64]:
    return generator.integers(0, count, count)


def _quantile(values: NDArray[np.float64], share: float = 0.5) -> float:
    # Of an even number the upper one: between a number and infinity lies nothing.
    return float(np.quantile(values, share, method="higher"))


def _finished(experiment: Experiment, name: str) -> StudyFolder:
    """The study of this name, run to its end if it isn't there yet."""
    from rich.console import Console

    from tuners.creation import create
    from tuners.points import open_study, studies
    from tuners.progress import Progress
    from tuners.study import run

    if name in studies(experiment.storage):
        folder, known = open_study(experiment.storage, name)
        where = {"storage", "resources", "tracking"}  # the same results wherever it runs
        if known.model_dump(exclude=where) != experiment.model_dump(exclude=where):
            raise UserError(
                f"benchmark search: study {name!r} in {experiment.storage!r} was run with other"
                " settings; give another --storage"
            )
        record = folder.study()
        if record is not None and record.ended is not None:
            return folder
    else:
        folder = create(experiment, name, name)
    run(folder, experiment, Progress(experiment, name, folder.trials(), Console(), quiet=True))
    return folder


def _outcome(folder: StudyFolder, arm: str, seed: int, env_steps: int) -> Outcome:
    trials, final = folder.trials(), folder.final()
    curve = [item for item in hypervolume_curve(trials) if item[0] <= env_steps]
    unseen = []
    if final is not None:
        dense, random = final.baseline.iqm, final.random.iqm
        points = {point.name: point for trial in trials for point in trial.points}
        unseen = [
            (points[name].sparsity, (returned.iqm - random) / (dense - random))
            for name, returned in final.points.items()
        ]
    return Outcome(
        arm=arm,
        seed=seed,
        study=folder.name,
        env_steps=sum(trial.env_steps for trial in trials),
        trials=len(trials),
        env_steps_saved=sum(trial.env_steps_saved for trial in trials),
        curve=curve,
        hypervolume=value_at(curve, env_steps),
        final_hypervolume=area(unseen),
    )


def _plain(value: float | tuple[float, ...]) -> object:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value if math.isfinite(value) else None
