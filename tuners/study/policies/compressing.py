"""A study's point as a packed file, and what each stage of compression leaves of it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from prune_search.artifacts.base import open_artifact
from prune_search.artifacts.packed_target import PackedTarget
from prune_search.errors import UserError
from prune_search.experiment.schema import Experiment
from prune_search.export.exporting import OBSERVATIONS, Export, Source, export
from prune_search.export.measuring import measured_again
from prune_search.packed.file import read
from prune_search.packed.quantizing import quantized_policy
from prune_search.packed.stages import Stages, stages
from prune_search.records.folder import StudyFolder
from prune_search.records.returns import Return
from prune_search.trial.fine_tuning import FineTuned, fine_tune
from tuners.study.policies.exports import default_path, source_of
from tuners.study.policies.fine_tuning import trained_on

_FEW = 100
"""Actions that are compared of a file that is measured and not kept."""


@dataclass(frozen=True)
class Tuning:
    """What fine-tuning has changed: of the packed file, on the study's final seeds."""

    done: FineTuned
    bytes_before: int
    """Of the file of the same point, quantized alike and not fine-tuned."""
    before: Return | None
    """That file's; None where its environment has no name to make it by."""
    after: Return | None


@dataclass(frozen=True)
class Compressed:
    """A packed file, as it was measured."""

    export: Export
    stages: Stages
    method: str
    bits: int
    dense: int
    """Bytes of the dense policy's acting network as float32."""
    tuning: Tuning | None = None
    """None where it was not fine-tuned."""

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
    env_steps: int | None = None,
    path: Path | None = None,
    observations: int = OBSERVATIONS,
    anyway: bool = False,
) -> Compressed:
    """Quantizes a point's policy, packs it, and measures the file.

    Where it is fine-tuned, actions are compared with those of the fine-tuned policy.

    Args:
        folder: the study's.
        experiment: what it does.
        point: `t03/2`, or the `baseline`.
        method: a key of `compression.METHODS`.
        bits: of a weight, 2 to 8.
        env_steps: to fine-tune the quantized weights for; None not to.
        path: of the file; `default_path` if None.
        observations: for how many actions are compared with RLlib's.
        anyway: keep it although it returns less than the point's interval.

    Raises:
        UserError: as `export` or `trained_on`; or the study has no baseline to compare with.
    """
    study = folder.study()
    if study is None or study.baseline is None:
        raise UserError(f"study: {folder.name!r} has no baseline yet")
    source, target = source_of(folder, experiment, point), PackedTarget(method, bits)
    path = path or default_path(folder.name, point, "packed")
    if path.exists():
        raise UserError(f"--out: {str(path)!r} exists; give another name")
    with tempfile.TemporaryDirectory() as scratch:
        done, untuned = None, source
        if env_steps:
            steps, to = env_steps, Path(scratch)
            done = trained_on(
                folder,
                experiment,
                point,
                lambda start: fine_tune(start, method, bits, steps, to),
            )
            source = replace(source, algorithm=done.algorithm, notes=(_note(done),), held=True)
        found = export(
            source, "packed", path, using=target, observations=observations, anyway=anyway
        )
        tuning = _compared(experiment, untuned, found, done, Path(scratch)) if done else None
    quantized = quantized_policy(read(found.path).policy, method, bits)
    dense = 4 * study.baseline.parameters
    return Compressed(found, stages(quantized), method, bits, dense, tuning)


def _note(done: FineTuned) -> str:
    """What the file says of its fine-tuning, in few bytes; method and bits are in it anyway."""
    return f"fine-tuned for {done.env_steps:,} env steps"


def _compared(
    experiment: Experiment, untuned: Source, tuned: Export, done: FineTuned, scratch: Path
) -> Tuning:
    """The file, beside one of the point as it was."""
    other = scratch / "untuned.packed"
    target = PackedTarget(done.method, done.bits)
    before = export(untuned, "packed", other, using=target, observations=_FEW, anyway=True)
    seed, episodes = experiment.evaluation.final_seed, experiment.evaluation.final_episodes
    returns = [
        measured_again(open_artifact(each.path), seed, episodes) if each.returned else None
        for each in (before, tuned)
    ]
    return Tuning(done, before.bytes, *returns)
