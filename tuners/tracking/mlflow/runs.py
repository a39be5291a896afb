"""What MLflow shows of a study: one run a trial, and one for the study.

Pure functions of the study's records: projecting the same records again gives the same runs, to
the last timestamp, which is how MLflow recognises a metric that it already has.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

from prune_search.experiment.fields import as_choices
from prune_search.experiment.pruning import Pruning
from prune_search.experiment.schema import Experiment
from prune_search.plan.plan import Plan
from prune_search.records.fronts import delivered, front, summary
from prune_search.records.intervals import holding
from prune_search.records.models import FinalRecord, Point, StudyRecord, TrialRecord
from prune_search.records.reasons import INTERRUPTED
from prune_search.records.returns import Return
from tuners.report.as_json import point_json, strategy
from tuners.report.phrases import did, did_words, interval
from tuners.report.study_report import StudyReport
from tuners.search.usual import sampler_of
from tuners.tracking.mlflow.notes import summary_note, trial_note
from tuners.words import outcome

SUMMARY = "summary"
FRONT_RETURN, FRONT_SPARSITY = "front/return", "front/sparsity"
"""What charts of fronts draw over each other; MLflow pairs two metrics' values by their steps."""
ROUNDS_RETURN = "rounds/return"
CHOICES = (
    "criterion",
    "allocation",
    "schedule",
    "granularity",
    "scope",
    "origin",
    "rewind",
    "regrowth",
)
"""Parameters that every trial has, `none` where its plan has none."""
_LEVELS = (0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)
_STATUS = {
    "running": "RUNNING",
    "complete": "FINISHED",
    "stopped": "FINISHED",
    "failed": "FAILED",
}


@dataclass(frozen=True)
class Metric:
    key: str
    value: float
    step: int
    time_ms: int


@dataclass(frozen=True)
class Run:
    """All of a run but its pictures."""

    name: str
    key: str
    """Which of the study's runs: the trial's name, or `summary`."""
    status: str
    """MLflow's: RUNNING, FINISHED, FAILED, or KILLED for what was interrupted."""
    started_ms: int
    ended_ms: int
    """When the last thing in it was measured."""
    tags: dict[str, str]
    params: dict[str, str]
    metrics: list[Metric]


def study_id(study: StudyRecord) -> str:
    """Tells this study from another of the same name; fit for MLflow's search filters."""
    return f"{re.sub(r'[^A-Za-z0-9_.-]', '-', study.name)}-{study.started:.3f}"


def trial_run(
    study: StudyRecord,
    trial: TrialRecord,
    experiment: Experiment,
    final: FinalRecord | None,
    *,
    over: bool,
) -> Run:
    """The run of one trial.

    Args:
        final: the front's returns on the final seeds, once they are measured.
        over: nothing is running any more, so that a running trial was interrupted.
    """
    status = _STATUS[trial.state]
    reason, remark = trial.reason, trial.remark
    if over and status == "RUNNING":
        status, reason, remark = "KILLED", INTERRUPTED, INTERRUPTED
    ended = max((point.time for point in trial.points), default=trial.started)
    bound = study.baseline.return_at(experiment.evaluation.holds_at) if study.baseline else None
    metrics: list[Metric] = []
    if trial.points:
        best = delivered(trial.points, experiment.search.retention).returned
        scalars = _best(summary(trial, experiment.search.retention))
        scalars |= _tail("best_", best, bound)
        work = {"env_steps": trial.env_steps, "seconds": trial.seconds, **(did(trial) or {})}
        scalars |= {f"work/{key}": value for key, value in work.items()}
        metrics += _scalars(scalars, ended)
        metrics += [metric for point in trial.points for metric in _point_metrics(point, bound)]
        if status != "RUNNING":
            metrics += _front_metrics(front(trial.points))
    tags = {**_tags(study, "trial"), "trial": trial.name, "plan": _plan_id(trial.plan)}
    tags["mlflow.note.content"] = trial_note(study, trial, experiment, final, bound, remark)
    if reason:
        tags["reason"] = reason
    if trial.chosen_by:
        tags["chosen_by"] = trial.chosen_by
    if trial.thawed:
        tags["thawed"] = ", ".join(map(str, trial.thawed))
    if words := did_words(trial):
        tags["did"] = words
    return Run(
        name=_name(trial, experiment.pruning),
        key=trial.name,
        status=status,
        started_ms=_ms(trial.started),
        ended_ms=_ms(ended),
        tags=tags,
        params=parameters(trial.plan),
        metrics=_logged(metrics),
    )


