"""The command that shows what studies have found on their tasks as one page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from prune_search.errors import UserError, one_line
from prune_search.storage.usual import STUDIES
from tuners.cli._app import (
    Storage,
    benchmarks,
    check_writable,
    complete_name,
    examples,
    opened,
    out,
    writing,
)


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
    seeds.
    """
    if to.suffix != ".md":
        raise UserError(f"--to: must be a .md file, got {str(to)!r}")
    check_writable("--to", to)
    from tuners.benchmarks.task_results import page, result
    from tuners.plots.front import study_figure
    from tuners.report.study_report import report

    folder = to.with_suffix("")
    found = []
    for name in dict.fromkeys(names or ()):
        study, settings = opened(storage, name)
        reported = report(study, settings)
        found.append((name, result(reported, settings), study_figure(reported)))
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
