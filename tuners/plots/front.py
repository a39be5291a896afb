"""Pictures of a front: return over sparsity, on a scale that tells 95 % from 99 %.

The horizontal axis is the logarithm of compression, labelled with both: 0 %, 50 %, 80 %, 90 %,
95 % are 1x, 2x, 5x, 10x, 20x, about evenly spaced. Matplotlib is imported when a picture is drawn.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import islice
from math import log10
from typing import TYPE_CHECKING, Any

from prune_search.records.fronts import front
from prune_search.records.models import BaselineRecord, ControlRecord, Point
from prune_search.records.returns import Return
from tuners.plots.vectors import drawn
from tuners.report.phrases import counted
from tuners.words import count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tuners.report.study_report import StudyReport

FRONT, DENSE, FLOOR, FAINT = "#c2410c", "#1f2937", "#6b7280", "#94a3b8"
"""Colours: of the front, of the dense policy, of the return that gives trials up, of the rest."""
_TICKS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998, 0.9999)
_COLUMNS = 3  # of the legend
_FINEST = 1e-6  # density below which points are drawn on the edge: an empty network is at infinity

_WORST = "front, worst tenth of episodes"
_FRONT_ID, _OFF_ID = "front-points", "other-points"
_USE = re.compile(r"<use [^>]*/>")
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ margin: 1rem; font-family: sans-serif; }}
svg {{ width: 100%; height: auto; max-height: 95vh; }}
use:hover {{ stroke: #1f2937 !important; stroke-width: 2px !important; }}
</style>
</head>
<body>
{picture}
</body>
</html>
"""


def position(sparsity: float) -> float:
    """Where a sparsity lies on the horizontal axis: log10 of the compression.

    >>> round(position(0.99), 6)
    2.0
    """
    return -log10(max(1.0 - sparsity, _FINEST))


def ticks(points: Sequence[Point]) -> list[float]:
    """The sparsities to label, from 0 to the first label beyond the sparsest point."""
    furthest = max((point.sparsity for point in points), default=0.9)
    inside = [tick for tick in _TICKS if tick < furthest]
    return [*inside, *_TICKS[len(inside) : len(inside) + 1]]


def tick_label(sparsity: float) -> str:
    """Of an axis: `99.5 %`."""
    return f"{100 * sparsity:g} %"


def front_figure(
    points: Sequence[Point],
    baseline: BaselineRecord,
    floor: float | None = None,
    *,
    control: ControlRecord | None = None,
    final: Mapping[str, Return] | None = None,
    title: str = "",
    size: tuple[float, float] = (8, 5),
    worded: bool = True,
) -> Figure:
    """A Matplotlib figure of points and of the front among them.

    Args:
        points: all points of a trial or of a study; those off the front are drawn faint.
        baseline: the dense policy, a line with the band of its interval.
        floor: the return below which trials are given up, a dotted line.
        control: the baseline trained on with nothing pruned, a line of dashes and dots.
        final: re-evaluated returns by the point's name, drawn as hollow markers.
        title: above the picture.
        size: width and height in inches.
        worded: with a legend and names of the axes; without, nothing in it is of a language.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    best, labelled = front(points), ticks(points)
    # Made by hand: pyplot would choose a window system and keep every figure alive.
    figure = Figure(figsize=size)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.axhspan(baseline.returned.low, baseline.returned.high, color=DENSE, alpha=0.08, lw=0)
    axes.axhline(
        baseline.returned.value, color=DENSE, lw=1.2, ls="--", label=_dense(baseline), zorder=1
    )
    if floor is not None:
        axes.axhline(floor, color=FLOOR, lw=1.2, ls=":", label=_floor(floor), zorder=1)
    if control is not None:
        value = control.returned.value
        axes.axhline(value, color=DENSE, lw=1.2, ls="-.", label=_trained_on(control), zorder=1)
    off = _others(points, best)
    _errorbars(axes, off, FAINT, "other points", _OFF_ID, alpha=0.6, markersize=4.5)
    if best:
        x, y = _steps(best)
        axes.plot(x, y, color=FRONT, lw=2, drawstyle="steps-pre", zorder=3)
        _errorbars(axes, best, FRONT, "front", _FRONT_ID, markersize=6.5, zorder=4)
        x, y = _worst(best)
        axes.plot(x, y, ls="", marker="v", ms=4.5, color=FRONT, alpha=0.5, label=_WORST, zorder=2)
    again = [(point, final[point.name]) for point in best if final and point.name in final]
    if again:
        axes.plot(
            [position(point.sparsity) for point, _ in again],
            [returned.value for _, returned in again],
            ls="",
            marker="o",
            ms=9,
            mfc="none",
            mec=DENSE,
            mew=1.4,
            zorder=5,
            label="front, on seeds the search never saw",
        )
    names = [f"{tick_label(tick)}\n{1 / (1 - tick):.0f}×" for tick in labelled]
    axes.set_xticks([position(tick) for tick in labelled], names)
    axes.set_xlim(-0.04, position(labelled[-1]) + 0.04)
    axes.grid(color="#e5e7eb", lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if worded:
        axes.set_xlabel("sparsity and compression of the policy network")
        axes.set_ylabel(f"return ({counted(baseline.returned)}, 95 % interval)")
        # Below the axes: inside, it would cover points, which lie anywhere.
        figure.legend(loc="lower center", ncols=_COLUMNS, frameon=False, fontsize=9)
    if title:
        # Without y Matplotlib measures all texts again for where it may stand: a fifth of the time.
        axes.set_title(title, loc="left", fontsize=12, y=1.0)
    entries = len(axes.get_legend_handles_labels()[1]) if worded else 0
    _leave_room(figure, worded, title != "", -(-entries // _COLUMNS))
    return figure


def _leave_room(figure: Figure, worded: bool, titled: bool, rows: int) -> None:
    """Margins for the texts around the axes.

    Matplotlib's layouts would find them by drawing, which takes longer than the picture itself, of
    which a study of short trials has many.
    """
    width, height = figure.get_size_inches()
    low, high = figure.axes[0].get_ylim()
    digits = max(len(f"{value:.0f}") for value in (low, high)) + (3 if high - low < 10 else 0)
    left, bottom = (0.45, 0.78) if worded else (0.15, 0.5)
    figure.subplots_adjust(
        left=(left + 0.1 * digits) / width,
        right=1 - 0.32 / width,
        bottom=(bottom + 0.2 * rows) / height,
        top=1 - (0.38 if titled else 0.12) / height,
    )


def front_html(
    points: Sequence[Point],
    baseline: BaselineRecord,
    floor: float | None = None,
    *,
    control: ControlRecord | None = None,
    final: Mapping[str, Return] | None = None,
    labels: Mapping[int, str] | None = None,
    title: str = "",
) -> str:
    """The same picture as a page, with each point's figures under the mouse.

    Vectors and no script: it opens without a network, and is small enough for every trial.

    Args:
        points: as for `front_figure`, like baseline, floor, control, final and title.
        labels: a few words on each trial, by its number.
    """
    figure = front_figure(points, baseline, floor, control=control, final=final, title=title)
    picture = hovered(figure, points, lambda point: _hover(point, labels or {}))
    return _PAGE.format(title=escape(title), picture=picture)


def hovered(figure: Figure, points: Sequence[Point], told: Callable[[Point], str]) -> str:
    """The SVG of a front's figure, with what is told of each of its points under the mouse."""
    picture, best = drawn(figure), front(points)
    for group, of in ((_OFF_ID, _others(points, best)), (_FRONT_ID, best)):
        picture = _with_titles(picture, group, [told(point) for point in of])
    return picture