def summary_run(
    study: StudyRecord, found: StudyReport, experiment: Experiment, *, over: bool
) -> Run:
    """The run of the study."""
    ended = max([study.ended or 0, study.started, *(point.time for point in found.points)])
    outcomes = [outcome(trial) for trial in found.trials]
    figures = {
        "trials_complete": outcomes.count("complete"),
        "trials_given_up": outcomes.count("given up"),
        "trials_stopped": outcomes.count("stopped"),
        "trials_failed": outcomes.count("failed"),
        "env_steps": found.env_steps,
        "env_steps_saved": found.env_steps_saved,
        "wall_s": study.wall_s,
    }
    scalars: dict[str, float] = {}
    if found.points:
        scalars |= {"hypervolume": found.hypervolume, "log_hypervolume": found.log_hypervolume}
    scalars |= {f"study/{key}": value for key, value in figures.items()}
    # MLflow forgets no metric: a point that later falls off the front would stay in its chart, and
    # the rounds of several trials may still be read out of turn while they run.
    curves: list[Metric] = []
    if over or study.ended:
        curves += _front_metrics([item.point for item in found.front])
        curves += [Metric("study/front_area", v, s, _ms(ended)) for s, v in found.curve]
    running = "KILLED" if over else "RUNNING"
    tags = {**_tags(study, "summary"), **_dense(found)}
    # No parameters: MLflow lets none change, and a study may go on with another search.
    search = experiment.search
    tags |= {"search.sampler": sampler_of(search), "search.trials": str(search.trials)}
    tags["mlflow.note.content"] = summary_note(found, experiment)
    return Run(
        name=f"{SUMMARY} {study.name}",
        key=SUMMARY,
        status="FINISHED" if study.ended else running,
        started_ms=_ms(study.started),
        ended_ms=_ms(ended),
        tags=tags,
        params={
            "environment": experiment.environment.id,
            "algorithm": experiment.algorithm.name,
        },
        metrics=_logged([*_scalars(scalars, ended), *curves]),
    )


def table_json(
    points: Sequence[Point], folder: Path, final: FinalRecord | None, bound: float | None
) -> str:
    """A front as the table that `mlflow.load_table` reads and merges over runs."""
    rows = [point_json(point, folder, final, bound) for point in points]
    data = [
        [round(cell, 6) if isinstance(cell, float) else cell for cell in row.values()]
        for row in rows
    ]
    return json.dumps({"columns": list(rows[0]) if rows else [], "data": data})


def levels_json(points: Sequence[Point]) -> str:
    """What a front attains at even sparsities, as the table that MLflow's Table tab compares.

    Its first column is the same for all runs, so that they share rows.
    """
    best = front(points)
    rows = [(level, next((p for p in best if p.sparsity >= level), None)) for level in _LEVELS]
    figures = ("return", "retention", "sparsity")
    data = [
        [
            f"{100 * level:g} %",
            *((p.returned.value, p.retention, p.sparsity, p.name) if p else [None] * 4),
        ]
        for level, p in rows
    ]
    data = [[_short(cell) if isinstance(cell, float) else cell for cell in row] for row in data]
    return json.dumps({"columns": ["sparsity at least", *figures, "point"], "data": data})


def parameters(plan: Plan) -> dict[str, str]:
    """What a trial's page shows of its plan: the fields that apply, and all of `CHOICES`."""
    given = {key: _plain(value) for key, value in strategy(plan).items()}
    return {**dict.fromkeys(CHOICES, "none"), **given}


def _name(trial: TrialRecord, pruning: Pruning) -> str:
    """Short, for lists and legends cut it off: `t03 97.1% erk/cubic`, of what is searched."""
    plan = trial.plan
    told = [
        str(getattr(plan, axis))
        for axis in CHOICES
        if len(as_choices(getattr(pruning, axis))) > 1 and getattr(plan, axis) is not None
    ]
    return " ".join(word for word in (trial.name, plan.aim, "/".join(told)) if word)


