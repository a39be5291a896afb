"""A study's point as a packed file, and what each stage of compression leaves of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prune_search.artifacts.packed_target import PackedTarget
from prune_search.errors import UserError
from prune_search.experiment.schema import Experiment
from prune_search.export.exporting import OBSERVATIONS, Export, export
from prune_search.packed.file import read
from prune_search.packed.quantizing import quantized_policy
from prune_search.packed.stages import Stages, stages
from prune_search.records.folder import StudyFolder
from tuners.study.exports import default_path, source_of


@dataclass(frozen=True)
class Compressed:
    """A packed file, as it was measured."""

    export: Export
    stages: Stages
    method: str
    bits: int
    dense: int
    """Bytes of the dense policy's acting network as float32."""

    @property
    def ratio(self) -> float:
        """How many times smaller the file is than the dense network."""
        return self.dense / self.export.bytes


def compressed(
    folder: StudyFolder,
    experiment: Experiment,
    point: str,
    method: str,
    bits: int,
    *,
    path: Path | None = None,
    observations: int = OBSERVATIONS,
    anyway: bool = False,
) -> Compressed:
    """Quantizes a point's policy, packs it, and measures the file.

    Args:
        folder: the study's.
        experiment: what it does.
        point: `t03/2`, or the `baseline`.
        method: a key of `compression.METHODS`.
        bits: of a weight, 2 to 8.
        path: of the file; `default_path` if None.
        observations: for how many actions are compared with RLlib's.
        anyway: keep it although it returns less than the point's interval.

    Raises:
        UserError: as `export`; or the study has no baseline to compare with.
    """
    study = folder.study()
    if study is None or study.baseline is None:
        raise UserError(f"study: {folder.name!r} has no baseline yet")
    found = export(
        source_of(folder, experiment, point),
        "packed",
        path or default_path(folder.name, point, "packed"),
        using=PackedTarget(method, bits),
        observations=observations,
        anyway=anyway,
    )
    quantized = quantized_policy(read(found.path).policy, method, bits)
    return Compressed(found, stages(quantized), method, bits, 4 * study.baseline.parameters)