def study_figure(study: StudyReport) -> Figure:
    """A study's points and front; it must have a baseline."""
    assert study.baseline is not None
    return front_figure(
        study.points,
        study.baseline,
        study.floor,
        control=study.control,
        final=study.finals,
        title=_title(study),
    )


def study_html(study: StudyReport) -> str:
    """The same as a page that opens without a network."""
    assert study.baseline is not None
    return front_html(
        study.points,
        study.baseline,
        study.floor,
        control=study.control,
        final=study.finals,
        labels={trial.number: trial.plan.label for trial in study.trials},
        title=_title(study),
    )


def _title(study: StudyReport) -> str:
    return f"{study.name}: {study.environment}, {count(len(study.trials), 'trial')}"


def _others(points: Sequence[Point], best: Sequence[Point]) -> list[Point]:
    chosen = {point.name for point in best}
    return [point for point in points if point.name not in chosen]


def _steps(best: Sequence[Point]) -> tuple[list[float], list[float]]:
    """The edge of what the front attains: at any sparsity, the return of the next sparser point."""
    return (
        [0.0, *(position(point.sparsity) for point in best)],
        [best[0].returned.value, *(point.returned.value for point in best)],
    )


def _worst(best: Sequence[Point]) -> tuple[list[float], list[float]]:
    """Where the worst tenth of each point's episodes lies, of those whose episodes were kept."""
    kept = [(p, worst) for p in best if (worst := p.returned.worst) is not None]
    return [position(point.sparsity) for point, _ in kept], [worst for _, worst in kept]


def _interval(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    """Lengths of the interval below and above each return."""
    return (
        [max(point.returned.value - point.returned.low, 0.0) for point in points],
        [max(point.returned.high - point.returned.value, 0.0) for point in points],
    )


def _errorbars(
    axes: Any, points: Sequence[Point], color: str, label: str, group: str, **style: Any
) -> None:
    if not points:
        return
    markers, _, _ = axes.errorbar(
        [position(point.sparsity) for point in points],
        [point.returned.value for point in points],
        yerr=_interval(points),
        fmt="o",
        color=color,
        mew=0,
        elinewidth=1.2,
        capsize=2.5,
        label=label,
        **style,
    )
    markers.set_gid(group)


def _with_titles(picture: str, group: str, titles: Sequence[str]) -> str:
    """An SVG in which each marker of a group has a title, which browsers show under the mouse."""
    if not titles:
        return picture
    start = picture.index(f'<g id="{group}">')
    # Markers are the group's only uses of a path, in the order of the points.
    end = [use.end() for use in islice(_USE.finditer(picture, start), len(titles))]
    uses = [
        f"{picture[before:after].rstrip().removesuffix('/>')}><title>{escape(title)}</title></use>"
        for before, after, title in zip([start, *end], end, titles, strict=False)
    ]
    return "".join([picture[:start], *uses, picture[end[-1] :]])


def _hover(point: Point, names: Mapping[int, str]) -> str:
    returned = point.returned
    lines = [
        f"{point.name} {names.get(point.trial, '')}".rstrip(),
        f"sparsity {point.sparsity:.2%} ({point.nonzero:,} of {point.parameters:,} left)",
        f"return {returned.value:.4g} [{returned.low:.4g}, {returned.high:.4g}]",
        f"retention {point.retention:.1%}",
        *([f"worst tenth of episodes {returned.worst:.4g}"] if returned.worst is not None else []),
    ]
    return "\n".join(lines)


def _dense(baseline: BaselineRecord) -> str:
    return f"dense baseline {baseline.returned.value:.4g}"


def _trained_on(control: ControlRecord) -> str:
    return f"dense control {control.returned.value:.4g}"


def _floor(floor: float) -> str:
    return f"floor {floor:.4g}"
