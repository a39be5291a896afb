"""Commands as a message names them: what is printed can be pasted into a shell."""

from __future__ import annotations

import shlex
from pathlib import Path

from prune_search.records.places import storage_path
from prune_search.storage.usual import usual


def command(verb: str, study: Path, *arguments: str) -> str:
    """A command on a study, such as `prune-search resume 'my robot' --storage /data/studies`.

    Args:
        verb: which, such as `resume` or `evaluate`.
        study: the study's folder.
        arguments: what it takes after the study's name, such as a point.
    """
    words = shlex.join(("prune-search", verb, study.name, *arguments))
    return words + storage_option(study.parent)


def storage_option(storage: Path) -> str:
    """What a command needs to find a storage folder; nothing where that is the default."""
    given_none = storage_path(usual())
    return "" if storage.resolve() == given_none else f" --storage {shlex.quote(str(storage))}"
