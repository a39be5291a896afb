"""Whether a study's plan is worth the search: against its controls, with new training seeds.

All is one more study, from the same dense policy, and a few small dense networks. What is there
is not run again, and what was interrupted goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from pydantic import ValidationError

from prune_search.errors import UserError
from prune_search.experiment.file import describe
from prune_search.experiment.schema import Experiment
from prune_search.plan.plan import Plan
from prune_search.records.folder import StudyFolder
from prune_search.records.intervals import pooled
from prune_search.records.models import BaselineRecord, Point
from prune_search.records.returns import Return, retention_of
from prune_search.storage.replacing import replace_file
from tuners.benchmarks.differences import Ahead
from tuners.benchmarks.search.studies import finished, only
from tuners.benchmarks.tasks.methods import SEARCHED, Method, follows, listed, methods
from tuners.benchmarks.tasks.small_dense import narrowed, small_dense
from tuners.report.recommendation import recommended
from tuners.report.study_report import StudyReport, report

_SEEDS = 10_000
"""Added to the search's seed for trials, and to the baseline's for small networks: far from what
either has used."""
_EVALUATION = 2
"""Added to the seed of the study's final episodes: no choice has seen these."""
_FOUND = "controls.json"


def name_of(study: str) -> str:
    """The name of the study of a study's controls."""
    return f"{study}-controls"


def kept(study: StudyFolder) -> dict[str, Any] | None:
    """What was found of a study's controls, if that was asked for."""
    file = study.path.parent / name_of(study.name) / _FOUND
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def compared(
    folder: StudyFolder,
    study: StudyReport,
    experiment: Experiment,
    seeds: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Runs each method with new training seeds, and a small dense network of as many parameters.

    Args:
        folder: the study's; what was found is kept beside it, for `kept`.
        study: what it found; it is through.
        experiment: the study's.
        seeds: trainings of each, 2 or more.
        say: is told what is trained.

    Returns:
        Plain types: the methods, each with its returns by seed, the searched plan first.

    Raises:
        UserError: the study isn't through, its plan can't be repeated, or a training fails.
    """
    best = recommended(study)
    if study.baseline is None or best is None or study.final is None:
        raise UserError(f"study {study.name!r} is not through yet; let it come to its end")
    point, baseline = best.point, study.baseline
    plan = next(trial.plan for trial in study.trials if trial.number == point.trial)
    if plan.densities is not None:
        raise UserError(
            f"study {study.name!r}: the plan of {point.name} has densities that its search drew,"
            " which no experiment file can ask for"
        )
    trained = baseline.env_steps or experiment.baseline.env_steps
    own, chosen = _experiment(study.name, experiment, plan, point, baseline, seeds)
    say(f"{name_of(study.name)}: {len(chosen)} methods, {seeds} trainings of each")
    controls = finished(own, name_of(study.name), quiet=False)
    found = report(controls, own)
    assert found.baseline is not None
    rows = [_row(found, method, point.round, seeds, trained) for method in chosen]
    steps = trained + plan.env_steps
    small = _small_row(controls, own, point.nonzero, seeds, steps, found.baseline, say)
    if small is None:
        say("no small dense network: this one is of the user's own, and has no widths to choose")
    else:
        rows.append(small)
    for row in rows:
        row["against"] = None if row is rows[0] else list(Ahead.of(rows[0]["each"], row["each"]))
    result = {
        "point": point.name,
        "sparsity": point.sparsity,
        "nonzero": point.nonzero,
        "seeds": seeds,
        "episodes": own.evaluation.episodes,
        "aggregate": own.evaluation.aggregate,
        "dense_return": found.baseline.returned.value,
        "random_return": found.baseline.random.value,
        "methods": rows,
    }
    replace_file(controls.path / _FOUND, json.dumps(result, indent=1).encode())
    return result


def _experiment(
    name: str,
    experiment: Experiment,
    plan: Plan,
    point: Point,
    baseline: BaselineRecord,
    seeds: int,
) -> tuple[Experiment, list[Method]]:
    """The study of the controls, from the study's dense policy as it lies in its storage."""
    trained = baseline.env_steps or experiment.baseline.env_steps
    chosen = methods(plan, point.weight_sparsity, trained, experiment.pruning)
    try:
        pruning, first = listed(experiment.pruning, chosen)
    except ValidationError as error:
        raise UserError(
            f"study {name!r}: its plan and its controls don't combine: {describe(error)}"
        ) from None
    evaluation, search = experiment.evaluation, experiment.search
    sections = {
        "description": f"Controls of {name}.",
        "pruning": pruning,
        "baseline": experiment.baseline.model_copy(
            update={"checkpoint": baseline.checkpoint, "until_return": None, "control": False}
        ),
        "evaluation": evaluation.model_copy(
            update={
                "episodes": evaluation.final_episodes,
                "seed": evaluation.final_seed + _EVALUATION,
            }
        ),
        "search": only(search.model_copy(update={"seed": search.seed + _SEEDS}), first, seeds),
    }
    return experiment.model_copy(update=sections).trusting(), chosen


def _row(
    found: StudyReport, method: Method, round_: int, seeds: int, trained: int
) -> dict[str, Any]:
    """A method over its seeds: the searched plan where its point lay, others at their ends."""
    plan = next((one for one in found.repeated if follows(one.plan, method)), None)
    if plan is None or len(plan.trials) < seeds:
        ended = len(plan.trials) if plan else 0
        raise UserError(
            f"study {found.name!r}: {ended} of {seeds} trainings of {method.name!r} ended;"
            " `prune-search show` says why"
        )
    at = plan.rounds[round_] if method.name == SEARCHED else plan.rounds[-1]
    before = 0 if plan.plan.origin == "scratch" else trained
    return {
        "method": method.name,
        "about": method.about,
        "sparsity": at.sparsity,
        "nonzero": float(np.mean([point.nonzero for point in at.points])),
        "env_steps": before + round(float(np.mean([point.env_steps for point in at.points]))),
        "retention": at.retention,
        **_returned(at.returned, [point.returned.value for point in at.points]),
    }


def _returned(pool: Return, each: Sequence[float]) -> dict[str, Any]:
    return {
        "return": pool.value,
        "iqm": pool.iqm,
        "low": pool.low,
        "high": pool.high,
        "each": list(each),
    }


def _small_row(
    folder: StudyFolder,
    own: Experiment,
    nonzero: int,
    seeds: int,
    steps: int,
    dense: BaselineRecord,
    say: Callable[[str], None],
) -> dict[str, Any] | None:
    """A small dense network over its seeds; None for a network of the user's own."""
    narrow = narrowed(own, nonzero)
    if narrow is None:
        return None
    begin = own.baseline.seed + _SEEDS
    narrow = narrow.model_copy(
        update={"baseline": narrow.baseline.model_copy(update={"checkpoint": None})}
    )
    place = folder.path / "small-dense"
    found = small_dense(narrow, place, range(begin, begin + seeds), steps, say)
    returns = [one.returned for one in found]
    pool = pooled(returns)
    return {
        "method": "small dense network",
        "about": f"hidden layers {found[0].layers}, new weights",
        "sparsity": 0.0,
        "nonzero": float(found[0].parameters),
        "env_steps": round(float(np.mean([one.env_steps for one in found]))),
        "retention": retention_of(pool.value, dense.returned, dense.random),
        **_returned(pool, [returned.value for returned in returns]),
    }
