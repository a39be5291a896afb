"""What all commands share: the application, its consoles, and their common options."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from prune_search.errors import UserError
from prune_search.storage.usual import VARIABLE, usual

if TYPE_CHECKING:
    from prune_search.experiment.schema import Experiment
    from prune_search.records.folder import StudyFolder

BEGAN = time.monotonic()

_ORDER = (
    *(
        "run",
        "resume",
        "list",
        "show",
        "report",
        "ui",
        "evaluate",
        "restore",
        "compact",
        "compress",
        "export",
        "register",
        "import",
    ),
    *("robustness", "sensitivity", "presets", "benchmark", "schema"),
)
_PICTURES = (".png", ".svg", ".pdf", ".html")


class _Listed(TyperGroup):
    """Lists commands in the order in which a user meets them."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(self.commands, key=_ORDER.index)


def examples(*lines: str) -> str:
    """The end of a command's help: commands that can be pasted."""
    return "\n\n".join(["Examples:", *(f"  {escape(line)}" for line in lines)])


def _version(asked: bool) -> None:
    if asked:
        print(f"prune-search {version('prune-search')}")
        raise typer.Exit


app = typer.Typer(
    cls=_Listed,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog=examples(
        "prune-search run noisy-cartpole",
        "prune-search show noisy-cartpole",
        "prune-search presets cartpole > mine.yaml",
        "prune-search run mine.yaml --set environment.id=Acrobot-v1",
        "prune-search COMMAND --help",
    ),
)


@app.callback()
def _prune_search(
    _: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=_version),
    ] = False,
) -> None:
    """Finds small policies for deep reinforcement learning."""


benchmarks = typer.Typer(help="Measurements, as ratios against a baseline run side by side.")
app.add_typer(benchmarks, name="benchmark")

# Tables in a file or a pipe have no width to keep to.
out = Console(width=None if sys.stdout and sys.stdout.isatty() else 140)
err = Console(stderr=True)


def _storage(ctx: typer.Context) -> str:
    return ctx.params.get("storage") or usual()


def complete_name(ctx: typer.Context, incomplete: str) -> list[str]:
    """Studies that there are, for the shell."""
    from tuners.catalog.finding import studies

    return [name for name in studies(_storage(ctx)) if name.startswith(incomplete)]


def complete_point(ctx: typer.Context, incomplete: str) -> list[str]:
    """Points of the study that is named, for the shell."""
    from prune_search.records.folder import StudyFolder

    trials = StudyFolder(_storage(ctx), ctx.params["name"]).trials()
    names = ["baseline", *(point.name for trial in trials for point in trial.points)]
    return [name for name in names if name.startswith(incomplete)]


def _complete_experiment(incomplete: str) -> list[str]:
    from prune_search.experiment.file import presets

    files = [path.name for path in Path().glob("*.y*ml")]
    return [name for name in [*presets(), *files] if name.startswith(incomplete)]


def _settings(changes: list[str] | None) -> list[str] | None:
    from prune_search.experiment.file import check_override

    for change in changes or []:
        check_override(change)
    return changes


ExperimentName = Annotated[
    str,
    typer.Argument(
        metavar="EXPERIMENT",
        help="A preset's name, or a YAML file.",
        autocompletion=_complete_experiment,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY.PATH=VALUE",
        help="Change a field; may be repeated.",
        callback=_settings,
    ),
]
Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="The study's name, as `prune-search list` shows it.",
        autocompletion=complete_name,
    ),
]
PointName = Annotated[
    str,
    typer.Argument(
        metavar="POINT",
        help="A point, such as t03/2, or 'baseline'.",
        autocompletion=complete_point,
    ),
]
Storage = Annotated[
    str,
    typer.Option(help="Folder of the studies.", envvar=VARIABLE, show_default=True),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Preset = Annotated[str, typer.Option(help="Preset or experiment file.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but what went wrong.")]
Address = Annotated[
    str | None, typer.Option(help="Ray cluster: auto, HOST:PORT or ray://HOST:PORT.")
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust-checkpoint",
        help="Open the checkpoints and recorded episodes that the experiment names: they may hold"
        " pickles, which run their author's code.",
    ),
]


def busy(what: str) -> AbstractContextManager[Any]:
    """Says on a terminal what is going on, until there is something to show or to ask."""
    return err.status(what, spinner="line") if err.is_terminal else nullcontext()


@contextmanager
def writing(option: str, path: Path) -> Iterator[None]:
    """Names the option whose file cannot be written.

    Raises:
        UserError: that.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{option}: cannot write {str(path)!r}: {error.strerror}") from None


def check_writable(option: str, path: Path | None) -> None:
    """Raises UserError for a file that can't be written, before it is worked for."""
    if path is None:
        return
    if not path.parent.is_dir():
        raise UserError(f"{option}: no folder {str(path.parent)!r}")
    new = not path.exists()
    with writing(option, path):
        path.open("ab").close()
        if new:
            path.unlink()


def check_picture(path: Path) -> None:
    """Raises UserError for a picture that can't be written, before it is worked for."""
    if path.suffix not in _PICTURES:
        raise UserError(f"--plot: must end in .png, .svg, .pdf or .html, got {str(path)!r}")
    check_writable("--plot", path)


def print_or_write(text: str, to: Path | None) -> None:
    """Prints a page, or writes it to the file that `--to` names."""
    if to is None:
        print(text, end="" if text.endswith("\n") else "\n")
        return
    with writing("--to", to):
        to.write_text(text, encoding="utf-8")


def opened(storage: str, name: str, trust: bool = False) -> tuple[StudyFolder, Experiment]:
    """The study of that name, or a UserError that lists those there are."""
    from tuners.catalog.finding import open_study

    return open_study(storage, name, trust)
