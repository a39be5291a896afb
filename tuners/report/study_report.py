"""What a study found: as data, and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any

from prune_search.experiment.pruning import Plan
from prune_search.experiment.schema import Experiment
from prune_search.records.folder import (
    BaselineRecord,
    ControlRecord,
    FinalRecord,
    Point,
    Return,
    StudyFolder,
    TrialRecord,
    trial_name,
)
from prune_search.records.fronts import front, hypervolume, hypervolume_curve
from prune_search.records.intervals import Verdict, holding
from tuners.report.recommendation import recommended
from tuners.report.repeats import Repeated, repeated, verdict
from tuners.report.words import count


@dataclass(frozen=True)
class FrontPoint:
    """A point of the study's front, with what is told about it elsewhere."""

    point: Point
    plan: Plan
    """Of its trial."""
    checkpoint: Path
    """Absolute."""
    final: Return | None
    """Its return on the seeds that the search never saw, once it is measured."""
    than_dense: Verdict | None
    """What may be said of its return and `StudyReport.dense`'s: on those seeds, once measured;
    until then on seeds by which the best of many was chosen, and looks better than it is."""


@dataclass(frozen=True)
class StudyReport:
    """What a study has found so far."""

    name: str
    folder: Path
    """The study's; points' checkpoints are relative to it."""
    environment: str
    retention: float
    """The retention that a trial's point must hold, `search.retention`."""
    baseline: BaselineRecord | None
    """None until it is trained."""
    control: ControlRecord | None
    """The baseline trained on with nothing pruned; None until then, or where none is asked for."""
    floor: float | None
    """The return below which trials are given up; None without a baseline."""
    bound: float | None
    """The return from which on an episode holds, that of `evaluation.holds_at`; None likewise."""
    trials: list[TrialRecord]
    front: list[FrontPoint]
    """By rising sparsity."""
    hypervolume: float
    final: FinalRecord | None

    @property
    def points(self) -> list[Point]:
        """Of all trials."""
        return [point for trial in self.trials for point in trial.points]

    @cached_property
    def curve(self) -> list[tuple[int, float]]:
        """Hypervolume of the front over the env steps of all trials."""
        return hypervolume_curve(self.trials)

    @cached_property
    def importances(self) -> dict[str, float]:
        """How much each searched field mattered, the most first; empty for few trials."""
        from tuners.search.database import importances

        return importances(StudyFolder(self.folder.parent, self.name))

    @cached_property
    def repeated(self) -> list[Repeated]:
        """Plans that were run with several seeds."""
        if self.baseline is None:
            return []
        dense = self.control or self.baseline
        return repeated(self.trials, self.baseline, dense.returned)

    @property
    def dense(self) -> str:
        """What points are compared with: the dense control, or without one the baseline."""
        return "dense control" if self.control else "dense baseline"

    @property
    def env_steps(self) -> int:
        """Env steps of all trials; the baseline's are not among them."""
        return sum(trial.env_steps for trial in self.trials)

    @property
    def env_steps_saved(self) -> int:
        """Env steps that stopped trials did not use of their budgets."""
        return sum(trial.env_steps_saved for trial in self.trials)

    @property
    def finals(self) -> dict[str, Return]:
        """Re-evaluated returns by the point's name; empty before the re-evaluation."""
        return self.final.points if self.final else {}


def report(folder: StudyFolder, experiment: Experiment) -> StudyReport:
    """Reads a study's records; at any time, also while it runs."""
    study, trials, final = folder.study(), folder.trials(), folder.final()
    baseline = study.baseline if study else None
    control = study.control if study else None
    plans = {trial.number: trial.plan for trial in trials}
    points = [point for trial in trials for point in trial.points]

    def on_front(point: Point) -> FrontPoint:
        again = final.points.get(point.name) if final else None
        known = control or baseline
        dense = known.returned if known else None
        seen = again
        if final and again:
            unseen = final.control if control else final.baseline
            dense, seen = (unseen, again) if unseen else (dense, None)
        return FrontPoint(
            point=point,
            plan=plans[point.trial],
            checkpoint=folder.path / point.checkpoint,
            final=again,
            than_dense=verdict([seen or point.returned], dense) if dense else None,
        )

    return StudyReport(
        name=folder.name,
        folder=folder.path,
        environment=experiment.environment.id,
        retention=experiment.search.retention,
        baseline=baseline,
        control=control,
        floor=baseline.return_at(experiment.pruning.floor) if baseline else None,
        bound=baseline.return_at(experiment.evaluation.holds_at) if baseline else None,
        trials=trials,
        front=[on_front(point) for point in front(points)],
        hypervolume=hypervolume(points),
        final=final,
    )


