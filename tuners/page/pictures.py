"""The report's pictures, and the tables that belong to them: front, network, layers, course."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from markupsafe import Markup

from prune_search.records.models import Point, TrialRecord
from tuners.page.held import Held
from tuners.page.words import Words
from tuners.plots.course import OTHERS, course_figure, course_svg
from tuners.plots.front import DENSE, FAINT, FLOOR, FRONT, front_figure, hovered
from tuners.plots.network import network_svg
from tuners.report.phrases import interval
from tuners.report.recommendation import recommended
from tuners.report.study_report import FrontPoint, StudyReport
from tuners.words import outcome

COLORS = {"front": FRONT, "dense": DENSE, "floor": FLOOR, "faint": FAINT, "others": OTHERS}
_POINTS, _LINES = 300, 60  # beyond which points off the front, and trials, are thinned
_SHORT, _KERNELS = 4, 10  # kernels of which two networks fit side by side, and that are drawn
_SIZE = (4.9, 3.4)  # inches: texts can be read on a telephone as on paper
_TALL = (4.9, 4.4)

T = TypeVar("T")


def front(study: StudyReport, t: Words) -> dict[str, Any]:
    """The front: its picture, its key, its table; empty without a point."""
    baseline = study.baseline
    if not study.front or baseline is None or study.floor is None:
        return {}
    best = {item.point.name for item in study.front}
    others = [point for point in study.points if point.name not in best]
    drawn = thinned(others, _POINTS)
    points = [*(item.point for item in study.front), *drawn]
    plans = {trial.number: trial.plan.label for trial in study.trials}

    def told(point: Point) -> str:
        return t(
            "hover_point",
            point=point.name,
            plan=plans[point.trial],
            sparsity=f"{point.sparsity:.2%}",
            nonzero=f"{point.nonzero:,}",
            parameters=f"{point.parameters:,}",
            returned=interval(point.returned),
            retention=f"{point.retention:.1%}",
        )

    figure = front_figure(
        points,
        baseline,
        study.floor,
        control=study.control,
        final=study.finals,
        size=_SIZE,
        worded=False,
    )
    counted, control = t(f"counted_{baseline.returned.aggregate}"), study.control
    columns, rows = _front_table(study, t)
    return {
        "picture": Markup(hovered(figure, points, told)),
        "across": t("front_across", counted=counted, episodes=baseline.returned.episodes),
        "thinned": t("front_thinned", shown=len(drawn), all=f"{len(others):,}")
        if len(drawn) < len(others)
        else "",
        "baseline": t("key_baseline", returned=f"{baseline.returned.value:.4g}"),
        "control": t("key_control", returned=f"{control.returned.value:.4g}") if control else "",
        "floor": t("key_floor", floor=f"{study.floor:.4g}"),
        "worst": any(item.point.returned.worst is not None for item in study.front),
        "final": study.final is not None,
        "columns": columns,
        "rows": rows,
    }


def _front_table(study: StudyReport, t: Words) -> tuple[list[tuple[str, str]], list[Any]]:
    taken, final = recommended(study), study.final is not None
    dense = t("short_control" if study.control else "short_baseline")
    columns = [
        (t("column_point"), "name"),
        (t("column_sparsity"), "n"),
        (t("column_smaller"), "n"),
        (t("column_return"), "n"),
        *([(t("column_final"), "n")] if final else []),
        (t("column_kept" if final else "column_retention"), "n"),
        (t("column_verdict", dense=dense), ""),
        (t("column_plan"), "wrap"),
    ]

    def cells(item: FrontPoint) -> list[str]:
        point = item.point
        return [
            point.name,
            f"{point.sparsity:.2%}",
            f"{point.compression:.1f}×",
            interval(point.returned),
            *([interval(item.final) if item.final else ""] if final else []),
            f"{study.kept(point):.1%}",
            t(f"short_{item.than_dense}") if item.than_dense else "",
            item.plan.label,
        ]

    rows = [
        {"taken": taken is not None and item.point == taken.point, "cells": cells(item)}
        for item in study.front
    ]
    return columns, rows


def network(one: Held, t: Words) -> dict[str, Any]:
    """The network before and after; or why it is not drawn."""
    known = one.networks
    if known is None:
        missing = one.networks_missing
        return {"missing": t("network_missing", why=missing) if missing else t("network_none")}
    if len(known.dense) > _KERNELS:
        return {"missing": t("network_deep", kernels=len(known.dense))}
    before = sum(kernel.nonzero for kernel in known.dense)
    after = sum(kernel.nonzero for kernel in known.pruned)
    return {
        "long": len(known.dense) > _SHORT,
        "before": t("network_before", weights=f"{before:,}"),
        "after": t("network_after", point=known.point, weights=f"{after:,}"),
        "dense": Markup(network_svg(known.dense, known.dense)),
        "pruned": Markup(network_svg(known.pruned, known.dense)),
    }


def layers(one: Held, study: StudyReport, t: Words) -> dict[str, Any]:
    """The sparsity of each layer of the recommended point; empty without one."""
    taken = recommended(study)
    if taken is None:
        return {}
    dense = {kernel.name: kernel for kernel in one.networks.dense} if one.networks else {}
    left = {kernel.name: kernel for kernel in one.networks.pruned} if one.networks else {}
    return {
        "note": t("layers_note", point=taken.point.name),
        "counted": bool(dense),
        "rows": [
            {
                "name": name,
                "share": share,
                "told": f"{share:.1%}",
                "before": f"{dense[name].weights:,}" if name in dense else "",
                "left": f"{left[name].nonzero:,}" if name in left else "",
            }
            for name, share in taken.point.layers.items()
        ],
    }


def course(study: StudyReport, t: Words) -> dict[str, Any]:
    """Return and sparsity of the trials while they are pruned; empty without a point."""
    baseline, taken = study.baseline, recommended(study)
    if baseline is None or taken is None:
        return {}
    front = {item.point.trial for item in study.front}
    pruned = [trial for trial in study.trials if trial.points]
    chosen = [trial for trial in pruned if trial.number in front]
    chosen += thinned([trial for trial in pruned if trial.number not in front], _LINES)

    def told(trial: TrialRecord) -> str:
        state = outcome(trial).replace(" ", "_")
        return t(
            "hover_trial",
            trial=trial.name,
            plan=trial.plan.label,
            rounds=len(trial.points),
            outcome=t(f"state_{state}"),
        )

    figure = course_figure(chosen, baseline, taken=taken.point.trial, front=front, size=_TALL)
    thin = len(chosen) < len(pruned)
    by = next(trial for trial in chosen if trial.number == taken.point.trial)
    return {
        "picture": Markup(course_svg(figure, chosen, told)),
        "thinned": t("course_thinned", shown=len(chosen), all=f"{len(pruned):,}") if thin else "",
        "taken": t("key_taken", trial=by.name),
    }


def thinned(items: Sequence[T], most: int) -> list[T]:
    """At most so many of them, evenly spaced.

    >>> thinned([0, 1, 2, 3, 4, 5], 3)
    [0, 2, 4]
    """
    return list(items[:: -(-len(items) // most)]) if len(items) > most else list(items)
