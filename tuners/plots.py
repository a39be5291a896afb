"""Pictures of a front: return over sparsity, on a scale that tells 95 % from 99 %.

The horizontal axis is the logarithm of compression, labelled with both: 0 %, 50 %, 80 %, 90 %,
95 % are 1x, 2x, 5x, 10x, 20x, about evenly spaced. Matplotlib and Plotly are imported when a
picture is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import log10
from typing import TYPE_CHECKING, Any

from prune_search.pareto import front
from prune_search.record import BaselineRecord, ControlRecord, Point, Return
from tuners.report import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tuners.report import StudyReport

_FRONT, _DENSE, _FLOOR, _FAINT = "#c2410c", "#1f2937", "#6b7280", "#94a3b8"
_TICKS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998, 0.9999)
_FINEST = 1e-6  # density below which points are drawn on the edge: an empty network is at infinity

_WORST = "front, worst tenth of episodes"
_OFFLINE = """<script>if (!window.Plotly) document.body.textContent =
"This page needs cdn.plot.ly, which cannot be reached. front.png shows the same.";</script>"""


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


def front_figure(
    points: Sequence[Point],
    baseline: BaselineRecord,
    floor: float | None = None,
    *,
    control: ControlRecord | None = None,
    final: Mapping[str, Return] | None = None,
    title: str = "",
) -> Figure:
    """A Matplotlib figure of points and of the front among them.

    Args:
        points: all points of a trial or of a study; those off the front are drawn faint.
        baseline: the dense policy, a line with the band of its interval.
        floor: the return below which trials are given up, a dotted line.
        control: the baseline trained on with nothing pruned, a line of dashes and dots.
        final: re-evaluated returns by the point's name, drawn as hollow markers.
        title: above the picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    best, labelled = front(points), ticks(points)
    # Made by hand: pyplot would choose a window system and keep every figure alive.
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.axhspan(baseline.returned.low, baseline.returned.high, color=_DENSE, alpha=0.08, lw=0)
    axes.axhline(
        baseline.returned.value, color=_DENSE, lw=1.2, ls="--", label=_dense(baseline), zorder=1
    )
    if floor is not None:
        axes.axhline(floor, color=_FLOOR, lw=1.2, ls=":", label=_floor(floor), zorder=1)
    if control is not None:
        value = control.returned.value
        axes.axhline(value, color=_DENSE, lw=1.2, ls="-.", label=_trained_on(control), zorder=1)
    off = _others(points, best)
    _errorbars(axes, off, _FAINT, "other points", alpha=0.6, markersize=4.5)
    if best:
        x, y = _steps(best)
        axes.plot(x, y, color=_FRONT, lw=2, drawstyle="steps-pre", zorder=3)
        _errorbars(axes, best, _FRONT, "front", markersize=6.5, zorder=4)
        x, y = _worst(best)
        axes.plot(x, y, ls="", marker="v", ms=4.5, color=_FRONT, alpha=0.5, label=_WORST, zorder=2)
    again = [(point, final[point.name]) for point in best if final and point.name in final]
    if again:
        axes.plot(
            [position(point.sparsity) for point, _ in again],
            [returned.value for _, returned in again],
            ls="",
            marker="o",
            ms=9,
            mfc="none",
            mec=_DENSE,
            mew=1.4,
            zorder=5,
            label="front, on seeds the search never saw",
        )
    axes.set_xticks([position(tick) for tick in labelled], [_tick(tick) for tick in labelled])
    axes.set_xlim(-0.04, position(labelled[-1]) + 0.04)
    axes.set_xlabel("sparsity and compression of the policy network")
    axes.set_ylabel(f"return ({counted(baseline.returned)}, 95 % interval)")
    axes.grid(color="#e5e7eb", lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    # Below the axes: inside, it would cover points, which lie anywhere.
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    if title:
        axes.set_title(title, loc="left", fontsize=12)
    return figure


def front_html(
    points: Sequence[Point],
    baseline: BaselineRecord,
    floor: float | None = None,
    *,
    control: ControlRecord | None = None,
    final: Mapping[str, Return] | None = None,
    labels: Mapping[int, str] | None = None,
    title: str = "",
    standalone: bool = False,
) -> str:
    """The same picture as an interactive page, with each point's figures under the mouse.

    Args:
        points: as for `front_figure`, like baseline, floor, control, final and title.
        labels: a few words on each trial, by its number.
        standalone: put Plotly's script (4 MB) into the page, so that it opens without a network.
    """
    import plotly.graph_objects as go

    best, labelled, names = front(points), ticks(points), labels or {}
    figure = go.Figure()
    figure.add_trace(_scatter(_others(points, best), names, "other points", _FAINT, 6))
    if best:
        x, y = _steps(best)
        shape = {"shape": "vh", "color": _FRONT, "width": 2.5}
        figure.add_trace(
            go.Scatter(x=x, y=y, mode="lines", line=shape, hoverinfo="skip", showlegend=False)
        )
        figure.add_trace(_scatter(best, names, "front", _FRONT, 9))
        x, y = _worst(best)
        marker = {"symbol": "triangle-down", "size": 7, "color": _FRONT, "opacity": 0.5}
        figure.add_trace(
            go.Scatter(x=x, y=y, mode="markers", name=_WORST, marker=marker, hoverinfo="skip")
        )
    again = [(point, final[point.name]) for point in best if final and point.name in final]
    if again:
        figure.add_trace(
            go.Scatter(
                x=[position(point.sparsity) for point, _ in again],
                y=[returned.value for _, returned in again],
                mode="markers",
                name="front, on seeds the search never saw",
                marker={"symbol": "circle-open", "size": 15, "color": _DENSE},
                text=[
                    f"{point.name} re-evaluated: {returned.value:.4g}"
                    f" [{returned.low:.4g}, {returned.high:.4g}]"
                    for point, returned in again
                ],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    figure.add_hline(
        y=baseline.returned.value,
        line={"dash": "dash", "color": _DENSE, "width": 1.5},
        annotation={"text": _dense(baseline), "yanchor": "bottom"},
    )
    if floor is not None:
        figure.add_hline(
            y=floor,
            line={"dash": "dot", "color": _FLOOR, "width": 1.5},
            annotation={"text": _floor(floor), "yanchor": "bottom"},
        )
    if control is not None:
        figure.add_hline(
            y=control.returned.value,
            line={"dash": "dashdot", "color": _DENSE, "width": 1.5},
            annotation={"text": _trained_on(control), "x": 0, "yanchor": "top"},
        )
    figure.update_layout(
        template="plotly_white",
        title=escape(title),  # Plotly reads HTML, and `<1.5σ` is none
        margin={"l": 60, "r": 20, "t": 60 if title else 20, "b": 60},
        legend={"orientation": "h", "y": -0.2},
        xaxis={
            "title": "sparsity and compression of the policy network",
            "tickvals": [position(tick) for tick in labelled],
            "ticktext": [_tick(tick, "<br>") for tick in labelled],
            "range": [-0.04, position(labelled[-1]) + 0.04],
        },
        yaxis={"title": f"return ({counted(baseline.returned)}, 95 % interval)"},
    )
    if standalone:
        return str(figure.to_html(include_plotlyjs=True))
    return str(figure.to_html(include_plotlyjs="cdn")).replace("</body>", f"{_OFFLINE}</body>")


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
        standalone=True,
    )


def _title(study: StudyReport) -> str:
    return f"{study.name}: {study.environment}, {len(study.trials)} trials"


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


def _errorbars(axes: Any, points: Sequence[Point], color: str, label: str, **style: Any) -> None:
    if not points:
        return
    axes.errorbar(
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


def _scatter(
    points: Sequence[Point], names: Mapping[int, str], label: str, color: str, size: int
) -> Any:
    import plotly.graph_objects as go

    below, above = _interval(points)
    return go.Scatter(
        x=[position(point.sparsity) for point in points],
        y=[point.returned.value for point in points],
        mode="markers",
        name=label,
        marker={"color": color, "size": size},
        opacity=1.0 if color == _FRONT else 0.55,
        error_y={"array": above, "arrayminus": below, "thickness": 1.2, "width": 3},
        text=[_hover(point, names) for point in points],
        hovertemplate="%{text}<extra></extra>",
    )


def _hover(point: Point, names: Mapping[int, str]) -> str:
    returned = point.returned
    lines = [
        f"<b>{point.name}</b> {escape(names.get(point.trial, ''))}",
        f"sparsity {point.sparsity:.2%} ({point.nonzero:,} of {point.parameters:,} left)",
        f"return {returned.value:.4g} [{returned.low:.4g}, {returned.high:.4g}]",
        f"retention {point.retention:.1%}",
        *([f"worst tenth of episodes {returned.worst:.4g}"] if returned.worst is not None else []),
    ]
    return "<br>".join(lines)


def _dense(baseline: BaselineRecord) -> str:
    return f"dense baseline {baseline.returned.value:.4g}"


def _trained_on(control: ControlRecord) -> str:
    return f"dense control {control.returned.value:.4g}"


def _floor(floor: float) -> str:
    return f"floor {floor:.4g}"


def _tick(sparsity: float, newline: str = "\n") -> str:
    return f"{100 * sparsity:g} %{newline}{1 / (1 - sparsity):.0f}×"