def _front_metrics(best: Sequence[Point]) -> Iterable[Metric]:
    """A front as two metrics, whose steps are its sparsities in hundredths of a percent."""
    step = -1
    for point in best:
        step = max(step + 1, round(10_000 * point.sparsity))
        yield Metric(FRONT_RETURN, point.returned.value, step, _ms(point.time))
        yield Metric(FRONT_SPARSITY, point.sparsity, step, _ms(point.time))


def _point_metrics(point: Point, bound: float | None) -> Iterable[Metric]:
    time_ms = _ms(point.time)
    figures: dict[str, float | None] = {
        "sparsity": point.sparsity,
        "nonzero_parameters": point.nonzero,
        "physical_parameters": point.physical or None,  # 0: an earlier version did not count
        "compact_parameters": point.compact,
        "stored_bytes": point.stored_bytes,
        "compact_bytes": point.compact_bytes,
        "macs": point.macs,
        "return": point.returned.value,
        "return_pruned": point.return_pruned,
        "return_training": point.return_training,
        "retention": point.retention,
        "seconds": point.train_s + point.eval_s,
        **_tail("", point.returned, bound),
    }
    for key, value in figures.items():
        if value is not None:
            yield Metric(f"rounds/{key}", value, point.round, time_ms)


def _tail(prefix: str, returned: Return, bound: float | None) -> dict[str, float]:
    """The worst tenth of episodes, and the share of them that hold, where they were kept."""
    held = holding(returned, bound) if bound is not None else None
    figures = {
        f"{prefix}return_worst": returned.worst,
        f"{prefix}holds": held.share if held else None,
    }
    return {key: value for key, value in figures.items() if value is not None}


def _scalars(figures: Mapping[str, float], time: float) -> list[Metric]:
    """At step 0 all of them, which MLflow draws as bars, a run each; the latest time is shown."""
    return [Metric(key, value, 0, _ms(time)) for key, value in figures.items()]


def _best(figures: Mapping[str, float]) -> dict[str, float]:
    """The figures of the trial's best point.

    The hypervolume leads, since the UI's parallel coordinates start with the first metric.
    """
    own = ("sparsity", "return", "retention")  # compression is sparsity in another unit
    areas = {key: figures[key] for key in ("hypervolume", "log_hypervolume")}
    return {**areas, **{f"best_{key}": figures[key] for key in own}}


def _logged(metrics: Iterable[Metric]) -> list[Metric]:
    """As the UI can show them: not NaN or infinite, and of few digits; the records have all."""
    return [
        replace(metric, value=_short(metric.value)) for metric in metrics if isfinite(metric.value)
    ]


def _short(value: float) -> float:
    return value if float(value).is_integer() else float(f"{value:.6g}")


def _dense(found: StudyReport) -> dict[str, str]:
    """What is the same for all trials: as tags, for as metrics they would be charts of one bar."""
    returns = {
        "baseline_return": found.baseline.returned if found.baseline else None,
        "random_return": found.baseline.random if found.baseline else None,
        "control_return": found.control.returned if found.control else None,
    }
    shown = {key: interval(value) for key, value in returns.items() if value}
    if found.baseline:
        by = {name: getattr(found.baseline, name) for name in ("sampled_by", "updated_by")}
        shown |= {name: value for name, value in by.items() if value}
    return shown


def _tags(study: StudyRecord, kind: str) -> dict[str, str]:
    return {
        "study": study.name,
        "study_id": study_id(study),
        "kind": kind,
        "mlflow.source.name": "prune-search",
        "mlflow.source.type": "LOCAL",
    }


def _plan_id(plan: Plan) -> str:
    """The same for all seeds of a plan, so that MLflow's charts can group runs by it."""
    return hashlib.sha256(plan.model_dump_json().encode()).hexdigest()[:8]


def importances_json(importances: Mapping[str, float]) -> str:
    """Which fields mattered, as the table that `mlflow.load_table` reads."""
    data = [[field, round(share, 6)] for field, share in importances.items()]
    return json.dumps({"columns": ["field", "importance"], "data": data})


def _plain(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _ms(seconds: float) -> int:
    return round(1000 * seconds)
