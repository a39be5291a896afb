"""Numbers of plans and experiment files, by what they may be."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Ratio = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NaturalFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Bits = Annotated[int, Field(ge=2, le=8)]
PositiveInt = Annotated[int, Field(ge=1, le=10**12)]
NaturalInt = Annotated[int, Field(ge=0, le=10**12)]
FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]
