"""Finding studies and the points in them by name; light, for commands that start no cluster."""

from __future__ import annotations

from pathlib import Path

from prune_search.errors import UserError, did_you_mean, near_names, unknown
from prune_search.experiment import file as experiment_file
from prune_search.experiment.schema import Experiment
from prune_search.experiment.trust import pickles
from prune_search.records.folder import EXPERIMENT, StudyFolder
from prune_search.records.models import StudyRecord
from prune_search.records.places import is_name, storage_path
from prune_search.storage.mirror import Mirror
from tuners.commands import command

_MANY = 20  # studies that a message lists


def studies(storage: str) -> list[str]:
    """Names of the studies in a storage folder."""
    folders = (path.parent for path in storage_path(storage).glob(f"*/{EXPERIMENT}"))
    return sorted(path.name for path in folders if is_name(path.name) and not path.is_symlink())


def check_free(folder: StudyFolder) -> None:
    """Whether there is no study of this name yet.

    Raises:
        UserError: there is; the message says how to go on with it.
    """
    if folder.path.exists():
        raise UserError(
            f"name: study {folder.name!r} already exists in {folder.path.parent}; resume it with"
            f" {command('resume', folder.path)}, or give another --name"
        )


def open_study(storage: str, name: str, trust: bool = False) -> tuple[StudyFolder, Experiment]:
    """An existing study's folder and experiment.

    The experiment is trusted with the pickles that it names if they are those the study was begun
    with, which the user has been asked about.

    Args:
        storage: folder of the studies.
        name: the study's.
        trust: the user trusts what the experiment names now.

    Raises:
        UserError: there is none of this name, and the message lists those there are; or its
            experiment file or record can't be read.
    """
    folder = StudyFolder(storage, name)
    if not folder.experiment_file.is_file():
        raise no_study(name, storage)
    text = experiment_file.read(folder.experiment_file)
    experiment = experiment_file.parse(text, where=str(folder.experiment_file), stored=True)
    study = folder.study()
    experiment = _as_begun(experiment, study)
    folder = StudyFolder(storage, name, Mirror(storage, experiment.mirror))
    asked = study is not None and study.trusted == pickles(experiment)
    return folder, experiment.trusting() if trust or asked else experiment


def no_study(name: str, storage: str, besides: str = "") -> UserError:
    """The error for a study that is not in a storage folder.

    Args:
        name: the study's.
        storage: folder of the studies.
        besides: what else is said of it, at the end.
    """
    known = studies(storage)
    there = ", ".join(near_names(name, known) if len(known) > _MANY else known) or "none"
    return UserError(
        f"name: no study {name!r} in {storage_path(storage)}"
        f"{did_you_mean(name, known) or ';'} there are: {there}{besides}"
    )


def _as_begun(experiment: Experiment, study: StudyRecord | None) -> Experiment:
    """With what the study was begun with, where its file is older than the choice of that."""
    evaluation, baseline = experiment.evaluation, experiment.baseline
    if study is None or study.baseline is None:
        return experiment
    if "aggregate" not in evaluation.model_fields_set:
        counted = {"aggregate": study.baseline.returned.aggregate}
        evaluation = evaluation.model_copy(update=counted)
    if "control" not in baseline.model_fields_set:
        baseline = baseline.model_copy(update={"control": False})
    return experiment.model_copy(update={"evaluation": evaluation, "baseline": baseline})


def checkpoint(folder: StudyFolder, name: str) -> Path:
    """The RLlib checkpoint of a point, `t03/2`, of the `baseline`, or of the dense `control`.

    It is fetched from the mirror where it is on another node.

    Raises:
        UserError: there is no such point; the message lists those there are.
    """
    study = folder.study()
    control = study.control if study else None
    if name == "control" and control:
        return folder.bring(Path(control.checkpoint))
    if name == "baseline":
        if study is None or study.baseline is None:
            raise UserError(f"point: study {folder.name!r} has no baseline yet")
        return folder.bring(Path(study.baseline.checkpoint))
    points = folder.points()
    if name not in points:
        raise unknown("point", name, ["baseline", *(["control"] if control else []), *points])
    path = folder.algorithm(points[name]).resolve()
    if not path.is_relative_to(folder.path):
        raise UserError(f"point: the checkpoint of {name} lies outside of {folder.path}: {path}")
    return folder.bring(path)
