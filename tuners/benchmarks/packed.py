"""How small a packed policy gets that keeps its return: from RLlib's default 256 x 256 network.

Each seed is a study: a dense policy, and trials that prune it step by step and then train on with
few values. Of the points that hold the retention on the search's episodes the smallest is packed,
and the file plays episodes that nobody has seen before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from prune_search.errors import UserError
from prune_search.experiment import file as experiment_file
from prune_search.experiment.schema import Experiment
from prune_search.export.measuring import measured_again
from prune_search.export.targets import open_artifact
from prune_search.records.models import BaselineRecord, Point
from prune_search.records.returns import Return, retention_of
from prune_search.rllib.evaluation.checkpoint_meter import CheckpointMeter
from tuners.study.handle import Study, open_named, run_new
from tuners.study.policies.compressing import Compressed, compressed

RETENTION, EPISODES = 0.95, 100
_FRESH = 2
"""The evaluation seed of the episodes that the file plays; the search knows 0, its end 1."""
_OBSERVATIONS = 1000
_CHANGES = (
    "algorithm.model.fcnet_hiddens=[256, 256]",
    "pruning.granularity=weight",
    "pruning.criterion=magnitude",
    "pruning.allocation=global",
    "pruning.scope=actor",
    "pruning.schedule=geometric",
    "pruning.end=0.7",
    "pruning.rounds=8",
    "pruning.quantization=network_sharing",
    "pruning.quantized_from=0.75",
    "search.sampler=grid",
    "search.objectives=[retention, packed_bytes]",
    "baseline.control=false",
    "resources.concurrent_trials=1",
    "tracking=none",
)


@dataclass(frozen=True)
class Smallest:
    """The smallest file of one seed's study."""

    seed: int
    point: str
    file: Compressed
    dense: Return
    """The dense policy's, on the fresh episodes."""
    returned: Return
    """The file's, likewise."""
    retention: float
    """Of the two; random actions' return is that on the search's episodes."""


def smallest_packed(
    preset: str,
    seeds: Sequence[int],
    ratios: Sequence[float],
    bits: int,
    storage: Path,
    say: Callable[[str], None],
) -> list[Smallest]:
    """Runs, or goes on with, a study for each seed, and measures its smallest file.

    Args:
        preset: preset or experiment file of a task.
        seeds: of the dense policy's training and of the search.
        ratios: of the acting network's weights to remove, a trial each.
        bits: of a weight's code.
        storage: folder of the studies and files; what is there is not run again.
        say: is told of each seed that is done.

    Raises:
        UserError: no point of a study holds the retention.
    """
    results = []
    for seed in seeds:
        study = _study(preset, seed, ratios, bits, storage)
        results.append(_smallest(study, seed))
        say(_line(results[-1]))
    return results


def markdown(preset: str, results: Sequence[Smallest]) -> str:
    """A row for each seed."""
    lines = [
        f"{preset}, 256 x 256, {EPISODES} fresh episodes of each file",
        "",
        "| seed | point | dense float32 | pruned | quantized | coded | file | times smaller"
        " | dense return | file's return | retention |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in results:
        left, made = one.file.stages, one.file.export
        figures = (
            *(one.seed, one.point, f"{one.file.dense:,}", f"{left.pruned:,}"),
            *(f"{left.quantized:,}", f"{left.coded['range']:,}", f"{made.bytes:,}"),
            *(f"{one.file.ratio:.0f}", f"{one.dense.value:.1f}", f"{one.returned.value:.1f}"),
            f"{one.retention:.3f}",
        )
        lines.append(f"| {' | '.join(map(str, figures))} |")
    return "\n".join(lines)


def _line(one: Smallest) -> str:
    return (
        f"seed {one.seed}: {one.file.export.bytes:,} bytes, {one.file.ratio:.0f} times smaller,"
        f" retention {one.retention:.3f}"
    )


def _study(preset: str, seed: int, ratios: Sequence[float], bits: int, storage: Path) -> Study:
    name = f"{Path(preset).stem}-{seed}"
    folder = storage / name
    if folder.exists():
        study = open_named(folder)
        record = study.folder.study()
        ended = record is not None and record.ended is not None
        return study if ended else study.resume(progress=False)
    changes = [
        *_CHANGES,
        f"pruning.ratio={json.dumps(list(ratios))}",
        f"pruning.bits={bits}",
        f"search.trials={len(ratios)}",
        f"search.seed={seed}",
        f"baseline.seed={seed}",
        f"storage={json.dumps(str(storage.resolve()))}",
    ]
    return run_new(experiment_file.load(preset, changes), name, progress=False)


def _smallest(study: Study, seed: int) -> Smallest:
    experiment, baseline = study.experiment, study.baseline
    assert baseline is not None
    held = [
        (point.packed_bytes, point, trial.plan)
        for trial in study.trials
        for point in trial.points
        if point.packed_bytes is not None and point.retention >= RETENTION
    ]
    if not held:
        raise UserError(
            f"benchmark packed: no quantized point of study {study.name!r} keeps {RETENTION:.0%} of"
            " the return; give smaller --ratio"
        )
    _, point, plan = min(held, key=lambda found: found[0])
    path = study.folder.path / "smallest.packed"
    path.unlink(missing_ok=True)
    assert plan.bits is not None
    made = compressed(
        study.folder,
        experiment,
        point.name,
        plan.quantization,
        plan.bits,
        path=path,
        observations=_OBSERVATIONS,
        anyway=True,
    )
    return _measured(experiment, baseline, seed, point, made)


def _measured(
    experiment: Experiment, baseline: BaselineRecord, seed: int, point: Point, made: Compressed
) -> Smallest:
    """On episodes that neither the search nor its end has seen."""
    meter = CheckpointMeter(experiment)
    dense = meter.measure(Path(baseline.checkpoint), _FRESH, EPISODES).returned
    returned = measured_again(open_artifact(made.export.path), _FRESH, EPISODES)
    retention = retention_of(returned.value, dense, baseline.random)
    return Smallest(seed, point.name, made, dense, returned, retention)
