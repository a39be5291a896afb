"""Names of registries' entries as types of fields."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

STORED = "stored"
"""Validation context of what is read back from a study: it was checked when it was made, perhaps
with entries whose modules are not imported here."""


@dataclass(frozen=True)
class Named:
    """That a text is a name of one of these entries; stands in a field's type."""

    entries: Callable[[], Iterable[str]]

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.with_info_before_validator_function(self._check, handler(source))

    def _check(self, given: Any, info: ValidationInfo) -> Any:
        known = tuple(self.entries())
        if info.context != STORED and given not in known:
            raise PydanticCustomError(
                "literal_error", "unknown name", {"expected": ", ".join(known)}
            )
        return given
