"""Pictures of trials while they are pruned: return and sparsity over their env steps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from html import escape
from typing import TYPE_CHECKING

from prune_search.records.models import BaselineRecord, TrialRecord
from tuners.plots.front import DENSE, FAINT, FRONT, position, tick_label, ticks
from tuners.plots.vectors import drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OTHERS = "#2563eb"
"""Colour of trials that have a point on the front."""
_STYLES = ((FAINT, 0.9, 0.55), (OTHERS, 1.3, 0.8), (FRONT, 2.2, 1.0))  # colour, width, opacity


def course_figure(
    trials: Sequence[TrialRecord],
    baseline: BaselineRecord,
    *,
    taken: int | None = None,
    front: Collection[int] = (),
    size: tuple[float, float] = (8, 6),
) -> Figure:
    """A Matplotlib figure without words: returns above, sparsities below, a line each trial.

    A trial begins at the baseline's return where it is pruned from the baseline; right after each
    round's pruning its return is that of the hollow marks, which the trial that is taken has.

    Args:
        trials: those to draw.
        baseline: the dense policy, a dashed line.
        taken: the trial whose point is recommended, drawn thickest.
        front: trials that have points on the front.
        size: width and height in inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    above.axhline(baseline.returned.value, color=DENSE, lw=1.2, ls="--", zorder=1)
    ranks = {trial.number: (trial.number in front) + (trial.number == taken) for trial in trials}
    for trial in sorted(trials, key=lambda trial: ranks[trial.number]):
        color, width, alpha = _STYLES[ranks[trial.number]]
        look = {"color": color, "lw": width, "alpha": alpha, "zorder": 2 + ranks[trial.number]}
        start = [baseline.returned.value] if trial.plan.origin == "baseline" else []
        steps = [point.env_steps for point in trial.points]
        begin = [0][: len(start)]
        returns = [*start, *(point.returned.value for point in trial.points)]
        above.plot([*begin, *steps], returns, **look, gid=_gid("return", trial))
        sparsities = [position(point.sparsity) for point in trial.points]
        below.plot([*begin, *steps], [*begin, *sparsities], **look, gid=_gid("sparsity", trial))
        if trial.number == taken:
            above.plot(
                [0, *steps[:-1]],
                [point.return_pruned for point in trial.points],
                ls="",
                marker="o",
                ms=3.5,
                mfc="white",
                mec=color,
                clip_on=False,
                zorder=5,
            )
    labelled = ticks([point for trial in trials for point in trial.points])
    shown = labelled[:: 1 + len(labelled) // 6]
    below.set_yticks([position(tick) for tick in shown], [tick_label(tick) for tick in shown])
    below.set_xlim(left=0)
    below.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    below.locator_params(axis="x", nbins=5)
    for axes in (above, below):
        axes.grid(color="#e5e7eb", lw=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def course_svg(
    figure: Figure, trials: Sequence[TrialRecord], told: Callable[[TrialRecord], str]
) -> str:
    """The figure's SVG, with what is told of each trial under the mouse."""
    picture = drawn(figure)
    for trial in trials:
        title = f"<title>{escape(told(trial))}</title>"
        for what in ("return", "sparsity"):
            group = f'<g id="{_gid(what, trial)}">'
            picture = picture.replace(group, group + title)
    return picture


def _gid(what: str, trial: TrialRecord) -> str:
    return f"{what}-{trial.name}"