def to_json(study: StudyReport) -> dict[str, Any]:
    """The report in plain types, for `json.dumps`. Keys may be added, never renamed.

    `{name, environment, baseline, control, random_return, aggregate, holds_from, hypervolume,
    env_steps, env_steps_saved, curve, importances, trials, front, repeated, recommended}`, where

    - baseline is null or `{RETURN, final_RETURN, parameters, weights, stored_bytes, compact_bytes,
      env_steps, train_s, checkpoint}`;
    - control is null or `{RETURN, final_RETURN, retention, round, env_steps, train_s, checkpoint}`:
      the baseline trained on for a trial's env steps with nothing pruned, at its best round;
    - each of trials is `{trial, state, reason, strategy, did, env_steps, seconds, hypervolume,
      points}`, did being how often what its plan names happened so far, of `{prunings,
      regrowths_due, regrowths, regrown, rewinds, gate_pruned, gate_held, gate_took_back}` those
      that apply (regrown counts weights), null for trials of earlier versions, and points being all
      of the trial's, like the front's but without strategy;
    - each of front is `{point, trial, round, strategy, sparsity, weight_sparsity, nonzero,
      physical, compact, stored_bytes, compact_bytes, macs, cost_missing, compression, RETURN,
      retention, env_steps, checkpoint, final_RETURN, than_dense}`, by rising sparsity; of its
      parameters nonzero are not zero (compression is how many times fewer than the baseline's),
      physical are stored, and compact are left by compaction; stored_bytes has the policy's file
      in the checkpoint, critic and zeros among them, and compact_bytes the file that
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
    Curve is the hypervolume over the env steps of all trials, `[[env_steps, hypervolume], ...]`;
    importances are shares by field of `pruning`, empty for few trials.
    A point's name is what the command line takes, `t03/2`; a trial's is `t03`. Strategy holds the
    plan's fields that are not null; checkpoints are absolute paths. The final figures are from the
    seeds that the search never saw, null until they are measured. Than_dense is better, worse or
    undecided: what `statistics.compare` says of the return and the control's (without one, the
    baseline's), wrong in 5 % of cases; undecided wherever there are fewer than six of several
    seeds, null where the returns of episodes were not kept. Cost_missing says which figures of cost
    could not be had, and why; it is empty where all could. A number that is not finite is null.
    """
    baseline, taken = study.baseline, recommended(study)
    return {
        "name": study.name,
        "environment": study.environment,
        "baseline": _baseline(baseline, study) if baseline else None,
        "control": _control(study.control, study) if study.control else None,
        "random_return": _finite(baseline.random.value) if baseline else None,
        "aggregate": baseline.returned.aggregate if baseline else None,
        "holds_from": _finite(study.bound) if study.bound is not None else None,
        "hypervolume": _finite(study.hypervolume),
        "env_steps": study.env_steps,
        "env_steps_saved": study.env_steps_saved,
        "curve": [list(item) for item in study.curve],
        "importances": study.importances,
        "trials": [
            {
                "trial": trial.name,
                "state": trial.state,
                "reason": trial.reason,
                "strategy": strategy(trial.plan),
                "did": did(trial),
                "env_steps": trial.env_steps,
                "seconds": _finite(trial.seconds),
                "hypervolume": _finite(hypervolume(trial.points)),
                "points": [
                    point_json(point, study.folder, study.finals.get(point.name), study.bound)
                    for point in trial.points
                ],
            }
            for trial in study.trials
        ],
        "front": [
            {
                **point_json(item.point, study.folder, item.final, study.bound),
                "strategy": strategy(item.plan),
                "than_dense": item.than_dense,
            }
            for item in study.front
        ],
        "repeated": [_repeated(item, study.bound) for item in study.repeated],
        "recommended": taken.point.name if taken else None,
    }


