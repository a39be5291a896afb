"""The storage folder that is meant where none is named."""

from __future__ import annotations

import os

STUDIES = "studies"
"""Of files and commands, in the folder that they are used in."""
VARIABLE = "PRUNE_SEARCH_STORAGE"
"""The environment variable that names another one for commands."""


def usual() -> str:
    """The folder of commands that are given no `--storage`."""
    return os.environ.get(VARIABLE) or STUDIES
