"""Commands that record trials of random plans, for searches to be compared on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from prune_search.errors import UserError, check_known
from tuners.cli._app import benchmarks, check_writable, err, out, print_or_write, writing

if TYPE_CHECKING:
    from tuners.recordings.dataset import Recording

Files: TypeAlias = Annotated[
    list[Path] | None,
    typer.Argument(help="What `benchmark record` has written; those that ship, if none."),
]


@benchmarks.command("record")
def benchmark_record(
    to: Annotated[Path, typer.Option(metavar="FOLDER", help="Where a file of each task goes.")],
    task: Annotated[list[str] | None, typer.Option(help="Only this task; may be repeated.")] = None,
    trials: Annotated[int, typer.Option(min=1, help="Random plans of each task.")] = 60,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds that each plan is trained with.")] = 1,
    storage: Annotated[
        str, typer.Option(help="Folder of its studies; what is finished there is not run again.")
    ] = "benchmark",
) -> None:
    """Run random plans on several tasks and keep every round's returns; hours for each task.

    The same command goes on after an interruption. docs/recorded.md says what is in the files.
    """
    if not to.is_dir():
        raise UserError(f"--to: no folder {str(to)!r}")
    from tuners.benchmarks.recorded.record import record
    from tuners.benchmarks.recorded.tasks import TASKS

    for name in task or ():
        check_known("--task", name, TASKS)
    for name in task or TASKS:
        path = to / f"{name}.jsonl.gz"
        try:
            found = record(name, trials, seeds, storage, path)
        except KeyboardInterrupt:
            err.print("stopped; run the same command again to go on")
            sys.exit(130)
        out.print(f"{path}: {found} trials of {name}")


@benchmarks.command("replay")
def benchmark_replay(
    files: Files = None,
    seeds: Annotated[int, typer.Option(min=2, help="Studies of each search, a seed each.")] = 20,
    env_steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Env steps of each study, without the baseline's; by default those of 16 mean"
            " trials of its task.",
        ),
    ] = None,
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the tables, as Markdown.")
    ] = None,
) -> None:
    """Compare searches on recorded tasks: what was recorded, or is predicted from it, is returned.

    Nothing is trained; a study takes a second, or some where a sampler computes for long.
    """
    check_writable("--to", to)
    from tuners.benchmarks.recorded.compare import compare, markdown

    text = markdown(compare(_read(files), seeds, env_steps, err.print))
    print_or_write(text, to)


@benchmarks.command("choices")
def benchmark_choices(
    files: Files = None,
    to: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the page there, and its picture beside it."),
    ] = None,
) -> None:
    """Which choices mattered over recorded trials: differences with intervals, as a page."""
    check_writable("--to", to)
    from tuners.benchmarks.recorded.choices_page import page, picture

    recordings = _read(files)
    image = Path("choices.png") if to is None else to.with_suffix(".png")
    named = "".join(f" {path}" for path in files or ())
    text = page(recordings, named, str(to or "choices.md"), image.name)
    if to is not None:
        with writing("--to", image):
            picture(recordings).savefig(image, dpi=110)
    print_or_write(text, to)


def _read(files: list[Path] | None) -> list[Recording]:
    from tuners.recordings.dataset import read, shipped

    return [read(path) for path in files] if files else list(shipped())
