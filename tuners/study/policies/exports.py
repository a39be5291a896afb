"""A study's points, for export: by name, or by wish."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from prune_search.artifacts.card import Measured, Measurement
from prune_search.errors import UserError, check_whole
from prune_search.experiment.schema import Experiment
from prune_search.export.describing import describe
from prune_search.export.exporting import OBSERVATIONS, Export, Refused, Source, export
from prune_search.export.levels import Wished, levels_of, require_elastic
from prune_search.export.targets import find_target
from prune_search.records.folder import StudyFolder
from prune_search.records.models import StudyRecord
from prune_search.records.returns import Return
from tuners.catalog.finding import checkpoint
from tuners.report.study_report import report


def source_of(folder: StudyFolder, experiment: Experiment, point: str) -> Source:
    """What is exported of a point, `t03/2`, the `baseline`, or the dense `control`.

    Its actions are sampled where the study's evaluation samples them.

    Raises:
        UserError: there is no such point; the message lists those there are.
    """
    algorithm = checkpoint(folder, point)
    study, evaluation = folder.study(), experiment.evaluation
    baseline = study.baseline if study else None
    record = folder.points().get(point)
    returned = record.returned if record else _dense_returned(study, point)
    measurement = Measurement(
        seed=evaluation.seed,
        episodes=returned.episodes if returned else evaluation.episodes,
        max_steps=evaluation.max_steps,
        aggregate=evaluation.aggregate,
        returned=Measured.of(returned) if returned else None,
        dense=Measured.of(baseline.returned) if baseline else None,
        random=Measured.of(baseline.random) if baseline else None,
    )
    return Source(
        algorithm,
        f"{folder.name} {point}",
        measurement,
        dense=checkpoint(folder, "baseline") if baseline else None,
        sampled=evaluation.actions == "sampled",
        held=record is not None and record.packed_bytes is not None,
    )


def _dense_returned(study: StudyRecord | None, policy: str) -> Return | None:
    """The return on the search's seeds of the `baseline`, or of the dense `control`."""
    found = study and (study.baseline if policy == "baseline" else study.control)
    return found.returned if found else None


def export_chosen(
    folder: StudyFolder,
    experiment: Experiment,
    point: str | None,
    to: str,
    path: Path | None,
    *,
    min_retention: float | None = None,
    max_bytes: int | None = None,
    observations: int = OBSERVATIONS,
    anyway: bool = False,
    levels: Sequence[float] = (),
    env_steps: int | None = None,
) -> tuple[str, Export]:
    """Exports a point by its name or, if None, by wish: its name, and what was written.

    Args and errors as `export_wished`'s, and `source_of`'s for the point; `env_steps` to train the
    levels for, which a point that has a name can be.
    """
    if env_steps is not None:
        check_whole("--env-steps", env_steps, 1)
        if point is None or not levels:
            raise UserError("--env-steps: it trains the levels of a point; name it, and --levels")
        return point, _trained(
            folder,
            experiment,
            point,
            to,
            path or default_path(folder.name, point, to),
            levels,
            env_steps,
            max_bytes=max_bytes,
            observations=observations,
            anyway=anyway,
        )
    if point is None:
        return export_wished(
            folder,
            experiment,
            to,
            path,
            min_retention=min_retention,
            max_bytes=max_bytes,
            observations=observations,
            anyway=anyway,
            levels=levels,
        )
    return point, export(
        source_of(folder, experiment, point),
        to,
        path or default_path(folder.name, point, to),
        observations=observations,
        max_bytes=max_bytes,
        anyway=anyway,
        levels=wished_levels(folder, experiment, levels),
    )


