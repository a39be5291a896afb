"""What a field of the experiment file may hold: a value, a list of choices, or a range."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator
from typing_extensions import TypeAliasType

T = TypeVar("T")


class Section(BaseModel):
    """A part of the experiment file: unknown keys are refused, docstrings are the help."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


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


# A fixed value, a list of choices, or (for numbers) a range.
Choice = TypeAliasType(
    "Choice",
    Annotated[
        Annotated[T, Tag("value")]
        | Annotated[Annotated[list[T], Field(min_length=1)], Tag("choices")],
        Discriminator(_form),
    ],
    type_params=(T,),
)
Searchable = TypeAliasType(
    "Searchable",
    Annotated[
        Annotated[T, Tag("value")]
        | Annotated[Annotated[list[T], Field(min_length=1)], Tag("choices")]
        | Annotated[Range, Tag("range")],
        Discriminator(_form),
    ],
    type_params=(T,),
)

Ratio = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NaturalFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveInt = Annotated[int, Field(ge=1)]
NaturalInt = Annotated[int, Field(ge=0)]


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
