"""The report's words and tables: what was found, what mattered, trials, sizes, commands."""

from __future__ import annotations

from collections.abc import Callable
from shlex import quote
from typing import Any

from prune_search.records.fronts import delivered, well_posed
from prune_search.records.models import BaselineRecord, Point, TrialRecord
from tuners.commands import command, storage_option
from tuners.page.held import Held
from tuners.page.words import Words
from tuners.report.advice import kept_at_its_end, lacking
from tuners.report.phrases import interval, missing_costs
from tuners.report.recommendation import recommended
from tuners.report.study_report import StudyReport
from tuners.words import outcome

_ROWS = 60  # trials that are listed
_FEW = 30  # trials below which importances are rough
_EPISODES = "100"  # to play a point on that was chosen

Columns = list[tuple[str, str]]


def tiles(study: StudyReport, t: Words) -> list[tuple[str, str]]:
    """The figures of the recommended point that one looks for first."""
    taken = recommended(study)
    if taken is None:
        return []
    found = [
        (f"{taken.sparsity:.1%}", t("tile_sparsity")),
        (f"{taken.point.compression:.1f}×", t("tile_smaller")),
        (f"{taken.retention:.1%}", t("tile_retention")),
    ]
    size = taken.point.compact_bytes
    return found if size is None else [*found, (f"{size:,} B", t("tile_bytes"))]


def found(one: Held, study: StudyReport, t: Words) -> list[str]:
    """What was found, in three lines: the point, how sure that is, and what it took."""
    taken, dense = recommended(study), study.control or study.baseline
    if dense is None:
        return [t("found_no_baseline")]
    if taken is None:
        return [t("found_nothing"), _cost(one, study, t)]
    point = taken.point
    item = next(item for item in study.front if item.point == point)
    first = t(
        "found_holds" if taken.holds else "found_short",
        sparsity=f"{point.sparsity:.1%}",
        point=point.name,
        retention=f"{taken.retention:.1%}",
        wished=f"{taken.wished:.0%}",
        nonzero=f"{point.nonzero:,}",
        parameters=f"{point.parameters:,}",
    )
    returned, beside = item.final or point.returned, dense.returned
    if item.final and study.final:
        unseen = study.final.control if study.control else study.final.baseline
        beside = unseen or beside
    second = t(
        "found_final" if item.final else "found_search",
        episodes=returned.episodes,
        returned=interval(returned),
        dense=t("dense_control" if study.control else "dense_baseline"),
        dense_returned=interval(beside),
        verdict=t(f"verdict_{item.than_dense or 'unknown'}"),
    )
    unsound = study.baseline is not None and not well_posed(study.baseline)
    warned = [t("found_no_gain")] if unsound else []
    if study.control and study.baseline:
        kept = kept_at_its_end(study.control, study.baseline, study.retention)
        if kept is not None:
            warned.append(t("found_fallen", kept=f"{kept:.1%}"))
    if lacks := lacking(study.trials, study.retention):
        warned.append(
            t(
                "found_lacking",
                given_up=f"{lacks.given_up:,}",
                ended=f"{lacks.ended:,}",
                enough=f"{study.retention:.0%}",
                lowest=f"{lacks.lowest:.1%}",
            )
        )
    return [*warned, first, second, _cost(one, study, t)]


def _cost(one: Held, study: StudyReport, t: Words) -> str:
    seconds, saved = one.study.wall_s if one.study else 0.0, study.env_steps_saved
    return t(
        "found_cost",
        trials=f"{len(study.trials):,}",
        env_steps=f"{study.env_steps:,}",
        wall=t("wall", time=_time(seconds)) if seconds else "",
        saved=t("saved", env_steps=f"{saved:,}") if saved else "",
    )


