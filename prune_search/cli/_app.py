"""What all commands share: the application, its consoles, and their common options."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from prune_search.experiment import Experiment
    from prune_search.record import StudyFolder

BEGAN = time.monotonic()

app = typer.Typer(
    help="Finds small policies for deep reinforcement learning.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
benchmarks = typer.Typer(help="Measurements, as ratios against a baseline run side by side.")
app.add_typer(benchmarks, name="benchmark")

# Tables in a file or a pipe have no width to keep to.
out = Console(width=None if sys.stdout.isatty() else 140)
err = Console(stderr=True)

Name = Annotated[str, typer.Argument(help="The study's name, as `prune-search list` shows it.")]
PointName = Annotated[
    str, typer.Argument(metavar="POINT", help="A point, such as t03/2, or 'baseline'.")
]
Storage = Annotated[
    str,
    typer.Option(help="Folder of the studies.", envvar="PRUNE_SEARCH_STORAGE", show_default=True),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but what went wrong.")]
Address = Annotated[
    str | None, typer.Option(help="Ray cluster: auto, HOST:PORT or ray://HOST:PORT.")
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust-checkpoint",
        help="Open the checkpoints and recorded episodes that the experiment names: they may hold"
        " pickles, which run code of whoever made them.",
    ),
]


def opened(storage: str, name: str, trust: bool = False) -> tuple[StudyFolder, Experiment]:
    """The study of that name, or a UserError that lists those there are."""
    from tuners.points import open_study

    return open_study(storage, name, trust)
