"""The command that makes a page of what pruned policies bear."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from prune_search.errors import UserError, one_line
from tuners.cli._app import benchmarks, examples, print_or_write


@benchmarks.command("robustness", epilog=examples("prune-search benchmark robustness a.json"))
def robustness_page(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="What `prune-search robustness --to` has written."),
    ],
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the page; it is printed if absent.")
    ] = None,
) -> None:
    """Put together what pruned policies of several tasks bear, as a page in Markdown."""
    from tuners.benchmarks.robustness_page import page

    tasks = []
    for file in files:
        try:
            task = json.loads(file.read_text(encoding="utf-8"))
            complete = bool(task["over_studies"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{str(file)!r} cannot be read: {one_line(error)}") from None
        if not complete:
            raise UserError(f"{str(file)!r} is of one study; the page takes several of a task")
        tasks.append(task)
    print_or_write(page(tasks), to)
