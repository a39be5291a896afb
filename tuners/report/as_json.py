"""A study's report in plain types: what `show --json` prints."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Any

from prune_search.plan.plan import Plan
from prune_search.records.fronts import hypervolume, log_hypervolume
from prune_search.records.intervals import holding
from prune_search.records.models import (
    BaselineRecord,
    ControlRecord,
    FinalRecord,
    Point,
    trial_name,
)
from prune_search.records.returns import Return
from tuners.report.advice import fallen, lacking_recovery
from tuners.report.phrases import did
from tuners.report.recommendation import recommended
from tuners.report.repeats import Repeated
from tuners.report.study_report import StudyReport, kept_finally


def to_json(study: StudyReport) -> dict[str, Any]:
    """The report in plain types, for `json.dumps`. Keys may be added, never renamed.

    `{name, environment, baseline, control, random_return, final_random_return, aggregate,
    holds_from, hypervolume, log_hypervolume, env_steps, env_steps_saved, curve, importances,
    trials, front, repeated, recommended}`, where

    - baseline is null or `{RETURN, final_RETURN, parameters, weights, stored_bytes, compact_bytes,
      env_steps, train_s, checkpoint, sampled_by, updated_by}`, sampled_by being `lean` or `rllib: `
      and why, updated_by `lean`, `rllib` or which part is whose;
    - control is null or `{RETURN, final_RETURN, retention, round, env_steps, train_s, checkpoint}`:
      the baseline trained on for a trial's env steps with nothing pruned, at its best round;
    - each of trials is `{trial, state, reason, chosen_by, thawed, strategy, did, env_steps,
      seconds, hypervolume, log_hypervolume, points}`, chosen_by being `first`, `screening`,
      `probe`, `repeat` or the sampler, empty for trials of earlier versions; thawed being the
      rounds with which it went on after it had been given up; did being how often what its
      plan names happened so far, of `{prunings, regrowths_due, regrowths, regrown, rewinds,
      gate_pruned, gate_held, gate_took_back}` those that apply (regrown counts weights), null for
      trials of earlier versions; and points being all of the trial's, like the front's but without
      strategy;
    - each of front is `{point, trial, round, strategy, sparsity, weight_sparsity, nonzero,
      physical, compact, stored_bytes, compact_bytes, macs, cost_missing, compression, RETURN,
      retention, env_steps, checkpoint, final_RETURN, final_retention, than_dense}`, by rising
      sparsity; of its parameters nonzero are not zero (compression is how many times fewer than
      the baseline's), physical are stored, and compact are left by compaction; stored_bytes has the
      policy's file in the checkpoint, critic and zeros among them, and compact_bytes the file that
      `prune-search compact` writes, null for points of earlier versions;
    - each of repeated is a plan that was run with several seeds, `{strategy, trials, collapsed,
      left_out, rounds}`, left_out being its trials that failed or were stopped, and each of rounds
      `{round, sparsity, RETURN, retention, than_dense, seeds_above, seeds_below}` over seeds and
      episodes: return_iqm is the stratified IQM there, return_low and return_high are the ends of
      the 95 % t interval over seeds, and seeds_above and seeds_below count those whose return is
      more and less than the control's (without one, the baseline's);
    - recommended is the front's sparsest point that keeps the retention `search.retention`, on the
      final seeds once they are measured, or the one that keeps most; null without a point.

    RETURN stands for what is told of a policy's return over episodes: `return`, what it counts as
    (`evaluation.aggregate`), `return_low` and `return_high`, the ends of its 95 % bootstrap
    interval, `return_mean`, `return_iqm`, `return_worst`, the mean of the worst tenth of episodes,
    `holds`, the share of episodes whose return is at least `holds_from`, `holds_low` and
    `holds_high`, the ends of its 95 % interval (Wilson's). Final_ stands before each of them.
    Holds_from is the return of the retention `evaluation.holds_at`.
    Log_hypervolume is the share that the points dominate of (log of compression, retention);
    curve is the hypervolume over the env steps of all trials, `[[env_steps, hypervolume], ...]`;
    importances are shares by field of `pruning`, empty for few trials.
    A point's name is what the command line takes, `t03/2`; a trial's is `t03`. Strategy holds the
    plan's fields that are not null; checkpoints are absolute paths. The final figures are from the
    seeds that the search never saw, null until they are measured; final_retention is
    `(final_return - final_random_return) / (final_return of the baseline - final_random_return)`.
    Than_dense is better, worse or undecided: what `statistics.compare` says of the return and the
    control's (without one, the baseline's), wrong in 5 % of cases; undecided wherever there are
    fewer than six of several seeds, null where the returns of episodes were not kept. Cost_missing
    says which figures of cost could not be had, and why; it is empty where all could. A number that
    is not finite is null. Advice is what to change where no search helps, in words.
    """
    baseline, taken = study.baseline, recommended(study)
    return {
        "name": study.name,
        "environment": study.environment,
        "baseline": _baseline(baseline, study) if baseline else None,
        "control": _control(study.control, study) if study.control else None,
        "random_return": _finite(baseline.random.value) if baseline else None,
        "final_random_return": _finite(study.final.random.value) if study.final else None,
        "aggregate": baseline.returned.aggregate if baseline else None,
        "holds_from": _finite(study.bound) if study.bound is not None else None,
        "hypervolume": _finite(study.hypervolume),
        "log_hypervolume": _finite(study.log_hypervolume),
        "env_steps": study.env_steps,
        "env_steps_saved": study.env_steps_saved,
        "curve": [list(item) for item in study.curve],
        "importances": study.importances,
        "trials": [
            {
                "trial": trial.name,
                "state": trial.state,
                "reason": trial.reason,
                "chosen_by": trial.chosen_by,
                "thawed": trial.thawed,
                "strategy": strategy(trial.plan),
                "did": did(trial),
                "env_steps": trial.env_steps,
                "seconds": _finite(trial.seconds),
                "hypervolume": _finite(hypervolume(trial.points)),
                "log_hypervolume": _finite(log_hypervolume(trial.points)),
                "points": [
                    point_json(point, study.folder, study.final, study.bound)
                    for point in trial.points
                ],
            }
            for trial in study.trials
        ],
        "front": [
            {
                **point_json(item.point, study.folder, study.final, study.bound),
                "strategy": strategy(item.plan),
                "than_dense": item.than_dense,
            }
            for item in study.front
        ],
        "repeated": [_repeated(item, study.bound) for item in study.repeated],
        "recommended": taken.point.name if taken else None,
        "advice": _advice(study),
    }


def point_json(
    point: Point, folder: Path, final: FinalRecord | None, bound: float | None
) -> dict[str, Any]:
    """One point in plain types, as `to_json` documents it.

    Args:
        final: the front's returns on the final seeds, once they are measured.
        bound: the return from which on an episode holds.
    """
    kept = kept_finally(point, final)
    return {
        "point": point.name,
        "trial": trial_name(point.trial),
        "round": point.round,
        "sparsity": _finite(point.sparsity),
        "weight_sparsity": _finite(point.weight_sparsity),
        "compression": _finite(point.compression),
        "nonzero": point.nonzero,
        "physical": point.physical,
        "compact": point.compact,
        "stored_bytes": point.stored_bytes,
        "compact_bytes": point.compact_bytes,
        "macs": point.macs,
        "cost_missing": "; ".join(f"{name}: {why}" for name, why in point.cost_missing.items()),
        **returned_json(point.returned, bound),
        "retention": _finite(point.retention),
        "env_steps": point.env_steps,
        "checkpoint": str(folder / point.checkpoint),
        **returned_json(final.points.get(point.name) if final else None, bound, "final_"),
        "final_retention": None if kept is None else _finite(kept),
    }


def strategy(plan: Plan) -> dict[str, Any]:
    """The plan's fields that apply to it."""
    return plan.model_dump(exclude_none=True)


