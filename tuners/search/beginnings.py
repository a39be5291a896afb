"""What a study begins with: a grid, what a screening found, what earlier studies have measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from prune_search.errors import UserError
from prune_search.experiment.pruning import Pruning, combinations
from prune_search.experiment.schema import Experiment
from prune_search.plan.plan import Plan
from prune_search.records.folder import StudyFolder
from prune_search.records.layer_curves import SensitivityRecord
from prune_search.records.models import BaselineRecord
from prune_search.records.objectives import objectives
from prune_search.sparsity.allocation import ALLOCATIONS
from prune_search.trial.baselines.determinants import determinants, differences
from prune_search.trial.constraints import violations
from prune_search.trial.sensitivity.scan import sensitivity_of
from prune_search.trial.sensitivity.single_layers import check_measurable
from tuners.catalog.finding import open_study
from tuners.search.database import result_of
from tuners.search.parameters import parsed
from tuners.search.space import Space

FROM = "from"
"""Optuna's user attribute of a trial that another study has measured: `study/t03`."""


def grid(pruning: Pruning) -> Iterator[dict[str, Any]]:
    """Optuna's parameters of every combination of lists, the last field's values in turn.

    Raises:
        ValueError: a field that applies to one of them is a range.
    """
    space, path = Space(pruning, ("of layers",)), list[int]()
    while True:
        walk = _Walk(path)
        space(walk)
        yield walk.params
        path += [0] * (len(walk.widths) - len(path))
        while path and path[-1] + 1 == walk.widths[len(path) - 1]:
            path.pop()
        if not path:
            return
        path[-1] += 1


def screened(
    experiment: Experiment, folder: StudyFolder, baseline: BaselineRecord
) -> list[dict[str, Any]]:
    """`search.screening` trials to begin with, from pruning each layer of the baseline alone.

    Measured on the cluster, a task for each granularity and criterion, or read where the study's
    folder has it. Ray must run.
    """
    import ray

    asked = {(one["granularity"], one["criterion"]) for one in combinations(experiment.pruning)}
    measurable = sorted(pair for pair in asked if _is_measurable(*pair))
    task = ray.remote(sensitivity_of).options(num_cpus=1)
    records: list[SensitivityRecord] = ray.get(
        [
            task.remote(experiment, folder.sensitivity_file(*pair), baseline, *pair)
            for pair in measurable
        ]
    )
    return ranked(records, experiment.pruning)[: experiment.search.screening]


def ranked(records: Sequence[SensitivityRecord], pruning: Pruning) -> list[dict[str, Any]]:
    """Granularities and criteria by the retention that they leave, on average over layers.

    With the allocation `sensitivity`, which uses what was measured, where that may be searched.
    """
    order = sorted(
        (record for record in records if record.points),
        key=lambda record: -sum(map(record.mean, record.points)) / len(record.points),
    )
    found = []
    for record in order:
        pair = {"granularity": record.granularity, "criterion": record.criterion}
        measured = [
            {**pair, "allocation": one["allocation"]}
            for one in combinations(pruning)
            if pair.items() <= one.items() and ALLOCATIONS[one["allocation"]].fitted_to == "curves"
        ]
        found.append(measured[0] if measured else pair)
    return found


def check_warm_start(experiment: Experiment) -> None:
    """Whether the studies of `search.warm_start` are there, and comparable.

    Raises:
        UserError: one is not.
    """
    for name in experiment.search.warm_start:
        try:
            folder, earlier = open_study(experiment.storage, name)
            record = folder.study()
        except UserError as error:
            raise UserError(f"search.warm_start: {error}") from None
        kept = record.baseline.determinants if record and record.baseline else {}
        settings, software = differences(kept or determinants(earlier), determinants(experiment))
        if settings or software:
            raise UserError(
                f"search.warm_start: study {name!r} has another baseline; only one that has the"
                f" same can be learned from: {'; '.join([*settings, *software])}"
            )
        for field in ("layers", "shrink", "hold", "teacher"):  # of no plan, but of its result
            if getattr(earlier.pruning, field) != getattr(experiment.pruning, field):
                raise UserError(f"search.warm_start: study {name!r} has another pruning.{field}")


def observed(experiment: Experiment, storage: Path, space: Space) -> Iterator[FrozenTrial]:
    """Trials of earlier studies that have ended and that this one could have had, as Optuna's."""
    search = experiment.search
    for name in search.warm_start:
        folder = StudyFolder(storage, name)
        study = folder.study()
        for record in folder.trials() if study and study.baseline else ():
            answer = _Answers(record.plan)
            ended = record.ended and result_of(record, search.objectives) is TrialState.COMPLETE
            if not ended or not answer.fits(space):
                continue
            figures = objectives(record, search.retention)
            values = [figures[objective] for objective in search.objectives]
            assert study and study.baseline
            limits = violations(record, search, study.baseline)
            if all(map(math.isfinite, [*values, *limits.values()])):
                yield optuna.trial.create_trial(
                    state=TrialState.COMPLETE,
                    values=values,
                    params=answer.params,
                    distributions=answer.distributions,
                    constraints=limits,
                    user_attrs={FROM: f"{name}/{record.name}"},
                )


def _is_measurable(granularity: str, criterion: str) -> bool:
    try:
        check_measurable(granularity, criterion)
    except ValueError:
        return False
    return True


class _Walk:
    """Stands in for Optuna's trial: takes the choices of a path, and the first ones beyond it."""

    def __init__(self, path: Sequence[int]) -> None:
        self._path = path
        self.widths: list[int] = []
        self.params: dict[str, Any] = {}

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        at = len(self.widths)
        self.widths.append(len(choices))
        self.params[name] = choices[self._path[at] if at < len(self._path) else 0]
        return self.params[name]

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        raise ValueError(f"a grid takes lists, and {parsed(name).described} is a range")

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        raise ValueError(f"a grid takes lists, and {parsed(name).described} is a range")


class _Answers:
    """Stands in for Optuna's trial: answers as a plan that has been run would have it."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.params: dict[str, Any] = {}
        self.distributions: dict[str, optuna.distributions.BaseDistribution] = {}

    def fits(self, space: Space) -> bool:
        """Whether the space has this very plan; then `params` are its parameters."""
        try:
            made = space(self)
        except LookupError:
            return False
        return _close(made.model_dump(), self._plan.model_dump())

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        value = getattr(self._plan, parsed(name).field or "")
        if value not in choices:
            raise LookupError(name)
        return self._note(name, value, CategoricalDistribution(choices))

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        value = self._number(name)
        if value is None or not low * (1 - 1e-9) <= value <= high * (1 + 1e-9):
            raise LookupError(name)
        value = min(max(value, low), high)  # 1 - (1 - ratio) is not quite the ratio
        return float(self._note(name, value, FloatDistribution(low, high, log=log)))

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        value = getattr(self._plan, name)
        if value is None or not low <= value <= high:
            raise LookupError(name)
        return int(self._note(name, value, IntDistribution(low, high, log=log)))

    def _number(self, name: str) -> float | None:
        said = parsed(name)
        if said.field is None:
            return (self._plan.densities or {}).get(said.layer or "")
        value: float | None = getattr(self._plan, said.field)
        return 1 - value if value is not None and said.density else value

    def _note(
        self, name: str, value: Any, distribution: optuna.distributions.BaseDistribution
    ) -> Any:
        self.params[name], self.distributions[name] = value, distribution
        return value


def _close(one: Any, other: Any) -> bool:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_close(one[key], other[key]) for key in one)
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9)
    return bool(one == other)
