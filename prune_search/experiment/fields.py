"""What a field of the experiment file may hold: a value, a list of choices, or a range."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)
from typing_extensions import TypeAliasType

from prune_search.errors import shown

T = TypeVar("T")


class Section(BaseModel):
    """A part of the experiment file: unknown keys are refused, docstrings are the help."""

    # Values may be secrets: `experiment_file.describe` says what was given, without these.
    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True
    )


class Range(Section):
    """A range to search: `{low: 0.5, high: 0.99}`, ends included."""

    low: float
    """Lower end."""
    high: float
    """Upper end."""
    log: bool = False
    """Sample the logarithm evenly; for ratios the logarithm of the density, 1 - ratio."""

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got low={self.low:g}, high={self.high:g}")
        return self


def _form(value: Any) -> str:
    if isinstance(value, Mapping | Range):
        return "range"
    return "choices" if isinstance(value, list | tuple) else "value"


def _different(values: list[T]) -> list[T]:
    twice = [value for number, value in enumerate(values) if value in values[:number]]
    if twice:
        raise ValueError(f"choices must differ, got {shown(twice[0])} twice")
    return values


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"must be one line of printable text, got {shown(text)}")
    return text


def _printable_lines(text: str) -> str:
    if not text.replace("\n", "").replace("\t", "").isprintable():
        raise ValueError(f"must be printable text, got {shown(text)}")
    return text


def _path(text: str) -> str:
    try:
        Path(_printable(text)).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{str(error).lower().rstrip('.')}, got {shown(text)}") from None
    return text


def _writable(settings: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(settings, sort_keys=True, default=str)
    except TypeError:
        raise ValueError("the keys of a mapping must be texts, or all numbers") from None
    return settings


_Value = Annotated[T, Tag("value")]
_Choices = Annotated[
    Annotated[list[T], Field(min_length=1, max_length=1_000), AfterValidator(_different)],
    Tag("choices"),
]
Choice = TypeAliasType(
    "Choice", Annotated[_Value[T] | _Choices[T], Discriminator(_form)], type_params=(T,)
)
"""A fixed value, or a list of choices."""
Searchable = TypeAliasType(
    "Searchable",
    Annotated[_Value[T] | _Choices[T] | Annotated[Range, Tag("range")], Discriminator(_form)],
    type_params=(T,),
)
"""A fixed value, a list of choices, or a range, for numbers."""

Line = Annotated[str, Field(max_length=1_000), AfterValidator(_printable)]
Text = Annotated[str, Field(max_length=10_000), AfterValidator(_printable_lines)]
Settings = Annotated[dict[str, Any], AfterValidator(_writable)]
PathText = Annotated[str, Field(min_length=1, max_length=1_000), AfterValidator(_path)]


def lowest(value: Any) -> float:
    """The smallest number that a searchable field can take."""
    return float(value.low if isinstance(value, Range) else min(as_choices(value)))


def highest(value: Any) -> float:
    """The largest number that a searchable field can take."""
    return float(value.high if isinstance(value, Range) else max(as_choices(value)))


def as_choices(value: Any) -> list[Any]:
    """A fixed value or a list of choices, as a list."""
    return list(value) if isinstance(value, list | tuple) else [value]


def plain(value: Any) -> Any:
    """A field's value as it stands in the file, for messages."""
    return value.model_dump() if isinstance(value, BaseModel) else value
