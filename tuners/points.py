"""Finding studies and the points in them by name; light, for commands that start no cluster."""

from __future__ import annotations

from pathlib import Path

from prune_search import experiment_file
from prune_search.errors import UserError, unknown
from prune_search.experiment import Experiment
from prune_search.mirror import Mirror
from prune_search.record import StudyFolder


def studies(storage: str) -> list[str]:
    """Names of the studies in a storage folder."""
    root = Path(storage).expanduser()
    return sorted(path.parent.name for path in root.glob("*/experiment.yaml"))


def open_study(storage: str, name: str) -> tuple[StudyFolder, Experiment]:
    """An existing study's folder and experiment.

    Raises:
        UserError: there is none of this name; the message lists those there are.
    """
    folder = StudyFolder(storage, name)
    if not folder.experiment_file.is_file():
        known = ", ".join(studies(storage)) or "none"
        raise UserError(f"name: no study {name!r} in {folder.path.parent}; there are: {known}")
    text = folder.experiment_file.read_text(encoding="utf-8")
    return folder, experiment_file.parse(text, where=str(folder.experiment_file))


def checkpoint(folder: StudyFolder, experiment: Experiment, name: str) -> Path:
    """The RLlib checkpoint of a point, `t03/2`, or of the `baseline`.

    Raises:
        UserError: there is no such point; the message lists those there are.
    """
    if name == "baseline":
        study = folder.study()
        if study is None or study.baseline is None:
            raise UserError(f"point: study {folder.name!r} has no baseline yet")
        return _here(Path(study.baseline.checkpoint), folder, experiment)
    points = {point.name: point for trial in folder.trials() for point in trial.points}
    if name not in points:
        raise unknown("point", name, ["baseline", *points])
    return _here(folder.path / points[name].checkpoint / "algorithm", folder, experiment)


def _here(algorithm: Path, folder: StudyFolder, experiment: Experiment) -> Path:
    """The checkpoint, fetched from the mirror where it is on another node."""
    Mirror(folder.path.parent, experiment.mirror).fetch(algorithm.parent, algorithm.name)
    return algorithm
