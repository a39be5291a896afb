"""What a study found, as data: read from its records at any time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from prune_search.experiment.schema import Experiment
from prune_search.plan.plan import Plan
from prune_search.records.folder import StudyFolder
from prune_search.records.fronts import front, hypervolume, hypervolume_curve, log_hypervolume
from prune_search.records.intervals import Verdict
from prune_search.records.models import (
    BaselineRecord,
    ControlRecord,
    FinalRecord,
    Point,
    StudyRecord,
    TrialRecord,
)
from prune_search.records.record import Record
from prune_search.records.returns import Return
from tuners.report.repeats import Repeated, repeated, verdict


class Asked(Record):
    """What a report needs of an experiment; its fields are those of the experiment file."""

    environment: str
    retention: float
    """That a trial's point must hold, `search.retention`."""
    floor: float
    """The retention below which trials are given up, `pruning.floor`."""
    holds_at: float
    """The retention from which on an episode holds, `evaluation.holds_at`."""
    final_seed: int
    """Of the final evaluation, `evaluation.final_seed`."""

    @classmethod
    def of(cls, experiment: Experiment) -> Asked:
        return cls(
            environment=experiment.environment.id,
            retention=experiment.search.retention,
            floor=experiment.pruning.floor,
            holds_at=experiment.evaluation.holds_at,
            final_seed=experiment.evaluation.final_seed,
        )


@dataclass(frozen=True)
class FrontPoint:
    """A point of the study's front, with what is told about it elsewhere."""

    point: Point
    plan: Plan
    """Of its trial."""
    checkpoint: Path
    """Absolute."""
    final: Return | None
    """Its return on the seeds that the search never saw, once it is measured."""
    than_dense: Verdict | None
    """What may be said of its return and `StudyReport.dense`'s: on those seeds, once measured;
    until then on seeds by which the best of many was chosen, and looks better than it is."""


@dataclass(frozen=True)
class StudyReport:
    """What a study has found so far."""

    name: str
    folder: Path
    """The study's; points' checkpoints are relative to it."""
    asked: Asked
    baseline: BaselineRecord | None
    """None until it is trained."""
    control: ControlRecord | None
    """The baseline trained on with nothing pruned; None until then, or where none is asked for."""
    floor: float | None
    """The return below which trials are given up; None without a baseline."""
    bound: float | None
    """The return from which on an episode holds, that of `evaluation.holds_at`; None likewise."""
    trials: list[TrialRecord]
    front: list[FrontPoint]
    """By rising sparsity."""
    hypervolume: float
    log_hypervolume: float
    """The same over the logarithm of compression."""
    final: FinalRecord | None
    measure_importances: Callable[[], dict[str, float]]
    """Takes a second, so that only who asks waits."""

    @property
    def environment(self) -> str:
        return self.asked.environment

    @property
    def retention(self) -> float:
        """The retention that a trial's point must hold, `search.retention`."""
        return self.asked.retention

    @property
    def points(self) -> list[Point]:
        """Of all trials."""
        return [point for trial in self.trials for point in trial.points]

    @cached_property
    def curve(self) -> list[tuple[int, float]]:
        """Hypervolume of the front over the env steps of all trials."""
        return hypervolume_curve(self.trials)

    @cached_property
    def importances(self) -> dict[str, float]:
        """How much each searched field mattered, the most first; empty for few trials."""
        return self.measure_importances()

    @cached_property
    def repeated(self) -> list[Repeated]:
        """Plans that were run with several seeds."""
        if self.baseline is None:
            return []
        dense = self.control or self.baseline
        return repeated(self.trials, self.baseline, dense.returned)

    @property
    def dense(self) -> str:
        """What points are compared with: the dense control, or without one the baseline."""
        return "dense control" if self.control else "dense baseline"

    @property
    def env_steps(self) -> int:
        """Env steps of all trials; the baseline's are not among them."""
        return sum(trial.env_steps for trial in self.trials)

    @property
    def env_steps_saved(self) -> int:
        """Env steps that stopped trials did not use of their budgets."""
        return sum(trial.env_steps_saved for trial in self.trials)

    def kept(self, point: Point) -> float:
        """Its retention: on the final seeds where it is measured there, else on the search's."""
        again = kept_finally(point, self.final)
        return point.retention if again is None else again

    @property
    def finals(self) -> dict[str, Return]:
        """Re-evaluated returns by the point's name; empty before the re-evaluation."""
        return self.final.points if self.final else {}


def kept_finally(point: Point, final: FinalRecord | None) -> float | None:
    """A point's retention on the final seeds, where it is measured there."""
    again = final.points.get(point.name) if final else None
    return final.retention(again.value) if final and again else None


def report(folder: StudyFolder, experiment: Experiment) -> StudyReport:
    """Reads a study's records; at any time, also while it runs."""

    def measured() -> dict[str, float]:
        from tuners.search.database import importances

        return importances(folder)

    return report_of(
        folder.path,
        Asked.of(experiment),
        folder.study(),
        folder.trials(),
        folder.final(),
        measured,
    )


def report_of(
    folder: Path,
    asked: Asked,
    study: StudyRecord | None,
    trials: Sequence[TrialRecord],
    final: FinalRecord | None,
    importances: Callable[[], dict[str, float]],
) -> StudyReport:
    """The report of records, wherever they come from.

    Args:
        folder: the study's, whose name is the study's.
        asked: what its experiment asks for.
        study, trials, final: its records.
        importances: as `StudyReport.importances`, measured when they are asked for.
    """
    baseline = study.baseline if study else None
    control = study.control if study else None
    plans = {trial.number: trial.plan for trial in trials}
    points = [point for trial in trials for point in trial.points]

    def on_front(point: Point) -> FrontPoint:
        again = final.points.get(point.name) if final else None
        known = control or baseline
        dense = known.returned if known else None
        seen = again
        if final and again:
            unseen = final.control if control else final.baseline
            dense, seen = (unseen, again) if unseen else (dense, None)
        return FrontPoint(
            point=point,
            plan=plans[point.trial],
            checkpoint=folder / point.checkpoint,
            final=again,
            than_dense=verdict([seen or point.returned], dense) if dense else None,
        )

    return StudyReport(
        name=folder.name,
        folder=folder,
        asked=asked,
        baseline=baseline,
        control=control,
        floor=baseline.return_at(asked.floor) if baseline else None,
        bound=baseline.return_at(asked.holds_at) if baseline else None,
        trials=list(trials),
        front=[on_front(point) for point in front(points)],
        hypervolume=hypervolume(points),
        log_hypervolume=log_hypervolume(points),
        final=final,
        measure_importances=importances,
    )
