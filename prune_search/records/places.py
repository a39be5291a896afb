"""A storage: its path, the names that studies in it can have, and what has moved with it."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from prune_search.errors import UserError, one_line
from prune_search.records.models import BaselineRecord, ControlRecord

BASELINES = "baselines"
"""The folder of all baselines in the storage."""
SIGNS = "_-.,+=@'"
"""What a study's name may hold beside letters, digits and spaces."""
RESERVED = frozenset({BASELINES, "mlartifacts", "mlflow.db"})
"""Names in the storage that are not studies'."""

_Dense = TypeVar("_Dense", BaselineRecord, ControlRecord)


def is_name(name: str) -> bool:
    """Whether a study can have this name, which is that of a folder in the storage."""
    return (
        0 < len(name) <= 100
        and len(name.encode(errors="replace")) <= 250
        and (name[0].isalnum() or name[0] == "_")
        and all(c.isalnum() or c in f" {SIGNS}" for c in name)
        and name == name.strip()
        and name not in RESERVED
    )


def storage_path(storage: str | Path) -> Path:
    """The storage folder, absolute.

    Raises:
        UserError: it is in the home of a user whom this machine doesn't know, or is no path.
    """
    try:
        return Path(storage).expanduser().resolve()
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError(f"storage: {str(storage)!r} is not a folder: {one_line(error)}") from None


def moved(record: _Dense, storage: Path) -> _Dense:
    """The record with its checkpoint's path in this storage: a storage may be moved or copied."""
    parts = Path(record.checkpoint).parts
    if BASELINES not in parts:
        return record
    last = len(parts) - 1 - parts[::-1].index(BASELINES)
    here = storage.joinpath(*parts[last:])
    if not here.exists() and Path(record.checkpoint).exists():
        return record
    return record.model_copy(update={"checkpoint": str(here)})
