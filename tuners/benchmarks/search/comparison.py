"""The default search beside its rivals and beside its own parts, at equal env steps.

Each arm is run once a seed, as an ordinary study with a name: what is finished is found again, and
what was interrupted goes on. All share one baseline, so that hypervolumes compare. What is compared
is measured on the final seeds, which no search has seen: of the best of many noisy points part is
luck.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from prune_search.errors import UserError, check_known
from prune_search.experiment.fields import as_choices
from prune_search.experiment.schema import Experiment
from prune_search.records.folder import StudyFolder
from prune_search.records.fronts import Curve, hypervolume_curve
from prune_search.sparsity.allocation import ALLOCATIONS
from tuners.benchmarks.differences import Ahead, StepsRatio, speed
from tuners.benchmarks.search.arms import DEFAULT, ONLY_PROBES, PROBED_TPE, arms
from tuners.benchmarks.search.front_history import final_curves
from tuners.benchmarks.search.retrained import retrained
from tuners.benchmarks.search.run_on import run_on
from tuners.benchmarks.search.studies import finished
from tuners.display.live import clock
from tuners.search.improvement import Stops
from tuners.search.usual import probes_of
from tuners.words import count


@dataclass(frozen=True)
class Outcome:
    """One study of the benchmark."""

    arm: str
    seed: int
    study: str
    env_steps: int
    """As many as its trials sampled."""
    trials: int
    env_steps_saved: int
    """What stopped trials left unused of their budgets."""
    curve: Curve
    """(env steps, hypervolume), up to the benchmark's env steps, on the search's own seeds."""
    final_curve: Curve
    """The same fronts on seeds that the search never saw."""
    final_log_curve: Curve
    """Their log-hypervolumes, on the same seeds."""
    anew: list[float]
    """Log-hypervolume of its front with other training seeds, see `retrained`; [] where none was
    asked for."""
    stopped: int | None = None
    """Trials that `search.stopping` stopped; None where they were not run on, see `run_on`."""
    wrong_stops: int | None = None
    """Of these, such as would still have improved the front."""

    @property
    def hypervolume(self) -> float:
        """At the end, on the search's own seeds."""
        return self.curve[-1][1] if self.curve else 0.0

    @property
    def final_hypervolume(self) -> float:
        """At the end, on seeds that the search never saw."""
        return self.final_curve[-1][1] if self.final_curve else 0.0

    @property
    def final_log_hypervolume(self) -> float:
        """The same of the log-hypervolume, which sees the sparse end."""
        return self.final_log_curve[-1][1] if self.final_log_curve else 0.0


@dataclass(frozen=True)
class Result:
    """What the benchmark measured: one outcome for each arm and seed."""

    command: str
    """With which it is measured again."""
    environment: str
    env_steps: int
    """Of each study, without its baseline's."""
    baseline_env_steps: int
    """Of the baseline, which all need but the grid, whose trials begin from scratch."""
    outcomes: list[Outcome]

    @property
    def others(self) -> list[str]:
        """All that the default is compared with."""
        return list(dict.fromkeys(one.arm for one in self.outcomes if one.arm != DEFAULT))

    def arm(self, name: str) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.arm == name]

    def ratio(
        self, other: str, *, with_baseline: bool = False, logarithmic: bool = False
    ) -> StepsRatio:
        """Of the default to another arm.

        Args:
            other: the arm.
            with_baseline: count the baseline's env steps too, for those that begin from it.
            logarithmic: until it has the other's log-hypervolume.
        """
        ours = self.baseline_env_steps if with_baseline else 0
        theirs = ours if other != "grid" else 0
        mine, others = self.arm(DEFAULT), self.arm(other)
        if logarithmic:
            curves = [outcome.final_log_curve for outcome in mine]
            targets = [outcome.final_log_hypervolume for outcome in others]
        else:
            curves = [outcome.final_curve for outcome in mine]
            targets = [outcome.final_hypervolume for outcome in others]
        return speed(
            curves,
            targets,
            self.env_steps + theirs,
            ours,
        )

    def anew(self, name: str) -> list[float]:
        """What each study's front of an arm is worth anew: log-hypervolume, mean over training
        seeds; [] where none was trained anew."""
        return [float(np.mean(one.anew)) for one in self.arm(name) if one.anew]

    def ahead(self, other: str) -> Ahead | None:
        """Of the default over another arm in what fronts are worth anew, of means over studies;
        None where fewer than two of either were trained anew."""
        ours, theirs = self.anew(DEFAULT), self.anew(other)
        return Ahead.of(ours, theirs) if min(len(ours), len(theirs)) > 1 else None

    def stops(self, name: str) -> Stops | None:
        """Of all studies of an arm; None where what they stopped was not run on."""
        told = [
            (one.stopped, one.wrong_stops)
            for one in self.arm(name)
            if one.stopped is not None and one.wrong_stops is not None
        ]
        return Stops(*(sum(each) for each in zip(*told, strict=True))) if told else None

    @classmethod
    def of_json(cls, plain: Mapping[str, Any]) -> Result:
        """What `to_json` gave."""
        fields = {name: value for name, value in plain.items() if name not in ("ratios", "studies")}
        return cls(**fields, outcomes=[Outcome(**each) for each in plain["studies"]])

    def to_json(self) -> dict[str, object]:
        """Plain types; a ratio that is infinite is null."""
        ratios = {
            name: {
                counted: {key: _plain(value) for key, value in asdict(ratio).items()}
                for counted, ratio in (
                    ("searches", self.ratio(name)),
                    ("searches_and_baseline", self.ratio(name, with_baseline=True)),
                    ("searches_log", self.ratio(name, logarithmic=True)),
                )
            }
            for name in self.others
        }
        return {
            "command": self.command,
            "environment": self.environment,
            "env_steps": self.env_steps,
            "baseline_env_steps": self.baseline_env_steps,
            "ratios": ratios,
            "studies": [asdict(outcome) for outcome in self.outcomes],
        }


