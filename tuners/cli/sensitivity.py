"""The command that measures how much pruning each layer bears by itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prune_search.errors import UserError, check_known, one_line
from prune_search.plan.axes import names
from prune_search.storage.usual import VARIABLE
from tuners.cli._app import AsJson, Trust, app, check_picture, err, examples, out, writing

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table

    from prune_search.records.layer_curves import SensitivityPoint, SensitivityRecord

_OFF = 0.01  # a ratio that is further from the one asked for is told


@app.command(
    epilog=examples(
        "prune-search sensitivity cartpole",
        "prune-search sensitivity mine.yaml --granularity neuron --plot layers.png",
    )
)
def sensitivity(
    source: Annotated[
        str,
        typer.Argument(
            metavar="EXPERIMENT_OR_STUDY",
            help="A study's name (looked for first), a preset's, or a YAML file.",
        ),
    ],
    criterion: Annotated[str, typer.Option(help="Importance score.")] = "magnitude",
    granularity: Annotated[
        str, typer.Option(help="What is removed: weight, neuron, filter, 2:4 or 1:4.")
    ] = "weight",
    episodes: Annotated[
        int | None,
        typer.Option(
            min=2, max=100_000, help="Episodes per evaluation; as in the search if absent."
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the curves too: .png, .svg, .pdf, .html."),
    ] = None,
    as_json: AsJson = False,
    trust: Trust = False,
    storage: Annotated[
        str | None,
        typer.Option(help="Folder of the studies.", envvar=VARIABLE),
    ] = None,
) -> None:
    """Prune each layer of the dense policy alone, and show what the policy keeps of its return.

    Nothing is trained after the pruning. A preset's or file's dense policy is trained first, if
    no study has it yet.
    """
    if plot is not None:
        check_picture(plot)
    from tuners.study.sensitivity import measure, source_of

    found = source_of(source, storage, trust)
    check_known("--criterion", criterion, names("criterion"))
    check_known("--granularity", granularity, names("granularity"))
    from prune_search.trial.sensitivity.single_layers import check_measurable

    try:
        check_measurable(granularity, criterion)
    except ValueError as error:
        raise UserError(one_line(error)) from None
    with _bar() as bar:
        record = measure(found, granularity, criterion, episodes, bar)
    if not record.points:
        raise UserError(
            f"granularity {granularity!r}: no layer of the policy that pruning.layers allows,"
            f" {', '.join(found.experiment.pruning.layers)}, has what it removes"
        )
    if plot is not None:
        _draw(record, plot)
    if as_json:
        ends = {"most_sensitive": record.ranking[0], "least_sensitive": record.ranking[-1]}
        print(json.dumps(record.model_dump() | ends, indent=1))
        return
    out.print(_table(record))
    out.print(record.verdict, highlight=False, markup=False, soft_wrap=True)


class _Bar:
    """How far it is, on a terminal only, and separate from the output."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("looking", total=None)

    def stage(self, what: str, total: int | None) -> None:
        self._progress.reset(self._task, description=what, total=total)

    def at(self, done: int, total: int | None = None) -> None:
        self._progress.update(self._task, completed=done, total=total)

    def note(self, text: str) -> None:
        err.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _bar() -> Iterator[_Bar]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        yield _Bar(progress)


def _table(record: SensitivityRecord) -> Table:
    from rich.table import Table

    dense, random = record.dense.value, record.random.value
    table = Table(
        title=f"Retention with one layer pruned: {record.environment},"
        f" {record.granularity}/{record.criterion}",
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        box=None,
        padding=(0, 2, 0, 0),
        pad_edge=False,
        header_style="bold underline",
    )
    table.add_column("layer", overflow="fold")
    table.add_column("weights", justify="right")
    asked = [point.asked for point in next(iter(record.points.values()))]
    for ratio in asked:
        table.add_column(f"{ratio:.0%}", justify="right", no_wrap=True)
    for layer, points in record.points.items():
        cells = [_cell(point) for point in points]
        table.add_row(_safe(layer), f"{record.weights[layer]:,}", *cells)
    table.caption = (
        f"dense policy {dense:.4g}, random actions {random:.4g}; {record.episodes} episodes each,"
        " nothing trained"
    )
    if any(_is_off(point) for points in record.points.values() for point in points):
        table.caption += "\nbelow a retention: the ratio reached, where that is another"
    return table


def _is_off(point: SensitivityPoint) -> bool:
    return abs(point.ratio - point.asked) > _OFF


def _cell(point: SensitivityPoint) -> str:
    kept = point.retention
    color = "green" if kept >= 0.95 else "yellow" if kept >= 0.5 else "red"
    reached = f"\n[dim]at {point.ratio:.1%}[/]" if _is_off(point) else ""
    return f"[{color}]{kept:.1%}[/]{reached}"


def _draw(record: SensitivityRecord, path: Path) -> None:
    from tuners.plots.sensitivity import sensitivity_figure, sensitivity_html

    with writing("--plot", path):
        if path.suffix == ".html":
            path.write_text(sensitivity_html(record), encoding="utf-8")
        else:
            sensitivity_figure(record).savefig(path, dpi=110)


def _safe(text: Any) -> str:
    from rich.markup import escape

    return escape(str(text))