def _time(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours else f"{minutes} min"


def mattered(study: StudyReport, t: Words) -> dict[str, Any]:
    """How much each searched field mattered, and how far that may be trusted."""
    results = sum(trial.ended and not trial.cut_off for trial in study.trials)
    if not study.importances:
        return {"note": t("mattered_none", results=results), "rows": []}
    return {
        "note": t("mattered_note", results=results),
        "caution": t("mattered_few" if results < _FEW else "mattered_many"),
        "rows": [(field, share, f"{share:.0%}") for field, share in study.importances.items()],
    }


def trials(study: StudyReport, t: Words) -> dict[str, Any]:
    """The trials: those of the front, and as many others as there is room for."""
    taken = recommended(study)
    chosen, best = study.trials, {item.point.trial for item in study.front}
    if len(chosen) > _ROWS:
        others = [trial.number for trial in chosen if trial.number not in best]
        shown = best | set(others[: max(0, _ROWS - len(best))])
        chosen = [trial for trial in chosen if trial.number in shown]
    columns: Columns = [
        (t("column_trial"), "name"),
        (t("column_plan"), "wrap"),
        (t("column_rounds"), "n"),
        (t("column_sparsity"), "n"),
        (t("column_return"), "n"),
        (t("column_retention"), "n"),
        (t("column_state"), "wrap"),
    ]

    def cells(trial: TrialRecord) -> list[str]:
        state, figures = t(f"state_{outcome(trial).replace(' ', '_')}"), ["", "", ""]
        if trial.points:
            one = delivered(trial.points, study.retention)
            figures = [f"{one.sparsity:.2%}", interval(one.returned), f"{one.retention:.1%}"]
        rounds = f"{len(trial.points)}/{trial.plan.rounds}"
        remark = f": {trial.remark}" if trial.remark else ""
        return [trial.name, trial.plan.label, rounds, *figures, f"{state}{remark}"]

    few = len(chosen) < len(study.trials)
    whole = f"{len(study.trials):,}"
    return {
        "note": t("trials_note", retention=f"{study.retention:.0%}"),
        "thinned": t("trials_thinned", shown=len(chosen), all=whole) if few else "",
        "columns": columns,
        "rows": [
            {
                "taken": taken is not None and trial.number == taken.point.trial,
                "cells": cells(trial),
            }
            for trial in chosen
        ],
    }


_COSTS: dict[str, Callable[[Point | BaselineRecord], float | None]] = {
    "column_nonzero": lambda one: one.nonzero if isinstance(one, Point) else one.parameters,
    "column_stored": lambda one: one.stored_bytes,
    "column_compact": lambda one: one.compact_bytes,
    "column_packed": lambda one: one.packed_bytes if isinstance(one, Point) else None,
    "column_macs": lambda one: one.macs if isinstance(one, Point) else None,
    "column_latency": lambda one: one.latency_us if isinstance(one, Point) else None,
}


def weigh(study: StudyReport, t: Words) -> dict[str, Any]:
    """What the front's policies weigh and cost, as far as the study knows it."""
    taken, baseline = recommended(study), study.baseline
    if taken is None or baseline is None:
        return {"rows": []}
    points = [item.point for item in study.front]
    known = [name for name in _COSTS if any(_COSTS[name](p) is not None for p in points)]
    unknown = [t(name) for name in _COSTS if name not in known]

    def row(name: str, one: Point | BaselineRecord) -> dict[str, Any]:
        figures = [_COSTS[name](one) for name in known]
        told = [
            "" if f is None else f"{f:,}" if isinstance(f, int) else f"{f:.1f}" for f in figures
        ]
        return {"taken": one == taken.point, "cells": [name, *told]}

    notes = [t("weigh_unknown", figures=", ".join(unknown))] if unknown else []
    notes += [t("weigh_missing", line=line) for line in missing_costs(study.points)]
    return {
        "columns": [(t("column_point"), "name"), *((t(name), "n") for name in known)],
        "rows": [row(t("dense"), baseline), *(row(point.name, point) for point in points)],
        "notes": notes,
    }


def again(one: Held, study: StudyReport, t: Words) -> dict[str, Any]:
    """Commands that give each figure anew."""
    folder, taken = study.folder, recommended(study)
    file = f"{study.name}.html"
    tables = f"{command('show', folder)}\nprune-search show {quote(file)}"
    found = [(t("again_tables"), tables), (t("again_json"), f"{command('show', folder)} --json")]
    if study.baseline:
        found.append((t("again_front"), f"{command('show', folder)} --plot front.svg"))
    found.append((t("again_page"), command("report", folder)))
    if taken:
        seeds = ("--seed", str(study.asked.final_seed), "--episodes", _EPISODES)
        name = taken.point.name
        found.append((t("again_return"), command("evaluate", folder, name, *seeds)))
        files = [command("compact", folder, name), command("export", folder, name, "--to", "c")]
        found.append((t("again_files"), "\n".join(files)))
    if one.experiment:
        run = f"prune-search run experiment.yaml --name {quote(f'{study.name} again')}"
        found.append((t("again_study"), run + storage_option(folder.parent)))
    return {
        "note": t("again_note", folder=folder),
        "commands": found,
        "experiment": one.experiment,
    }
