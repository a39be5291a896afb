"""A study's report in the terminal: figures, trials, front, and a plot of the front."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING

from prune_search.plan.plan import Plan
from prune_search.records.fronts import delivered, sparsest
from prune_search.records.intervals import FEWEST_SEEDS
from prune_search.records.models import ControlRecord, FinalRecord
from tuners.display.character_plots import front_plot, hypervolume_plot
from tuners.report import sizes
from tuners.report.advice import fallen, lacking_recovery
from tuners.report.phrases import did_words, interval, missing_costs, remark, tail
from tuners.report.study_report import StudyReport
from tuners.words import count, joined, outcome, wrapped

_RATIO = "a plan's % is the share of weights that it is to remove; sparsity counts biases as well"
_VERDICTS = {
    "better": "better than this {dense}",
    "undecided": "too close to this {dense} to call it better or worse",
    "worse": "worse than this {dense}",
}
_NARROW = 24  # columns of a plan
_WIDE = 140  # columns from which on tables have all of their figures
_FIGURES = 112  # columns of the front's figures there
_NAMES = 8  # trials that a line names

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table


def show(study: StudyReport, console: Console) -> None:
    """Prints the study: figures, trials, front, and a plot of the front."""
    for part in renderables(study, console.width):
        console.print(part)


def renderables(study: StudyReport, width: int = 100) -> list[RenderableType]:
    """What `show` prints, part by part."""
    wide = width >= _WIDE
    parts: list[RenderableType] = [_summary(study)]
    if study.trials:
        parts += ["", _trial_table(study, wide)]
    if study.front:
        parts += ["", _front_table(study, width), ""]
        best = [item.point for item in study.front]
        parts += [sizes.table(best, study.baseline, _table("Sizes", "policy")), ""]
        if study.repeated:
            parts += [_repeated_table(study, wide), ""]
        if study.baseline:
            parts.append(front_plot(study, study.baseline, width))
        parts += ["", hypervolume_plot(study, width)]
    if study.importances:
        parts += ["", _importance_table(study)]
    return parts


def _summary(study: StudyReport) -> RenderableType:
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    grid.add_row("study", f"[bold]{_safe(study.name)}[/] on {_safe(study.environment)}")
    baseline, final = study.baseline, study.final
    if baseline is None:
        grid.add_row("baseline", "not trained yet")
        return grid
    again = f"; on the final seeds {interval(final.baseline)}" if final else ""
    grid.add_row(
        "dense baseline",
        f"return {interval(baseline.returned)}{again}; {baseline.parameters:,} parameters",
    )
    worst, held = tail(baseline.returned, study.bound)
    if worst:
        grid.add_row(
            "its episodes", f"worst tenth {worst}; {held} hold, return ≥ {study.bound:.4g}"
        )
    if baseline.sampled_by:
        grid.add_row("its env runner", _safe(baseline.sampled_by))
    if baseline.updated_by not in ("", "lean"):
        grid.add_row("its update", _safe(baseline.updated_by))
    for note in baseline.notes:
        grid.add_row("", _safe(note))
    if study.control:
        grid.add_row("dense control", _control(study.control, final))
        if fell := fallen(study.control, baseline, study.retention):
            grid.add_row("", _safe(fell))
    again = f"; on the final seeds {interval(final.random)}" if final else ""
    grid.add_row("random actions", f"return {interval(baseline.random)}{again}")
    for why in missing_costs(study.points):
        grid.add_row("no figure for", _safe(why))
    grid.add_row(
        "hypervolume",
        f"{study.hypervolume:.4f}; over the log of compression {study.log_hypervolume:.4f}",
    )
    grid.add_row("env steps", _env_steps(study))
    if lacking := lacking_recovery(study.trials, study.retention):
        grid.add_row("to be tried", _safe(lacking))
    for level in dict.fromkeys((study.retention, 0.99)):
        best = sparsest(study.points, level)
        found = (
            f"{best.sparsity:.2%} sparse, {best.compression:.1f}x smaller ({best.name})"
            if best
            else "none of the points"
        )
        seeds = " on the search's seeds" if final else ""
        grid.add_row(f"retention ≥ {level:.0%}", f"{found}{seeds}")
    return grid


def _control(control: ControlRecord, final: FinalRecord | None) -> str:
    again = f"; on the final seeds {interval(final.control)}" if final and final.control else ""
    return (
        f"return {interval(control.returned)}{again}; retention {control.retention:.1%}: the"
        f" baseline trained on for {control.env_steps:,} env steps, nothing pruned"
    )


def _env_steps(study: StudyReport) -> str:
    cut_off = sum(trial.cut_off for trial in study.trials)
    stopped = sum(trial.state == "stopped" for trial in study.trials) - cut_off
    saved = (
        f"; {study.env_steps_saved:,} saved by stopping {count(stopped, 'trial')} early"
        if stopped
        else ""
    )
    cut = f"; {cut_off} cut off when the search's budget was used up" if cut_off else ""
    return f"{study.env_steps:,} in {count(len(study.trials), 'trial')}{saved}{cut}"


def _trial_table(study: StudyReport, wide: bool) -> RenderableType:
    table = _table("Trials", "trial")
    table.add_column("plan", no_wrap=True)
    for name in ("rounds", "sparsity", "return", *(["retention", "hold"] if wide else [])):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("state", overflow="fold")
    reasons: dict[str, list[str]] = {}
    for trial in study.trials:
        figures = ["", "", "", ""]
        if trial.points:
            best = delivered(trial.points, study.retention)
            _, held = tail(best.returned, study.bound)
            figures = [f"{best.sparsity:.2%}", f"{best.returned.value:.4g}"]
            figures += [f"{best.retention:.1%}", held.partition(" ")[0]]
        told = outcome(trial)
        color = {"complete": "green", "failed": "red"}.get(told, "yellow")
        remark = f": {_safe(trial.remark)}" if trial.remark and wide else ""
        if trial.remark:
            reasons.setdefault(f"{told}: {trial.remark}", []).append(trial.name)
        words = did_words(trial) if wide else fill(did_words(trial), _NARROW)
        happened = f"\n[dim]{words}[/]" if words else ""
        table.add_row(
            trial.name,
            f"{_plan(trial.plan, wide)}{happened}",
            f"{len(trial.points)}/{trial.plan.rounds}",
            *figures[: 4 if wide else 2],
            f"[{color}]{told}[/]{remark}",
        )
    below = [
        f"figures of the sparsest point at retention ≥ {study.retention:.0%}, else the best return;"
        f" {_RATIO}"
    ]
    # 80 columns have no room for them beside the figures.
    why = [] if wide else [f"{reason} ({_named(names)})" for reason, names in reasons.items()]
    return _with_captions(table, [*why, *below])


def _named(trials: Sequence[str]) -> str:
    """`t00, t04`; of many, some and how many more."""
    more = len(trials) - _NAMES
    return ", ".join(trials[:_NAMES]) + (f" and {more} more" if more > 0 else "")


def _front_table(study: StudyReport, width: int) -> RenderableType:
    table, wide = _table("Front", "point"), width >= _WIDE
    room = max(_NARROW, width - _FIGURES) if wide else _NARROW
    if wide:
        names = ["sparsity", "smaller", "return", "on final seeds", "retention", "worst", "hold"]
        for name in names:
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("plan", no_wrap=True)
    else:
        table.add_column("plan", no_wrap=True)
        for name in ("sparsity", "return", "retention"):
            table.add_column(name, justify="right", no_wrap=True)
    for item in study.front:
        point = item.point
        name, sparsity = f"[bold]{point.name}[/]", f"{point.sparsity:.2%}"
        smaller, plan = f"{point.compression:.1f}x", _safe(wrapped(item.plan.label, room))
        final = interval(item.final) if item.final else ""
        returned, kept = interval(point.returned), f"{study.kept(point):.1%}"
        if wide:
            worst, held = tail(item.final or point.returned, study.bound)
            told = (returned, final or "[dim]-[/]", kept, worst, held)
            table.add_row(name, sparsity, smaller, *told, plan)
        else:  # 80 columns hold no more than two lines a point
            returned = f"{returned}\n[dim]{final}[/]"
            table.add_row(name, plan, f"{sparsity}\n{smaller}", returned, kept)
    return _with_captions(table, _captions(study, width))


def _captions(study: StudyReport, width: int) -> list[str]:
    """What the front's table does not say by itself."""
    wide = width >= _WIDE
    smaller = "how many times fewer non-zero parameters"
    found = [f"smaller: {smaller}" if wide else f"second lines: {smaller}", _RATIO]
    if any(item.final for item in study.front):
        unseen = "on final seeds: those that the search never saw"
        found[0] += f"; {unseen if wide else 'the return on seeds that the search never saw'}"
        found.append("retention: on these final seeds, where measured; on the search's above")
    if wide and study.bound is not None:
        found.append(
            "worst: mean of the worst tenth of episodes; hold: share of episodes with return ≥"
            f" {study.bound:.4g}; on the final seeds, once measured"
        )
    elif not wide:
        failing = []
        for item in study.front:
            worst, held = tail(item.final or item.point.returned, study.bound)
            if worst and not held.startswith("100%"):
                failing.append(f"{item.point.name} {held}, {worst}")
        if failing:
            found.append(
                f"share of episodes that hold (return ≥ {study.bound:.4g}), and the worst tenth's"
                f" mean, where not all hold:\n{joined(failing, '; ', width)}"
            )
    for verdict, words in _VERDICTS.items():
        names = [item.point.name for item in study.front if item.than_dense == verdict]
        if names:
            found.append(f"{words.format(dense=study.dense)}: {', '.join(names)}")
    return found