def benchmark(
    experiment: Experiment,
    preset: str,
    seeds: Sequence[int],
    env_steps: int,
    report: Callable[[str], None],
    against: Sequence[str] | None = None,
    retrain: int = 0,
    running_on: bool = False,
    command: str = "",
) -> Result:
    """Runs what is missing, and reads all of it.

    Args:
        experiment: of the preset, its storage included.
        preset: its name, part of the studies' names.
        seeds: of the searches.
        env_steps: of each study.
        report: told of each study, in a line.
        against: the arms to compare the default with; all if None.
        retrain: training seeds with which the plans of each front are trained anew.
        running_on: run on what `search.stopping` has stopped, to know how often that was wrong.
        command: with which it is measured again.

    Raises:
        UserError: as `tuners.study.driver.run`, no such arm, a study of such a name has other
            settings, or plans that cannot be asked for again are to be trained anew.
    """
    known = [name for name in arms(experiment, 0, env_steps) if name != DEFAULT]
    for name in against or ():
        check_known("--against", name, known)
    for name in as_choices(experiment.pruning.allocation):
        if retrain and ALLOCATIONS[name].fitted_to == "densities":
            raise UserError(
                f"--retrain: must be 0 where pruning.allocation may be {name}: no file can ask for"
                " the densities that it draws"
            )
    chosen = {DEFAULT, *(known if against is None else against)}
    planned = [
        (name, seed, settings)
        for seed in seeds
        for name, settings in arms(experiment, seed, env_steps).items()
        if name in chosen
    ]
    with_probes = DEFAULT if probes_of(experiment.search) else PROBED_TPE
    outcomes: list[Outcome] = []
    seconds = 0.0
    for number, (name, seed, settings) in enumerate(planned, start=1):
        study = f"benchmark-{preset}-{name}-{env_steps}-{seed}"
        folder = finished(settings, study)
        anew = retrained(folder, settings, retrain)
        found = _outcome(folder, settings, name, seed, env_steps, anew.worth)
        if running_on and settings.search.stopping:
            stopped, wrong = run_on(folder, settings)
            found = replace(found, stopped=stopped, wrong_stops=wrong)
        outcomes.append(found)
        if name == with_probes:
            outcomes.append(_outcome(folder, settings, ONLY_PROBES, seed, env_steps, []))
        record = folder.study()
        seconds += anew.wall_s + (record.wall_s if record else 0.0)
        left = clock(seconds / number * (len(planned) - number))
        report(
            f"{number}/{len(planned)} {study}: hypervolume {found.final_hypervolume:.4f} in"
            f" {found.env_steps:,} env steps, {count(found.trials, 'trial')}; at most {left} left"
        )
    dense = experiment.baseline.env_steps
    return Result(command, experiment.environment.id, env_steps, dense, outcomes)


def _outcome(
    folder: StudyFolder,
    experiment: Experiment,
    arm: str,
    seed: int,
    env_steps: int,
    anew: list[float],
) -> Outcome:
    trials = folder.trials()
    if arm == ONLY_PROBES:  # the study's first trials after those that the file names
        trials = trials[: len(experiment.search.first) + probes_of(experiment.search)]
    final, final_log = final_curves(folder, experiment, trials)
    return Outcome(
        arm=arm,
        seed=seed,
        study=folder.name,
        env_steps=sum(trial.env_steps for trial in trials),
        trials=len(trials),
        env_steps_saved=sum(trial.env_steps_saved for trial in trials),
        curve=_until(hypervolume_curve(trials), env_steps),
        final_curve=_until(final, env_steps),
        final_log_curve=_until(final_log, env_steps),
        anew=anew,
    )


def _until(curve: Curve, env_steps: int) -> Curve:
    return [item for item in curve if item[0] <= env_steps]


def _plain(value: float | tuple[float, ...]) -> object:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value if math.isfinite(value) else None