def _trained(
    folder: StudyFolder,
    experiment: Experiment,
    point: str,
    to: str,
    path: Path,
    levels: Sequence[float],
    env_steps: int,
    **given: Any,
) -> Export:
    """Exports a point with levels that were trained together."""
    from prune_search.trial.level_training import train_levels
    from tuners.study.policies.fine_tuning import trained_on

    if path.exists():
        raise UserError(f"--out: {str(path)!r} exists; give another name")
    source, wished, target = (
        source_of(folder, experiment, point),
        wished_levels(folder, experiment, levels),
        find_target(to),
    )
    assert wished is not None
    require_elastic(target, to)
    policy = describe(source.algorithm, held=source.held).policy
    levels_of(target.held(policy), wished)  # before training in vain
    with tempfile.TemporaryDirectory() as scratch:
        done = trained_on(
            folder,
            experiment,
            point,
            lambda start: train_levels(start, wished.sparsities, env_steps, Path(scratch)),
        )
        note = f"levels trained together for {done.env_steps:,} env steps"
        source = replace(source, algorithm=done.algorithm, notes=(note,))
        return export(source, to, path, levels=wished, **given)


def wished_levels(
    folder: StudyFolder, experiment: Experiment, sparsities: Sequence[float]
) -> Wished | None:
    """The levels that are wished for beside a policy itself; None if none are.

    Args:
        folder: the study's.
        experiment: says which seeds are the final ones.
        sparsities: in (0, 1), of the dense policy's parameters, in any order.

    Raises:
        UserError: one is out of range or named twice, or there is no dense policy yet.
    """
    if not sparsities:
        return None
    if len(set(sparsities)) < len(sparsities) or not all(0 < one < 1 for one in sparsities):
        given = ", ".join(f"{100 * one:g}" for one in sparsities)
        raise UserError(f"--levels: must be different percentages above 0, below 100, got {given}")
    study = folder.study()
    if study is None or study.baseline is None:
        raise UserError(f"study: {folder.name!r} has no baseline yet")
    final = experiment.evaluation
    return Wished(
        tuple(sorted(sparsities)),
        study.baseline.parameters,
        final.final_seed,
        final.final_episodes,
    )


def export_wished(
    folder: StudyFolder,
    experiment: Experiment,
    to: str,
    path: Path | None,
    *,
    min_retention: float | None = None,
    max_bytes: int | None = None,
    observations: int = OBSERVATIONS,
    anyway: bool = False,
    levels: Sequence[float] = (),
) -> tuple[str, Export]:
    """Exports the smallest point of the front that keeps to a wish: its name, and what was written.

    Points are tried by rising number of parameters that are not zero, until one is no larger than
    it may be and is not refused.

    Args:
        folder: the study's.
        experiment: what it does.
        to: the target's name.
        path: where to; `default_path` if None.
        min_retention: what it must keep at least; `search.retention` if None.
        max_bytes: what the artifact may have at most.
        observations: see `export`.
        anyway: see `export`.
        levels: see `wished_levels`.

    Raises:
        UserError: there is none; the message says why the first one that was tried is not it.
    """
    found = report(folder, experiment)
    least = experiment.search.retention if min_retention is None else min_retention
    kept = {item.point.name: found.kept(item.point) for item in found.front}
    fits = [item.point for item in found.front if kept[item.point.name] >= least]
    if not fits:
        near = max(kept, key=lambda name: kept[name], default=None)
        raise UserError(
            f"--min-retention: no point of study {folder.name!r} keeps {least:.1%} of the return"
            + (f"; the nearest is {near} with {kept[near]:.1%}" if near else "; it has none yet")
        )
    problem: Refused | None = None
    for point in sorted(fits, key=lambda point: point.nonzero):
        target = path or default_path(folder.name, point.name, to)
        try:
            return point.name, export(
                source_of(folder, experiment, point.name),
                to,
                target,
                observations=observations,
                max_bytes=max_bytes,
                anyway=anyway,
                levels=wished_levels(folder, experiment, levels),
            )
        except Refused as error:
            problem = problem or error
    assert problem is not None
    raise problem


def default_path(study: str, point: str, to: str) -> Path:
    """The file or folder that an export makes where none is named: `mine-t03-2.onnx`.

    Raises:
        UserError: an unknown target.
    """
    name, suffix = f"{study}-{point}".replace("/", "-"), find_target(to).suffix
    return Path(f"{name}{suffix}" if suffix == f".{to}" else f"{name}-{to}{suffix}")
