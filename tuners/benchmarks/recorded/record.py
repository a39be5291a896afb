"""Runs random plans on a task as ordinary studies, and takes from them what is worth keeping."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from prune_search.errors import UserError
from prune_search.experiment.schema import Experiment
from prune_search.plan.plan import Plan
from prune_search.records.folder import StudyFolder
from prune_search.records.models import BaselineRecord, Point, TrialRecord
from tuners.benchmarks.recorded.tasks import experiment
from tuners.benchmarks.search.studies import finished, only
from tuners.recordings.dataset import Round, Task, Trial, write
from tuners.search.space import given

_SOFTWARE = ("ray", "torch", "gymnasium", "numpy")
_APART = 1_000
"""Between the seeds of a task's studies."""


def record(name: str, trials: int, seeds: int, storage: str, path: Path) -> int:
    """Runs what is missing of a task's studies, and writes their trials to a file.

    Args:
        name: a key of `TASKS`.
        trials: random plans.
        seeds: of each plan's training; a study each, from one dense policy.
        storage: where studies lie; an interrupted one goes on.
        path: the file, see `dataset`.

    Returns:
        Trials that were written: all that got to a point.

    Raises:
        UserError: the environment is missing, a study of that name has other settings, or its dense
            policy is not that of the first seed's.
    """
    chosen = experiment(name, trials, storage)
    folder = finished(chosen, f"recorded-{name}-{trials}", quiet=False)
    found = _trials(folder, chosen.search.seed)
    plans = [trial.plan for trial in found]
    for again in range(1, seeds if plans else 1):
        other = _repeated(chosen, plans, chosen.search.seed + _APART * again)
        repeat = finished(other, f"recorded-{name}-{trials}-{again}", quiet=False)
        if _dense(repeat) != _dense(folder):
            raise UserError(
                f"--storage: study {repeat.name!r} in {storage!r} began from another dense policy"
                f" than {folder.name!r}, which other code or another machine has trained; give"
                " another --storage"
            )
        for trial in _trials(repeat, other.search.seed):
            # As it was drawn: through the file's fields a ratio's last digit may change.
            of = found[trial.number]
            found.append(trial.model_copy(update={"number": of.number, "plan": of.plan}))
    write(path, _task(name, chosen, folder), found)
    return len(found)


def _repeated(chosen: Experiment, plans: list[Plan], seed: int) -> Experiment:
    """The same plans again, trained with another seed."""
    seeded = chosen.search.model_copy(update={"seed": seed})
    search = only(seeded, [given(plan) for plan in plans], seeds=1)
    return Experiment.model_validate(chosen.model_copy(update={"search": search}).model_dump())


def _dense(folder: StudyFolder) -> list[float]:
    """Returns of a study's dense policy, by which policies are told apart."""
    return _baseline(folder).returned.each


def _baseline(folder: StudyFolder) -> BaselineRecord:
    study = folder.study()
    assert study is not None and study.baseline is not None
    return study.baseline


def _task(name: str, chosen: Experiment, folder: StudyFolder) -> Task:
    baseline, settings = _baseline(folder), chosen.model_dump(mode="json", exclude_unset=True)
    return Task(
        name=name,
        environment=settings["environment"],
        algorithm=settings["algorithm"],
        software={package: version(package) for package in _SOFTWARE},
        parameters=baseline.parameters,
        weights=baseline.weights,
        baseline_env_steps=baseline.env_steps,
        dense=baseline.returned.each,
        random=baseline.random.each,
    )


def _trials(folder: StudyFolder, seed: int) -> list[Trial]:
    return [_trial(trial, seed) for trial in folder.trials() if trial.points]


def _trial(found: TrialRecord, seed: int) -> Trial:
    return Trial(
        number=found.number,
        seed=seed,
        plan=found.plan,
        rounds=[_round(point) for point in found.points],
    )


def _round(point: Point) -> Round:
    return Round(
        progress=point.progress,
        env_steps=point.env_steps,
        sparsity=point.sparsity,
        weight_sparsity=point.weight_sparsity,
        trained_sparsity=point.trained_sparsity,
        compact=point.compact,
        compact_nonzero=point.compact_nonzero,
        returns=point.returned.each,
        return_pruned=point.return_pruned,
    )
