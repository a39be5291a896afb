"""The commands that show what studies have found on their tasks, and what it is worth."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from prune_search.errors import UserError, one_line
from prune_search.storage.usual import STUDIES
from tuners.cli._app import (
    Name,
    Storage,
    Trust,
    benchmarks,
    check_writable,
    complete_name,
    err,
    examples,
    opened,
    out,
    writing,
)


@benchmarks.command("controls", epilog=examples("prune-search benchmark controls cartpole"))
def benchmark_controls(
    name: Name,
    seeds: Annotated[
        int, typer.Option(min=2, max=100, help="Trainings of each, with seeds of their own.")
    ] = 5,
    storage: Storage = STUDIES,
    trust: Trust = False,
) -> None:
    """A study's recommended plan again, against what an expert would do without a search.

    All of as many weights, from the same dense policy, on new episodes. They are trials of one more
    study, NAME-controls; the same command goes on where it was stopped.
    """
    from tuners.benchmarks.tasks.controls import compared
    from tuners.report.study_report import report

    study, settings = opened(storage, name, trust)
    try:
        found = compared(study, report(study, settings), settings, seeds, out.print)
    except KeyboardInterrupt:
        err.print("stopped; run the same command again to go on")
        sys.exit(130)
    table = Table(box=box.SIMPLE)
    for title in ("method", "sparsity", "return [95 %]", "retention", "searched plan's lead"):
        table.add_column(title, justify="left" if title == "method" else "right")
    for one in found["methods"]:
        ahead = one["against"]
        table.add_row(
            one["method"],
            f"{one['sparsity']:.1%}",
            f"{one['return']:.1f} [{one['low']:.1f}, {one['high']:.1f}]",
            f"{one['retention']:.1%}",
            f"{ahead[0]:.1f} [{ahead[1]:.1f}, {ahead[2]:.1f}]" if ahead else "",
        )
    out.print(table)


@benchmarks.command(
    "tasks",
    epilog=examples(
        "prune-search benchmark tasks hopper pendulum --to docs/results.md",
        "prune-search benchmark tasks --to docs/results.md",
    ),
)
def benchmark_tasks(
    to: Annotated[
        Path,
        typer.Option(metavar="FILE", help="The page; files and pictures go into a folder beside."),
    ],
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME...]",
            help="Studies to keep beside the page, or to keep anew.",
            autocompletion=complete_name,
            show_default=False,
        ),
    ] = None,
    storage: Storage = STUDIES,
) -> None:
    """Keep what studies have found as data and as a picture, and write a page of all kept ones.

    Of `--to docs/results.md` those are files in `docs/results`. Returns are those on the final
    seeds. What `benchmark controls` has found of a study is kept and shown with it.
    """
    if to.suffix != ".md":
        raise UserError(f"--to: must be a .md file, got {str(to)!r}")
    check_writable("--to", to)
    from tuners.benchmarks.tasks import controls
    from tuners.benchmarks.tasks.page import page
    from tuners.benchmarks.tasks.results import result
    from tuners.plots.front import study_figure
    from tuners.report.study_report import report

    folder = to.with_suffix("")
    found = []
    for name in dict.fromkeys(names or ()):
        study, settings = opened(storage, name)
        reported = report(study, settings)
        found.append(
            (name, result(reported, settings, controls.kept(study)), study_figure(reported))
        )
    with writing("--to", folder):
        folder.mkdir(exist_ok=True)
        for name, data, figure in found:
            text = json.dumps(data, indent=1) + "\n"
            (folder / f"{name}.json").write_text(text, encoding="utf-8")
            figure.savefig(folder / f"{name}.png", dpi=80)
    kept = []
    for file in sorted(folder.glob("*.json")):
        try:
            kept.append(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise UserError(f"{str(file)!r} cannot be read: {one_line(error)}") from None
    if not kept:
        raise UserError(f"benchmark tasks: nothing is kept in {str(folder)!r} yet; name a study")
    with writing("--to", to):
        to.write_text(page(kept), encoding="utf-8")
    out.print(f"wrote {to}", markup=False, highlight=False, soft_wrap=True)
