"""The `prune-search` command."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from prune_search.errors import UserError
from prune_search.import_paths import import_from_here
from tuners.cli import (  # noqa: F401 - they are registered
    benchmarks,
    compress,
    exports,
    files,
    imports,
    points,
    register,
    robustness,
    sensitivity,
    studies,
)
from tuners.cli._app import app, err
from tuners.cli.characters import plain_output

_WORDS = {
    "Input should be less than or equal to": "must be at most",
    "Input should be greater than or equal to": "must be at least",
    "Input should be a valid integer": "must be a whole number",
    ", unable to parse string as an integer": "",
    "extra argument(s)": "extra argument",
    ". Did you mean": "; did you mean",
}


def main() -> None:
    """Entry point: a user's mistake is one line and exit status 2."""
    import_from_here()
    plain_output()
    try:
        # In standalone mode usage errors are boxes of many lines.
        status = app(prog_name="prune-search", standalone_mode=False)
    except UserError as error:
        _refuse(str(error))
    except typer.Abort:  # Ctrl-C
        err.print("stopped")
        sys.exit(130)
    except typer.TyperException as error:
        context: typer.Context | None = getattr(error, "ctx", None)
        message = _plainly(error.format_message())
        if message and context is not None:
            message = f"{message}; see {context.command_path} --help"
        _refuse(message)
    sys.exit(status or 0)


def _plainly(message: str) -> str:
    """What typer says of a mistake, in words like ours; empty where it has printed the help."""
    for theirs, ours in _WORDS.items():
        message = message.replace(theirs, ours)
    message = " ".join(message.split()).rstrip(".?")
    return message[:1].lower() + message[1:]


def _refuse(message: str) -> NoReturn:
    if message:
        line = f"prune-search: {message}"
        err.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(2)
