"""Pictures of a search: what it found for its env steps, and which choices mattered."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tuners.words import count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDEST = 120  # letters of a note beside each other
_LINE, _BAR = "#c2410c", "#475569"
_ARMS = (_LINE, "#f59e0b", "#0f766e", "#2563eb", _BAR, "#a21caf", "#111827")


def curve_figure(curve: Sequence[tuple[int, float]], title: str = "") -> Figure:
    """The hypervolume of the study's front over the env steps of its trials.

    Args:
        curve: (env steps, hypervolume), as `pareto.hypervolume_curve` gives it.
        title: above the picture.
    """
    figure = _figure(4.0)
    axes = figure.add_subplot()
    axes.plot(
        [0, *(steps for steps, _ in curve)],
        [0.0, *(value for _, value in curve)],
        color=_LINE,
        lw=2,
        drawstyle="steps-post",
    )
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("env steps of all trials")
    axes.set_ylabel("hypervolume of the front")
    axes.grid(color="#e5e7eb", lw=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, loc="left", fontsize=12)
    return figure


def importances_figure(importances: Mapping[str, float], title: str = "") -> Figure:
    """Which fields mattered, a bar each, the most on top.

    Args:
        importances: as `optuna_study.importances` gives them.
        title: above the picture.
    """
    figure = _figure(1.2 + 0.35 * len(importances))
    axes = figure.add_subplot()
    bars = axes.barh(list(importances)[::-1], list(importances.values())[::-1], color=_BAR)
    axes.bar_label(bars, fmt="{:.0%}", padding=3)
    axes.set_xlim(0, 1.1 * max(importances.values()))
    axes.set_xticks([])
    axes.set_xlabel("importance (PED-ANOVA)")
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.set_title(title, loc="left", fontsize=12)
    return figure


def benchmark_figure(
    curves: Mapping[str, Sequence[Sequence[tuple[int, float]]]],
    env_steps: int,
    title: str = "",
    notes: Sequence[str] = (),
) -> Figure:
    """Hypervolume over env steps of several searches: the median over seeds, and the quartiles.

    Args:
        curves: by the search's name, a curve for each seed; may be empty.
        env_steps: up to which it is drawn.
        title: above the picture.
        notes: lines below it.
    """
    import numpy as np

    lines = [line for note in notes for line in textwrap.wrap(note, _WIDEST)]
    figure = _figure(4.5 + 0.15 * len(lines))
    axes = figure.add_subplot()
    at = np.linspace(0, env_steps, 400)
    for (name, each), color in zip(curves.items(), _ARMS, strict=False):
        values = np.array(
            [[next((v for s, v in curve[::-1] if s <= x), 0.0) for x in at] for curve in each]
        )
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
        axes.plot(at, middle, color=color, lw=2, label=f"{name} ({count(len(each), 'seed')})")
        axes.fill_between(at, low, high, color=color, alpha=0.15, lw=0)
    axes.set_xlim(0, env_steps)
    # What tells searches apart happens near the top.
    ends = [[one[-1][1] if one else 0.0 for one in each] for each in curves.values()]
    axes.set_ylim(bottom=0.8 * min((min(each, default=0.0) for each in ends), default=0.0))
    axes.set_xlabel("env steps of all trials")
    if lines:
        figure.supxlabel("\n".join(lines), fontsize=8)
    axes.set_ylabel("hypervolume of the front")
    axes.set_title(title, loc="left", fontsize=12)
    axes.grid(color="#e5e7eb", lw=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    return figure


def _figure(height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
