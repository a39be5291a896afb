"""Plots in characters, for terminals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prune_search.records.models import BaselineRecord
from tuners.plots.front import position, ticks
from tuners.report.study_report import StudyReport
from tuners.words import joined

if TYPE_CHECKING:
    from rich.console import RenderableType


def front_plot(study: StudyReport, baseline: BaselineRecord, width: int) -> RenderableType:
    """A plot in characters: return over sparsity, spaced as in `tuners.plots.front`."""
    import plotext
    from rich.text import Text

    width = min(width, 100)
    best = [item.point for item in study.front]
    labelled = ticks(study.points)
    edge = position(labelled[-1])
    figure = plotext.figure.clear().theme("colorless")
    figure.plot_size(width, 20)  # so that rows between labels are even
    dense = [edge * column / width for column in range(width + 1)]
    figure.draw(figure.signal(dense, [baseline.returned.value] * len(dense), marker="┈"))
    if study.control:
        figure.draw(figure.signal(dense, [study.control.returned.value] * len(dense), marker="╌"))
    # The front last, on top of all that it shares a character with.
    for points, marker in ((study.points, "·"), (best, "●")):
        figure.draw(
            figure.signal(
                [position(point.sparsity) for point in points],
                [point.returned.value for point in points],
                marker=marker,
            )
        )
    ruler = figure.ruler("x", "lower")
    ruler.lim(0, edge)
    ruler.ticks([position(tick) for tick in labelled], [f"{100 * tick:g}%" for tick in labelled])
    text = Text.from_ansi(str(figure.build()).rstrip())
    text.highlight_regex("●", "bold red")
    text.highlight_regex("[┈╌]", "dim")
    legend = [
        "return over sparsity",
        "● front",
        "· other points",
        f"┈ dense {baseline.returned.value:.4g}",
    ]
    if study.control:
        legend.append(f"╌ trained on {study.control.returned.value:.4g}")
    text.append("\n" + joined(legend, "   ", width), "dim")
    return text


def hypervolume_plot(study: StudyReport, width: int) -> RenderableType:
    """A plot in characters: the front's hypervolume over the env steps of all trials."""
    import plotext
    from rich.text import Text

    figure = plotext.figure.clear().theme("colorless")
    figure.plot_size(min(width, 100), 12)
    last = study.curve[-1][0]
    columns = [last * column / width for column in range(width + 1)]
    values = [max((v for at, v in study.curve if at <= column), default=0.0) for column in columns]
    figure.draw(figure.signal(columns, values, marker="·"))
    marks = [last * quarter // 4 for quarter in range(5)]
    figure.ruler("x", "lower").ticks(marks, [f"{mark:,}" for mark in marks])
    text = Text.from_ansi(str(figure.build()).rstrip())
    text.append("\nhypervolume of the front over env steps of all trials", "dim")
    return text
