"""A study's point, exported and measured, as a version of a model in MLflow's registry."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from prune_search.artifacts.base import open_artifact
from prune_search.artifacts.card import Card
from prune_search.experiment.schema import Experiment
from prune_search.export.exporting import OBSERVATIONS, Export
from prune_search.export.surroundings import flat, make_task
from prune_search.export.targets import find_target
from prune_search.policy.arrays import Array
from prune_search.records.folder import StudyFolder
from prune_search.records.record import Record
from prune_search.records.returns import Return
from tuners.study.policies.exports import export_chosen
from tuners.tracking.mlflow.registry import ModelRegistry, Source, check_served
from tuners.tracking.mlflow.runs import SUMMARY, study_id
from tuners.tracking.mlflow.tracking import default_uri


class Registered(Record):
    """A version of a model in MLflow's registry."""

    model: str
    version: int
    place: str
    """The tracking server's address."""
    point: str
    run: str | None
    """Id of the run that it is an output of; None where the study has none there."""
    export: Export
    """The file as it was measured; its path was a temporary one."""

    @property
    def uri(self) -> str:
        """What MLflow's commands and `mlflow.pyfunc.load_model` take."""
        return f"models:/{self.model}/{self.version}"


def register(
    folder: StudyFolder,
    experiment: Experiment,
    point: str | None,
    name: str | None = None,
    to: str = "onnx",
    *,
    min_retention: float | None = None,
    max_bytes: int | None = None,
    observations: int = OBSERVATIONS,
    anyway: bool = False,
) -> Registered:
    """Exports a point, and makes what was written the next version of a registered model.

    Args:
        folder: the study's.
        experiment: what it does; its `tracking.uri` says where the registry is.
        point: `t03/2`, the `baseline`, or the dense `control`; by wish if None, see
            `export_wished`.
        name: the registered model's; the study's if None.
        to: the target's name; see `SERVED` for those there are.
        min_retention: see `export_wished`.
        max_bytes: see `export`.
        observations: see `export`.
        anyway: see `export`.

    Raises:
        UserError: as `export`; or the registry does not answer, or does not take the name or the
            target.
    """
    suffix, model = find_target(to).suffix, folder.name if name is None else name
    check_served(to)
    uri = experiment.tracking.uri or default_uri(folder.path.parent)
    registry = ModelRegistry(uri, experiment.tracking.experiment)
    registry.check(model)
    with tempfile.TemporaryDirectory() as made:
        path = Path(made, f"policy{suffix}")
        point, found = export_chosen(
            folder,
            experiment,
            point,
            to,
            path,
            min_retention=min_retention,
            max_bytes=max_bytes,
            observations=observations,
            anyway=anyway,
        )
        source = _source(folder, registry, point, found)
        version = registry.add(model, path, _example(open_artifact(path).card), source)
    return Registered(
        model=model, version=version, place=uri, point=point, run=source.run, export=found
    )


def _source(folder: StudyFolder, registry: ModelRegistry, point: str, found: Export) -> Source:
    study = folder.study()
    assert study is not None  # it has the point
    record = folder.points().get(point)  # None for the baseline and the control
    tags = {
        "study": folder.name,
        "study_id": study_id(study),
        "point": point,
        "target": found.target,
        "bytes": str(found.bytes),
        "nonzero_parameters": str(found.nonzero),
    }
    if record is not None:
        tags |= {"trial": point.partition("/")[0], "round": str(record.round)}
        tags |= {"sparsity": f"{record.sparsity:.6g}"}
    if found.returned is not None:
        tags |= _figures("return", found.returned)
        tags["episodes"] = str(found.returned.episodes)
    if study.baseline is not None:
        tags |= _figures("dense_return", study.baseline.returned)
        if found.returned is not None:
            tags["retention"] = f"{study.baseline.retention(found.returned.value):.6g}"
    run = registry.run_of(study_id(study), tags.get("trial", SUMMARY))
    return Source(tags, run, record.round if record is not None else -1)


def _figures(name: str, returned: Return) -> dict[str, str]:
    """A return, and the ends of its 95 % interval."""
    ends = {name: returned.value, f"{name}_low": returned.low, f"{name}_high": returned.high}
    return {key: f"{value:.6g}" for key, value in ends.items()}


def _example(card: Card) -> Array:
    """What an episode begins with, [1, *observation_shape]; zeros if nobody can say."""
    if card.task is None or card.measurement is None:
        return np.zeros((1, *card.observation_shape), np.float32)
    environment = make_task(card.task)
    try:
        observation, _ = environment.reset(seed=card.measurement.seed)
        return flat(environment.observation_space, observation)[None]
    finally:
        environment.close()
