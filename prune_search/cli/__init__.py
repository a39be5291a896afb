"""The `prune-search` command."""

from __future__ import annotations

import sys
from pathlib import Path

from prune_search.cli import benchmarks, files, points, sensitivity, studies  # noqa: F401 - in this order they are listed
from prune_search.cli._app import app, err
from prune_search.errors import UserError


def main() -> None:
    """Entry point: a user's mistake is one line and exit status 2."""
    # Where the user's own environments are, for this process and for Ray's.
    sys.path.insert(0, str(Path.cwd()))
    try:
        app()
    except UserError as error:
        err.print(
            f"prune-search: {error}", style="red", markup=False, highlight=False, soft_wrap=True
        )
        sys.exit(2)
