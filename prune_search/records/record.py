"""A record: a model in a JSON file of its own, replaced as a whole."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from prune_search.errors import UserError
from prune_search.plan.names import STORED
from prune_search.storage.replacing import replace_file

R = TypeVar("R", bound="Record")


_log = logging.getLogger(__name__)


class Record(BaseModel):
    """A model that is read from and written to a JSON file."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="constants")

    def write(self, path: Path) -> None:
        """Replaces the file, whole or not at all, and then its copy."""
        path.parent.mkdir(parents=True, exist_ok=True)
        data = self.model_dump_json(indent=1).encode()
        replace_file(path, data)
        replace_file(_copy(path), data)

    @classmethod
    def read(cls: type[R], path: Path) -> R | None:
        """The record in the file, or None when there is no such file.

        A file that a disk or a person has harmed is told in the log, and its copy read instead.

        Raises:
            UserError: neither can be read, or they hold something else.
        """
        try:
            return cls._read(path)
        except UserError as error:
            with suppress(UserError):
                found = cls._read(_copy(path))
                if found is not None:
                    _log.warning("%s; its copy is read instead", error)
                    return found
            raise

    @classmethod
    def _read(cls: type[R], path: Path) -> R | None:
        try:
            return cls.model_validate_json(path.read_bytes(), context=STORED)
        except FileNotFoundError:
            return None
        except OSError as error:
            problem = str(error.strerror or error)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            problem = ".".join(map(str, first["loc"])) + f": {first['msg']}"
        raise UserError(f"{path}: not a readable record of prune-search: {problem.lstrip(': ')}")


def _copy(path: Path) -> Path:
    return path.with_name(f".{path.name}.copy")