def _repeated_table(study: StudyReport, wide: bool) -> RenderableType:
    table = _table("Plans over several seeds", "trials")
    table.add_column("plan", no_wrap=True)
    for name in ("round", "sparsity", "return", *(["IQM"] if wide else []), "retention"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column(f"than this {study.dense}", overflow="fold")
    for item in study.repeated:
        best = item.best(study.retention)
        names = " ".join(trial.name for trial in item.trials)
        figures = [""] * (6 if wide else 5)
        if best:
            figures = [
                str(best.round),
                f"{best.sparsity:.2%}",
                interval(best.returned),
                *([f"{best.returned.iqm:.4g}"] if wide else []),
                f"{best.retention:.1%}",
                best.told,
            ]
        table.add_row(f"{names}{remark(item)}", _plan(item.plan, wide), *figures)
    told = (
        "return over seeds and episodes, with the 95 % t interval over seeds; the sparsest round"
        f" at retention ≥ {study.retention:.0%}, else the best return; undecided below"
        f" {FEWEST_SEEDS} seeds"
    )
    return _with_captions(table, [told])


def _table(title: str, key: str) -> Table:
    from rich.table import Table

    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        box=None,  # lines would not leave the front room in 80 columns
        padding=(0, 2, 0, 0),
        pad_edge=False,
        header_style="bold underline",
    )
    table.add_column(key, no_wrap=True)
    return table


def _with_captions(table: Table, lines: Sequence[str]) -> RenderableType:
    """The table and what is to be known of it, in lines as long as the terminal's.

    Rich's own captions are no wider than their table, and take brackets for markup.
    """
    from rich.console import Group
    from rich.text import Text

    return Group(table, Text("\n".join(lines), style="table.caption"))


def _importance_table(study: StudyReport) -> RenderableType:
    table = _table("Which choices mattered", "field")
    table.add_column("importance", justify="right", no_wrap=True)
    table.add_column()
    for field, share in study.importances.items():
        table.add_row(_safe(field), f"{share:.0%}", "█" * round(30 * share))
    table.caption = "PED-ANOVA: what sets the best trials apart from all that have ended"
    return table


def _plan(plan: Plan, wide: bool) -> str:
    return _safe(plan.label if wide else wrapped(plan.label, _NARROW))


def _safe(text: str) -> str:
    from rich.markup import escape

    return escape(text)