def _advice(study: StudyReport) -> list[str]:
    control, baseline, enough = study.control, study.baseline, study.retention
    fell = fallen(control, baseline, enough) if control and baseline else ""
    return [told for told in (fell, lacking_recovery(study.trials, enough)) if told]


def _baseline(baseline: BaselineRecord, study: StudyReport) -> dict[str, Any]:
    final = study.final.baseline if study.final else None
    return {
        **returned_json(baseline.returned, study.bound),
        **returned_json(final, study.bound, "final_"),
        "parameters": baseline.parameters,
        "weights": baseline.weights,
        "stored_bytes": baseline.stored_bytes,
        "compact_bytes": baseline.compact_bytes,
        "env_steps": baseline.env_steps,
        "train_s": _finite(baseline.train_s),
        "checkpoint": baseline.checkpoint,
        "sampled_by": baseline.sampled_by,
        "updated_by": baseline.updated_by,
    }


def _control(control: ControlRecord, study: StudyReport) -> dict[str, Any]:
    return {
        **returned_json(control.returned, study.bound),
        **returned_json(study.final.control if study.final else None, study.bound, "final_"),
        "retention": _finite(control.retention),
        "round": control.round,
        "retention_of_rounds": [
            _finite(study.baseline.retention(one.value)) if study.baseline else None
            for one in control.rounds
        ],
        "env_steps": control.env_steps,
        "train_s": _finite(control.train_s),
        "checkpoint": control.checkpoint,
    }


def _repeated(plan: Repeated, bound: float | None) -> dict[str, Any]:
    return {
        "strategy": strategy(plan.plan),
        "trials": [trial.name for trial in plan.trials],
        "collapsed": plan.collapsed,
        "left_out": [trial.name for trial in plan.left_out],
        "rounds": [
            {
                "round": one.round,
                "sparsity": _finite(one.sparsity),
                **returned_json(one.returned, bound),
                "retention": _finite(one.retention),
                "than_dense": one.than_dense,
                "seeds_above": one.above,
                "seeds_below": one.below,
            }
            for one in plan.rounds
        ],
    }


def returned_json(
    returned: Return | None, bound: float | None, prefix: str = ""
) -> dict[str, float | None]:
    """What is told of a policy's return over episodes, as `to_json` documents it."""
    held = holding(returned, bound) if returned and bound is not None else None
    figures = {
        "return": returned.value if returned else None,
        "return_low": returned.low if returned else None,
        "return_high": returned.high if returned else None,
        "return_mean": returned.mean if returned else None,
        "return_iqm": returned.iqm if returned else None,
        "return_worst": returned.worst if returned else None,
        "holds": held.share if held else None,
        "holds_low": held.low if held else None,
        "holds_high": held.high if held else None,
    }
    return {f"{prefix}{key}": None if v is None else _finite(v) for key, v in figures.items()}


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
