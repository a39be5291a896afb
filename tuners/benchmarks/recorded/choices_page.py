"""The page on which choices mattered: advice, a picture, and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tuners.benchmarks.recorded.choices import (
    ALL,
    GRANULARITY,
    LEVEL,
    Effect,
    clear,
    compacted,
    effects,
    worth,
)
from tuners.recordings.dataset import Recording
from tuners.words import count, paragraph

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HEAD = """# Which choices matter

```bash
prune-search benchmark choices{files} --to {page}
```
"""
_MEASURED = """\
What {trials} of random plans on {tasks} tell; [recorded.md](recorded.md) says which plans, and how
to record more. Plans were drawn at random, so the trials that made a choice are compared with those
that could have made it and made another. A trial's worth is its log-hypervolume: the share that its
rounds dominate of (logarithm of compression, retention cut at 1), 0 to 1; from 95 to 99 % sparsity
counts as much as from 75 to 95 %. A difference of 0.05 is about a quarter of such a step.
"""
_INTERVALS = """\
Differences are of means, with Welch's 95 % interval over plans: they hold for these tasks, and say
nothing of how others would differ. A plan that was run on several tasks counts once, by its mean.
What may be chosen depends on the granularity, so trials are compared within theirs. A choice is
left out where fewer than four plans made it.

## What stands out
"""
_TOLD = (
    "Of {looked} comparisons over all tasks these are told from none, with at most {level:.0%} of"
    " them expected to be chance (Benjamini and Hochberg 1995):"
)
_NONE = "None of {looked} comparisons over all tasks is told from none."
_COUNTED = """
## How zeros are counted

A policy of single weights keeps the biases of units that nothing reads any more. They count as
parameters that are left, though `compact` and every export take them out. Counted after that, the
difference between granularities is another:
"""
_DARK, _FAINT = "#c2410c", "#94a3b8"


def page(recordings: Sequence[Recording], files: str, name: str, picture: str) -> str:
    """The page in Markdown.

    Args:
        recordings: one or more.
        files: as the command names them; empty for those that ship.
        name: the page's.
        picture: the figure's file, beside the page.
    """
    found = effects(recordings)
    over_all = _pooled(recordings, found)
    measured = _MEASURED.format(
        trials=count(sum(len(one.trials) for one in recordings), "trial"),
        tasks=count(len(recordings), "task"),
    )
    told = sorted(clear(over_all), key=lambda one: -one.difference)
    looked = (_TOLD if told else _NONE).format(looked=len(over_all), level=LEVEL)
    lines = [_HEAD.format(files=files, page=name), paragraph(measured), _INTERVALS]
    lines += [paragraph(looked), *(_table(told) if told else [])]
    compact = effects([compacted(one) for one in recordings])
    of_compact = [one for one in _pooled(recordings, compact) if one.field == GRANULARITY]
    lines += [_COUNTED, *_table(of_compact)]
    lines += ["", f"![Differences over all tasks]({picture})", "", "## Each task", ""]
    lines += [
        "| task | trials | log-hypervolume of a trial, quartiles | best |",
        "|---|---:|---|---:|",
    ]
    lines += [_task(one) for one in recordings]
    for one in recordings:
        own = [each for each in found if each.task == one.task.name]
        apart = sorted(clear(own), key=lambda each: -each.difference)
        lines += ["", f"### {one.task.name}", ""]
        lines += [f"Told from none on this task alone: {len(apart)} of {len(own)}.", ""]
        lines += _table(apart) if apart else []
    lines += ["", "## All comparisons over all tasks", "", *_table(over_all)]
    return "\n".join(lines) + "\n"


def picture(recordings: Sequence[Recording]) -> Figure:
    """Differences over all tasks with their intervals, those that are told from none dark."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = _pooled(recordings, effects(recordings))[::-1]
    told = clear(shown)
    figure = Figure(figsize=(8, 1 + 0.2 * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.axvline(0.0, color="#1f2937", lw=1)
    for place, one in enumerate(shown):
        color = _DARK if one in told else _FAINT
        axes.plot([one.low, one.high], [place, place], color=color, lw=1.6)
        axes.plot([one.difference], [place], "o", color=color, ms=5)
    axes.set_yticks(range(len(shown)), [f"{one.field}: {one.value}" for one in shown], fontsize=8)
    axes.set_ylim(-0.7, len(shown) - 0.3)
    axes.set_xlabel("log-hypervolume of a trial, above those that chose otherwise; 95 % interval")
    axes.grid(axis="x", color="#e5e7eb", lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _pooled(recordings: Sequence[Recording], found: Sequence[Effect]) -> list[Effect]:
    """Of effects those over all tasks, which are the task's own where there is one."""
    task = ALL if len(recordings) > 1 else recordings[0].task.name
    return [one for one in found if one.task == task]


def _table(found: Sequence[Effect]) -> list[str]:
    return [
        "| choice | plans | log-hypervolume above other choices |",
        "|---|---:|---|",
        *(
            f"| {one.field}: {one.value} | {one.trials} | {one.difference:+.3f}"
            f" ({one.low:+.3f}, {one.high:+.3f}) |"
            for one in found
        ),
    ]


def _task(recording: Recording) -> str:
    import numpy as np

    worths = [worth(recording, trial) for trial in recording.trials]
    low, middle, high = np.quantile(worths, (0.25, 0.5, 0.75))
    return (
        f"| {recording.task.name} | {len(worths)} | {low:.2f} / {middle:.2f} / {high:.2f} |"
        f" {max(worths):.2f} |"
    )
