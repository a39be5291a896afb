"""Pictures of a sensitivity scan: retention over the share of one layer that was removed.

The horizontal axis is that of `tuners.plots.front`, the logarithm of what is left, so that 95 %
and 99 % are as far apart as 0 % and 80 %. Matplotlib and Plotly are imported when a picture is
drawn.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from prune_search.records.layer_curves import SensitivityPoint, SensitivityRecord
from prune_search.records.returns import Return, retention_of
from tuners.plots.front import position

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which those who see red and green alike can tell apart, yellow left out.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
_STYLES = (("-", "solid", "o"), ("--", "dash", "s"), (":", "dot", "^"), ("-.", "dashdot", "D"))
_DENSE, _RANDOM = "#1f2937", "#6b7280"
_MARGIN = 0.05  # least share of the vertical axis above the dense policy and below random actions


def sensitivity_figure(record: SensitivityRecord) -> Figure:
    """A Matplotlib figure with one line a layer, and the intervals of its points."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Made by hand: pyplot would choose a window system and keep every figure alive.
    rows = -(-len(record.points) // 2)
    figure = Figure(figsize=(8, 4.6 + 0.2 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.axhline(1.0, color=_DENSE, lw=1.2, ls="--", zorder=1)
    axes.axhline(0.0, color=_RANDOM, lw=1.2, ls=":", zorder=1)
    for number, layer in enumerate(record.points):
        points = _distinct(record, layer)
        line, _, marker = _STYLES[number // len(_COLORS) % len(_STYLES)]
        below, above = _interval(record, points)
        axes.errorbar(
            [0.0, *(position(point.ratio) for point in points)],
            [1.0, *(point.retention for point in points)],
            yerr=([0.0, *below], [0.0, *above]),
            color=_COLORS[number % len(_COLORS)],
            ls=line,
            lw=1.8,
            marker=marker,
            ms=5,
            mew=0,
            elinewidth=1.0,
            capsize=2,
            alpha=0.9,
            label=_label(layer),
            zorder=3,
        )
    ticks = _ticks(record)
    edge = position(ticks[-1])
    for value, text in ((1.0, "dense"), (0.0, "random actions")):
        axes.annotate(
            text,
            (edge, value),
            xytext=(4, 3),
            textcoords="offset points",
            ha="right",
            fontsize=8,
            color=_RANDOM,
        )
    axes.set_xticks([position(tick) for tick in ticks], [f"{100 * tick:g} %" for tick in ticks])
    axes.set_xlim(-0.03, edge + 0.03)
    axes.set_ylim(*_limits(record))
    axes.set_xlabel(f"removed of this layer alone ({_unit(record)})")
    axes.set_ylabel("retention (95 % interval)")
    axes.grid(color="#e5e7eb", lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(_title(record), loc="left", fontsize=12)
    # Below the axes: inside, it would cover lines, which go anywhere.
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def sensitivity_html(record: SensitivityRecord) -> str:
    """The same as an interactive page, which opens without a network."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for number, layer in enumerate(record.points):
        points = _distinct(record, layer)
        _, dash, _ = _STYLES[number // len(_COLORS) % len(_STYLES)]
        below, above = _interval(record, points)
        color = _COLORS[number % len(_COLORS)]
        figure.add_trace(
            go.Scatter(
                x=[0.0, *(position(point.ratio) for point in points)],
                y=[1.0, *(point.retention for point in points)],
                mode="lines+markers",
                name=escape(_label(layer)),
                line={"color": color, "dash": dash, "width": 2},
                error_y={
                    "array": [0.0, *above],
                    "arrayminus": [0.0, *below],
                    "thickness": 1,
                    "width": 3,
                },
                text=["dense", *(_hover(layer, point) for point in points)],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    for value, text, dash in ((1.0, "dense", "dash"), (0.0, "random actions", "dot")):
        figure.add_hline(
            y=value,
            line={"dash": dash, "color": _RANDOM, "width": 1.5},
            annotation={"text": text, "yanchor": "bottom"},
        )
    ticks = _ticks(record)
    figure.update_layout(
        template="plotly_white",
        title=escape(_title(record)),
        legend={"orientation": "h", "y": -0.2},
        xaxis={
            "title": f"removed of this layer alone ({_unit(record)})",
            "tickvals": [position(tick) for tick in ticks],
            "ticktext": [f"{100 * tick:g} %" for tick in ticks],
        },
        yaxis={"title": "retention (95 % interval)", "range": list(_limits(record))},
    )
    return str(figure.to_html(include_plotlyjs=True))


def _distinct(record: SensitivityRecord, layer: str) -> list[SensitivityPoint]:
    """A layer's points without those that repeat the one before."""
    return list({point.ratio: point for point in record.points[layer]}.values())


def _retention(record: SensitivityRecord, returned: float) -> float:
    return retention_of(returned, record.dense, record.random)


def _interval(
    record: SensitivityRecord, points: list[SensitivityPoint]
) -> tuple[list[float], list[float]]:
    """Lengths of the interval below and above each retention."""

    def ends(returned: Return) -> tuple[float, float]:
        return _retention(record, returned.low), _retention(record, returned.high)

    pairs = [(point.retention, *ends(point.returned)) for point in points]
    return (
        [max(at - low, 0.0) for at, low, _ in pairs],
        [max(high - at, 0.0) for at, _, high in pairs],
    )


def _limits(record: SensitivityRecord) -> tuple[float, float]:
    """From random actions to the dense policy, and as far beyond as points lie."""
    values = [point.retention for points in record.points.values() for point in points]
    return min([0.0, *values]) - _MARGIN, max([1.0, *values]) + _MARGIN


def _ticks(record: SensitivityRecord) -> list[float]:
    """The ratios to label, from 0 to the first beyond what was reached."""
    points = [point for each in record.points.values() for point in each]
    furthest = max((point.ratio for point in points), default=0.0)
    asked = sorted({point.asked for point in points})
    inside = [ratio for ratio in asked if ratio < furthest]
    return [0.0, *inside, *asked[len(inside) : len(inside) + 1]]


def _label(layer: str) -> str:
    return layer.removesuffix(".weight")


def _unit(record: SensitivityRecord) -> str:
    whole = {"neuron": "neurons", "filter": "filters"}
    return f"share of its {whole.get(record.granularity, 'weights')}"


def _title(record: SensitivityRecord) -> str:
    return (
        f"{record.environment}: one layer pruned, no training"
        f" ({record.granularity}/{record.criterion}, {record.episodes} episodes)"
    )


def _hover(layer: str, point: SensitivityPoint) -> str:
    returned = point.returned
    lines = [
        f"<b>{escape(layer)}</b>",
        f"removed {point.ratio:.2%} (asked {point.asked:.0%})",
        f"retention {point.retention:.1%}",
        f"return {returned.value:.4g} [{returned.low:.4g}, {returned.high:.4g}]",
    ]
    return "<br>".join(lines)
