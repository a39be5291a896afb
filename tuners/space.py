"""The search space: what the experiment file leaves open, asked of Optuna trial by trial.

Define-by-run, because it is conditional: a threshold is only asked for where the criterion is
threshold, a ratio and an allocation only elsewhere, a critic's ratio only where both networks are
pruned. Fields with one value are not parameters of the study.
"""

from __future__ import annotations

from typing import Any

import optuna

from prune_search.experiment import RATIOS, Plan, Pruning, Range, as_choices


def suggest(trial: optuna.Trial, pruning: Pruning) -> Plan:
    """One trial's plan. A ratio's log range is searched as `<name>_density`, 1 - ratio."""

    def choice(name: str) -> Any:
        values = as_choices(getattr(pruning, name))
        return trial.suggest_categorical(name, values) if len(values) > 1 else values[0]

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

    criterion, scope = choice("criterion"), choice("scope")
    schedule = choice("schedule")
    by_value, gradual = criterion == "threshold", schedule != "one_shot"
    return Plan(
        granularity=choice("granularity"),
        criterion=criterion,
        scope=scope,
        origin=choice("origin"),
        allocation=None if by_value else choice("allocation"),
        ratio=None if by_value else ratio("ratio"),
        critic_ratio=ratio("critic_ratio") if scope == "both" and not by_value else None,
        threshold=number("threshold") if by_value else None,
        threshold_unit=choice("threshold_unit") if by_value else None,
        schedule=schedule,
        start=number("start"),
        end=number("end") if gradual else None,
        rounds=integer("rounds"),
        env_steps=integer("env_steps"),
        lr_scale=number("lr_scale"),
    )


def parameters(given: dict[str, Any], pruning: Pruning) -> dict[str, Any]:
    """Optuna's parameters for a trial that is given by values of `pruning`'s open fields."""
    result = {}
    for name, value in given.items():
        field = getattr(pruning, name)
        if name in RATIOS and _is(field) and field.log:
            result[f"{name}_density"] = 1 - value
        elif _is(field) or isinstance(field, list):
            result[name] = value
    return result


def _is(value: Any) -> bool:
    return isinstance(value, Range)
