"""The search space: what the experiment file leaves open, asked of Optuna trial by trial.

Define-by-run, because it is conditional: a threshold is only asked for where the criterion is
threshold, a ratio and an allocation only elsewhere, a critic's ratio only where both networks are
pruned, and of the choices that limit each other only those that go with the ones made before.
Fields with one value are not parameters of the study.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from prune_search.experiment.fields import Range, as_choices
from prune_search.experiment.pruning import AXES, RATIOS, Plan, Pruning, conflict, options

_SMALLEST_DENSITY = 0.05  # of a layer, relative to the densest, where densities are searched


class Asked(Protocol):
    """What is asked for values: Optuna's trial, or what stands in for one."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int: ...


def suggest(trial: Asked, pruning: Pruning, layers: Sequence[str] = ()) -> Plan:
    """One trial's plan. A ratio's log range is searched as `<name>_density`, 1 - ratio.

    Args:
        trial: asked for the values.
        pruning: what is fixed and what is open.
        layers: names of the prunable kernels; needed where allocation may be `searched`.
    """
    axes: dict[str, Any] = {}

    def axis(name: str) -> Any:
        allowed = options(pruning, name, axes)
        axes[name] = _pick(trial, _axis_parameter(pruning, name, allowed), allowed)
        return axes[name]

    def choice(name: str) -> Any:
        return _pick(trial, name, as_choices(getattr(pruning, name)))

    def number(name: str) -> float:
        value = getattr(pruning, name)
        return (
            trial.suggest_float(name, value.low, value.high, log=value.log)
            if _is(value)
            else choice(name)
        )

    def integer(name: str) -> int:
        value = getattr(pruning, name)
        if not _is(value):
            return int(choice(name))
        return trial.suggest_int(name, int(value.low), int(value.high), log=value.log)

    def ratio(name: str) -> float:
        value = getattr(pruning, name)
        if _is(value) and value.log:
            low, high = 1 - value.high, 1 - value.low
            return 1 - trial.suggest_float(f"{name}_density", low, high, log=True)
        return number(name)

    granularity, criterion, schedule = axis("granularity"), axis("criterion"), axis("schedule")
    by_value = criterion == "threshold"
    allocated = not by_value and ":" not in granularity
    allocation = axis("allocation") if allocated else None
    origin, rewind, regrowth = axis("origin"), axis("rewind"), axis("regrowth")
    scope = choice("scope")
    gated = schedule == "gated"
    gradual = schedule not in ("one_shot", "gated")
    aims = allocated and not gated
    distillation = number("distillation")
    return Plan(
        granularity=granularity,
        criterion=criterion,
        scope=scope,
        origin=origin,
        allocation=allocation,
        densities={
            layer: trial.suggest_float(f"density {layer}", _SMALLEST_DENSITY, 1.0, log=True)
            for layer in layers
        }
        if allocation == "searched"
        else None,
        ratio=ratio("ratio") if aims else None,
        critic_ratio=ratio("critic_ratio") if scope == "both" and aims else None,
        threshold=number("threshold") if by_value else None,
        threshold_unit=choice("threshold_unit") if by_value else None,
        schedule=schedule,
        start=None if gated else number("start"),
        end=number("end") if gradual or (regrowth != "none") else None,
        regrowth=regrowth,
        drop_fraction=None if regrowth == "none" else number("drop_fraction"),
        regrow_every=None if regrowth == "none" else integer("regrow_every"),
        rewind=rewind,
        rounds=integer("rounds"),
        env_steps=integer("env_steps"),
        lr_scale=number("lr_scale"),
        distillation=distillation,
        temperature=number("temperature") if distillation else None,
    )


def parameters(given: Mapping[str, Any], pruning: Pruning) -> dict[str, Any]:
    """Optuna's parameters for a trial that is given by values of `pruning`'s open fields."""
    chosen: dict[str, Any] = {}
    result: dict[str, Any] = {}
    for name in AXES:
        allowed = options(pruning, name, chosen)
        if name in given and conflict({**chosen, name: given[name]}) is None:
            chosen[name] = given[name]
            if len(allowed) > 1:
                result[_axis_parameter(pruning, name, allowed)] = given[name]
        elif len(allowed) == 1:
            chosen[name] = allowed[0]
    for name in given.keys() - set(AXES):
        field = getattr(pruning, name)
        if name in RATIOS and _is(field) and field.log:
            result[f"{name}_density"] = 1 - given[name]
        elif _is(field) or len(as_choices(field)) > 1:
            result[name] = given[name]
    return result


def _pick(trial: Asked, parameter: str, values: list[Any]) -> Any:
    return trial.suggest_categorical(parameter, values) if len(values) > 1 else values[0]


def _axis_parameter(pruning: Pruning, name: str, allowed: list[Any]) -> str:
    """Optuna wants the same choices at every trial under one name."""
    all_of_it = allowed == as_choices(getattr(pruning, name))
    return name if all_of_it else f"{name} of {', '.join(map(str, allowed))}"


def _is(value: Any) -> bool:
    return isinstance(value, Range)
