"""Runs random plans on a task as an ordinary study, and takes from it what is worth keeping."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from prune_search.experiment.schema import Experiment
from prune_search.records.folder import StudyFolder
from prune_search.records.models import Point, TrialRecord
from tuners.benchmarks.recorded.tasks import experiment
from tuners.benchmarks.search.studies import finished
from tuners.recordings.dataset import Round, Task, Trial, write

_SOFTWARE = ("ray", "torch", "gymnasium", "numpy")


def record(name: str, trials: int, storage: str, path: Path) -> int:
    """Runs what is missing of a task's study, and writes its trials to a file.

    Args:
        name: a key of `TASKS`.
        trials: random plans.
        storage: where studies lie; an interrupted one goes on.
        path: the file, see `dataset`.

    Returns:
        Trials that were written: all that got to a point.

    Raises:
        UserError: the environment is missing, or a study of that name has other settings.
    """
    chosen = experiment(name, trials, storage)
    folder = finished(chosen, f"recorded-{name}-{trials}", quiet=False)
    found = [trial for trial in folder.trials() if trial.points]
    seed = chosen.search.seed
    write(path, _task(name, chosen, folder), [_trial(trial, seed) for trial in found])
    return len(found)


def _task(name: str, chosen: Experiment, folder: StudyFolder) -> Task:
    study = folder.study()
    assert study is not None and study.baseline is not None
    baseline, settings = study.baseline, chosen.model_dump(mode="json", exclude_unset=True)
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