def point_json(
    point: Point, folder: Path, final: Return | None, bound: float | None
) -> dict[str, Any]:
    """One point in plain types, as `to_json` documents it.

    Args:
        final: its return on the final seeds, once measured.
        bound: the return from which on an episode holds.
    """
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
        **returned_json(final, bound, "final_"),
    }


def strategy(plan: Plan) -> dict[str, Any]:
    """The plan's fields that apply to it."""
    return plan.model_dump(exclude_none=True)


def remark(plan: Repeated) -> str:
    """Of its trials, how many collapsed, failed or were stopped: ` (1 collapsed, 2 stopped)`."""
    counts = Counter(trial.state for trial in plan.left_out)
    told = {"collapsed": plan.collapsed, "failed": counts["failed"], "stopped": counts["stopped"]}
    found = ", ".join(f"{number} {word}" for word, number in told.items() if number)
    return f" ({found})" if found else ""


def did(trial: TrialRecord) -> dict[str, int] | None:
    """How often what the trial's plan names has happened; None where its points don't say."""
    plan, whole = trial.plan, trial.did
    if whole is None:
        return None
    fields = ["prunings"]
    if plan.regrowth != "none":
        fields += ["regrowths_due", "regrowths", "regrown"]
    if plan.rewind != "none":
        fields.append("rewinds")
    if plan.schedule == "gated":
        fields += ["gate_pruned", "gate_held", "gate_took_back"]
    return {field: getattr(whole, field) for field in fields}


def did_words(trial: TrialRecord) -> str:
    """`8 of 9 regrowths (120 weights), 2 rewinds`; empty where a plan has no such part."""
    found = did(trial) if trial.points else None
    if not found:
        return ""
    words = []
    if "regrowths" in found:
        done, due, weights = found["regrowths"], found["regrowths_due"], found["regrown"]
        words.append(f"{done} of {count(due, 'regrowth')} ({count(weights, 'weight')})")
    if "rewinds" in found:
        words.append(
            f"{count(found['rewinds'], 'rewind')} in {count(found['prunings'], 'pruning')}"
        )
    if "gate_pruned" in found:
        words.append(
            f"gate pruned {count(found['gate_pruned'], 'time')}, held {found['gate_held']},"
            f" took back {found['gate_took_back']}"
        )
    return ", ".join(words)


def interval(returned: Return) -> str:
    """`472 [455, 490]`: what it counts as, and the 95 % interval of that."""
    return f"{returned.value:.4g} [{returned.low:.4g}, {returned.high:.4g}]"


def missing_costs(points: Sequence[Point]) -> list[str]:
    """Which figures of cost could not be had, why, and of how many points; a line for each."""
    reasons = Counter(item for point in points for item in point.cost_missing.items())
    return [
        f"{name} of {number} of {count(len(points), 'point')}: {why}"
        for (name, why), number in reasons.items()
    ]


def counted(returned: Return) -> str:
    """What a return counts as, for labels: mean or IQM."""
    return {"mean": "mean", "iqm": "IQM"}[returned.aggregate]


def tail(returned: Return, bound: float | None) -> tuple[str, str]:
    """Of its episodes the worst tenth's mean, `10`, and the share that hold, `80% [58, 92]`.

    Empty where the episodes were not kept, or nothing is known to hold them to.
    """
    worst, held = returned.worst, holding(returned, bound) if bound is not None else None
    return (
        "" if worst is None else f"{worst:.4g}",
        f"{held.share:.0%} [{100 * held.low:.0f}, {100 * held.high:.0f}]" if held else "",
    )


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
    }


def _control(control: ControlRecord, study: StudyReport) -> dict[str, Any]:
    return {
        **returned_json(control.returned, study.bound),
        **returned_json(study.final.control if study.final else None, study.bound, "final_"),
        "retention": _finite(control.retention),
        "round": control.round,
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
