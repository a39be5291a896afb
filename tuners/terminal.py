"""A study's report in the terminal: figures, trials, front, and a plot of the front."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prune_search.pareto import delivered, sparsest
from prune_search.record import BaselineRecord, ControlRecord, FinalRecord
from prune_search.statistics import FEWEST_SEEDS
from tuners.plots import position, ticks
from tuners.report import StudyReport, did_words, interval, missing_costs, remark, tail

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table


def show(study: StudyReport, console: Console) -> None:
    """Prints the study: figures, trials, front, and a plot of the front."""
    for part in renderables(study, console.width):
        console.print(part)


def renderables(study: StudyReport, width: int = 100) -> list[RenderableType]:
    """What `show` prints, part by part."""
    wide = width >= 120
    parts: list[RenderableType] = [_summary(study)]
    if study.trials:
        parts += ["", _trial_table(study, wide)]
    if study.front:
        parts += ["", _front_table(study, wide), ""]
        if study.repeated:
            parts += [_repeated_table(study, wide), ""]
        if study.baseline:
            parts.append(_plot(study, study.baseline, width))
        parts += ["", _curve(study, width)]
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
    for note in baseline.notes:
        grid.add_row("", note)
    if study.control:
        grid.add_row("dense control", _control(study.control, final))
    grid.add_row("random actions", f"return {interval(baseline.random)}")
    for why in missing_costs(study.points):
        grid.add_row("no figure for", _safe(why))
    grid.add_row("hypervolume", f"{study.hypervolume:.4f}")
    grid.add_row("env steps", _env_steps(study))
    for level in dict.fromkeys((study.retention, 0.99)):
        best = sparsest(study.points, level)
        found = (
            f"{best.sparsity:.2%} sparse, {best.compression:.1f}x smaller ({best.name})"
            if best
            else "no point yet"
        )
        grid.add_row(f"retention ≥ {level:.0%}", found)
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
        f"; {study.env_steps_saved:,} saved by stopping {stopped} trials early" if stopped else ""
    )
    cut = f"; {cut_off} cut off as the search's budget was used" if cut_off else ""
    return f"{study.env_steps:,} in {len(study.trials)} trials{saved}{cut}"


def _trial_table(study: StudyReport, wide: bool) -> RenderableType:
    table = _table("Trials", "trial")
    table.add_column("plan", overflow="fold")
    for name in ("rounds", "sparsity", "return", *(["retention", "hold"] if wide else [])):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("state", overflow="fold")
    for trial in study.trials:
        figures = ["", "", "", ""]
        if trial.points:
            best = delivered(trial.points, study.retention)
            _, held = tail(best.returned, study.bound)
            figures = [f"{best.sparsity:.2%}", f"{best.returned.value:.4g}"]
            figures += [f"{best.retention:.1%}", held.partition(" ")[0]]
        color = {"complete": "green", "failed": "red"}.get(trial.state, "yellow")
        remark = f": {_safe(trial.remark)}" if trial.remark else ""
        happened = f"\n[dim]{words}[/]" if (words := did_words(trial)) else ""
        table.add_row(
            trial.name,
            f"{_safe(trial.plan.label)}{happened}",
            f"{len(trial.points)}/{trial.plan.rounds}",
            *figures[: 4 if wide else 2],
            f"[{color}]{trial.state}[/]{remark}",
        )
    table.caption = (
        f"figures of the sparsest point at retention ≥ {study.retention:.0%}, else the best return"
    )
    return table


def _front_table(study: StudyReport, wide: bool) -> RenderableType:
    table = _table("Front", "point")
    names = ["sparsity", "smaller", "return", "retention", "on final seeds"]
    for name in [*names, *(["worst", "hold", "non-zero"] if wide else [])]:
        table.add_column(name, justify="right", no_wrap=True)
    if wide:
        table.add_column("plan", overflow="fold")
    failing = []
    for item in study.front:
        point = item.point
        worst, held = tail(item.final or point.returned, study.bound)
        if worst and not held.startswith("100%"):
            failing.append(f"{point.name} {held} hold, worst tenth {worst}")
        table.add_row(
            f"[bold]{point.name}[/]",
            f"{point.sparsity:.2%}",
            f"{point.compression:.1f}x",
            interval(point.returned),
            f"{point.retention:.1%}",
            interval(item.final) if item.final else "[dim]-[/]",
            *([worst, held, f"{point.nonzero:,}", _safe(item.plan.label)] if wide else []),
        )
    told, captions = [item for item in study.front if item.than_dense], []
    if failing and not wide:
        captions.append(f"not all episodes hold (return ≥ {study.bound:.4g}): {'; '.join(failing)}")
    if wide:
        captions.append(
            "worst: mean of the worst tenth of episodes; hold: share of episodes with return ≥"
            f" {study.bound:.4g}; on the final seeds, once measured"
        )
    if told:
        captions.append(
            "; ".join(
                f"{word} than this {study.dense}: {', '.join(names)}"
                if word != "undecided"
                else f"the episodes don't tell from it: {', '.join(names)}"
                for word in ("better", "undecided", "worse")
                if (names := [item.point.name for item in told if item.than_dense == word])
            )
        )
    table.caption = "\n".join(captions) or None
    return table


def _repeated_table(study: StudyReport, wide: bool) -> RenderableType:
    table = _table("Plans over several seeds", "trials")
    table.add_column("plan", overflow="fold")
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
        table.add_row(f"{names}{remark(item)}", _safe(item.plan.label), *figures)
    table.caption = (
        "return over seeds and episodes, with the 95 % t interval over seeds; the sparsest round"
        f" at retention ≥ {study.retention:.0%}, else the best return; undecided below"
        f" {FEWEST_SEEDS} seeds"
    )
    return table


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


def _plot(study: StudyReport, baseline: BaselineRecord, width: int) -> RenderableType:
    """A plot in characters: return over sparsity, spaced as in `tuners.plots`."""
    import plotext
    from rich.text import Text

    width = min(width, 100)
    best = [item.point for item in study.front]
    labelled = ticks(study.points)
    edge = position(labelled[-1])
    figure = plotext.figure.clear().theme("colorless")
    figure.plot_size(width, 18)
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
    text = Text.from_ansi(str(figure.build()))
    text.highlight_regex("●", "bold red")
    text.highlight_regex("[┈╌]", "dim")
    legend = (
        f"\nreturn over sparsity   ● front   · other points   ┈ dense {baseline.returned.value:.4g}"
    )
    if study.control:
        legend += f"   ╌ trained on {study.control.returned.value:.4g}"
    text.append(legend, "dim")
    return text


def _curve(study: StudyReport, width: int) -> RenderableType:
    """A plot in characters: the front's hypervolume over the env steps of all trials."""
    import plotext
    from rich.text import Text

    figure = plotext.figure.clear().theme("colorless")
    figure.plot_size(min(width, 100), 10)
    last = study.curve[-1][0]
    columns = [last * column / width for column in range(width + 1)]
    values = [max((v for at, v in study.curve if at <= column), default=0.0) for column in columns]
    figure.draw(figure.signal(columns, values, marker="·"))
    marks = [last * quarter // 4 for quarter in range(5)]
    figure.ruler("x", "lower").ticks(marks, [f"{mark:,}" for mark in marks])
    text = Text.from_ansi(str(figure.build()))
    text.append("\nhypervolume of the front over env steps of all trials", "dim")
    return text


def _importance_table(study: StudyReport) -> RenderableType:
    table = _table("Which choices mattered", "field")
    table.add_column("importance", justify="right", no_wrap=True)
    table.add_column()
    for field, share in study.importances.items():
        table.add_row(_safe(field), f"{share:.0%}", "█" * round(30 * share))
    table.caption = "PED-ANOVA: what sets the best trials apart from all that have ended"
    return table


def _safe(text: str) -> str:
    from rich.markup import escape

    return escape(text)
