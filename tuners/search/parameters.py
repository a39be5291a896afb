"""The names of Optuna's parameters, written and read here alone.

| name | what it is |
|---|---|
| `FIELD` | a field of `pruning` |
| `FIELD_density` | 1 - that ratio: the share of weights that stays, searched on a log scale |
| `density LAYER` | allocation `searched`: how densely a layer is kept, relative to the densest |
| `FIELD of A, B` | a field of which only A and B go with what was chosen before |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

_DENSITY, _LAYER, _OF = "_density", "density ", " of "

MEANINGS = {
    f"ratio{_DENSITY}": "1 - pruning.ratio: the share of the actor's weights that a trial leaves;"
    " searched on a log scale",
    f"critic_ratio{_DENSITY}": "1 - pruning.critic_ratio, likewise of the critic",
    f"{_LAYER}LAYER": "allocation searched: how densely this layer is kept, relative to the"
    " densest",
    f"NAME{_OF}A, B": "the field NAME where only A and B go with what was chosen before",
}
"""What parameters mean that are no fields of `pruning`, for those who look at Optuna's pages."""


class Parameter(NamedTuple):
    """What a name says."""

    field: str | None
    """Of `pruning`; None for a layer's density."""
    layer: str | None = None
    density: bool = False
    """Whether its value is 1 - the field's."""

    @property
    def described(self) -> str:
        """As messages name it."""
        if self.field is None:
            return "the density of layers, which allocation searched leaves open,"
        return f"pruning.{self.field}"


def density_of(field: str) -> str:
    """The parameter of a ratio whose density is searched."""
    return field + _DENSITY


def of_layer(layer: str) -> str:
    """The parameter of a layer's density."""
    return _LAYER + layer


def of_axis(field: str, allowed: Sequence[Any], all_values: Sequence[Any]) -> str:
    """The parameter of a choice: Optuna wants the same choices at every trial under one name."""
    if list(allowed) == list(all_values):
        return field
    return f"{field}{_OF}{', '.join(map(str, allowed))}"


def parsed(name: str) -> Parameter:
    """What a parameter's name says."""
    if name.startswith(_LAYER):
        return Parameter(None, layer=name.removeprefix(_LAYER))
    if name.endswith(_DENSITY):
        return Parameter(name.removesuffix(_DENSITY), density=True)
    return Parameter(name.partition(_OF)[0])
