"""What a study has found on its task, as plain data: its front on the final seeds alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prune_search.errors import UserError
from prune_search.experiment.schema import Experiment
from prune_search.records.intervals import retained
from prune_search.records.models import FinalRecord
from prune_search.records.returns import Return
from tuners.report.recommendation import recommended
from tuners.report.repeats import Repeated
from tuners.report.study_report import FrontPoint, StudyReport
from tuners.search.usual import sampler_of


def result(
    study: StudyReport, experiment: Experiment, controls: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The task, the dense policies and the front in plain types, for `json.dumps`.

    Args:
        study: one that is through, its front measured on the final seeds.
        experiment: the study's.
        controls: what `controls.compared` gave, where that was asked for.

    Raises:
        UserError: it has no such front yet.
    """
    baseline, final, best = study.baseline, study.final, recommended(study)
    if baseline is None or final is None or best is None:
        raise UserError(
            f"study {study.name!r} has no front on its final seeds yet; let it come to its end"
        )
    dense = {
        **_returned(final.baseline, final),
        "env_steps": baseline.env_steps,
        "parameters": baseline.parameters,
        "bytes": baseline.compact_bytes,
    }
    control = None
    if study.control is not None and final.control is not None:
        control = {**_returned(final.control, final), "env_steps": study.control.env_steps}
    return {
        "study": study.name,
        "environment": study.environment,
        "algorithm": experiment.algorithm.name,
        "description": experiment.description,
        "episodes": final.baseline.episodes,
        "aggregate": final.baseline.aggregate,
        "random": final.random.value,
        "seeds": {"baseline": experiment.baseline.seed, "search": experiment.search.seed},
        "sampler": sampler_of(experiment.search),
        "trials": len(study.trials),
        "env_steps": study.env_steps,
        "wished": study.retention,
        "recommended": best.point.name,
        "dense": dense,
        "control": control,
        "controls": controls,
        "repeated": [_repeated(plan) for plan in study.repeated if plan.rounds],
        "front": [_point(item, final) for item in study.front if item.final is not None],
    }


def _repeated(found: Repeated) -> dict[str, Any]:
    """The last round of a plan that was run with several seeds, on the search's episodes."""
    last = found.rounds[-1]
    return {
        "plan": found.plan.label,
        "seeds": len(found.trials),
        "collapsed": found.collapsed,
        "left_out": len(found.left_out),
        "sparsity": last.sparsity,
        "return": last.returned.value,
        "low": last.returned.low,
        "high": last.returned.high,
        "iqm": last.returned.iqm,
        "retention": last.retention,
    }


def _returned(one: Return, final: FinalRecord) -> dict[str, Any]:
    low, high = retained(one, final.baseline, final.random)
    return {
        "return": one.value,
        "low": one.low,
        "high": one.high,
        "retention": final.retention(one.value),
        "retention_low": low,
        "retention_high": high,
    }


def _point(item: FrontPoint, final: FinalRecord) -> dict[str, Any]:
    point = item.point
    assert item.final is not None
    return {
        "point": point.name,
        "plan": item.plan.label,
        "sparsity": point.sparsity,
        "nonzero": point.nonzero,
        "compact": point.compact,
        "bytes": point.compact_bytes,
        "macs": point.macs,
        **_returned(item.final, final),
        "than_dense": item.than_dense,
        "env_steps": point.env_steps,
    }
