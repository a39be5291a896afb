"""Plans to choose among: drawn from a space at random, or by changing plans that did well."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from optuna.distributions import FloatDistribution, IntDistribution

from prune_search.plan.plan import Plan
from tuners.search.space import Asked

_CHANGED = 0.3
"""Share of a parent's choices that are drawn anew."""
_MOVED = 0.15
"""Standard deviation of how far the others move, of a range from 0 to 1."""


class Proposal(NamedTuple):
    """A plan, and the parameters that make it of the space."""

    plan: Plan
    params: dict[str, Any]


def propose(
    space: Callable[[Asked], Plan],
    generator: np.random.Generator,
    parents: Sequence[Mapping[str, Any]],
    *,
    drawn: int,
    changed: int,
) -> list[Proposal]:
    """Plans of a space, none twice.

    Args:
        space: makes a plan of what it asks for.
        generator: of the random numbers.
        parents: parameters of plans to change; none, and all are drawn.
        drawn: how many are drawn from the whole space, at most.
        changed: how many are made of parents, at most.
    """
    found: dict[tuple[tuple[str, Any], ...], Proposal] = {}
    for number in range(drawn + changed):
        parent: Mapping[str, Any] = {}
        if number >= drawn and parents:
            parent = parents[int(generator.integers(len(parents)))]
        asked = _Drawn(generator, parent)
        plan = space(asked)
        found.setdefault(tuple(sorted(asked.params.items())), Proposal(plan, asked.params))
    return list(found.values())


class _Drawn:
    """Stands in for Optuna's trial: at random, or near to what a parent has."""

    def __init__(self, generator: np.random.Generator, parent: Mapping[str, Any]) -> None:
        self._generator, self._parent = generator, parent
        self.params: dict[str, Any] = {}

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        value = self._parent.get(name)
        if value not in choices or self._generator.random() < _CHANGED:
            value = choices[int(self._generator.integers(len(choices)))]
        self.params[name] = value
        return value

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        value = self._number(name, FloatDistribution(low, high, log=log))
        self.params[name] = min(max(value, low), high)
        return float(self.params[name])

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        value = self._number(name, IntDistribution(low, high, log=log))
        self.params[name] = min(max(round(value), low), high)
        return int(self.params[name])

    def _number(self, name: str, within: FloatDistribution | IntDistribution) -> float:
        low, high = (float(np.log(end) if within.log else end) for end in (within.low, within.high))
        value = self._parent.get(name)
        if value is None or self._generator.random() < _CHANGED:
            chosen = self._generator.uniform(low, high)
        else:
            before = float(np.log(value) if within.log else value)
            chosen = self._generator.normal(before, _MOVED * (high - low))
            chosen = min(max(chosen, low), high)
        return float(np.exp(chosen) if within.log else chosen)
