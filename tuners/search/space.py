"""The search space: what the experiment file leaves open, asked of Optuna trial by trial.

Define-by-run, because it is conditional: a threshold is only asked for where the criterion is
threshold, a ratio and an allocation only elsewhere, a critic's ratio only where both networks are
pruned, and of the choices that limit each other only those that go with the ones made before.
Fields with one value are not parameters of the study.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from prune_search.experiment.fields import Range, as_choices
from prune_search.experiment.pruning import RATIO_FIELDS, Pruning, options
from prune_search.plan.axes import AXES
from prune_search.plan.compatibility import applicable, conflict
from prune_search.plan.plan import Plan
from tuners.search.parameters import density_of, of_axis, of_layer

_SMALLEST_DENSITY = 0.05  # of a layer, relative to the densest, where densities are searched


class Asked(Protocol):
    """What is asked for values: Optuna's trial, or what stands in for one."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int: ...


class Space:
    """Makes a trial's plan of what it asks for. A ratio's log range is `<name>_density`, 1 - ratio.

    It looks up once which choices go together: a sampler may ask for hundreds of plans a trial.

    Args:
        pruning: what is fixed and what is open.
        layers: names of the prunable kernels; needed where allocation may be `searched`.
    """

    def __init__(self, pruning: Pruning, layers: Sequence[str] = ()) -> None:
        self._pruning, self._layers = pruning, layers
        self._known: dict[tuple[Any, ...], list[Any]] = {}

    def _options(self, name: str, chosen: tuple[tuple[str, Any], ...]) -> list[Any]:
        if (name, chosen) not in self._known:
            self._known[name, chosen] = options(self._pruning, name, dict(chosen))
        return self._known[name, chosen]

    def __call__(self, trial: Asked) -> Plan:
        pruning, layers = self._pruning, self._layers
        axes: dict[str, Any] = {}

        def axis(name: str) -> Any:
            allowed = self._options(name, tuple(axes.items()))
            parameter = of_axis(name, allowed, as_choices(getattr(pruning, name)))
            axes[name] = _pick(trial, parameter, allowed)
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
                return 1 - trial.suggest_float(density_of(name), low, high, log=True)
            return number(name)

        granularity, criterion, schedule = axis("granularity"), axis("criterion"), axis("schedule")
        allocation = axis("allocation") if "allocation" in applicable(axes) else None
        origin, rewind, regrowth = axis("origin"), axis("rewind"), axis("regrowth")
        quantization = axis("quantization")
        scope = choice("scope")
        distillation = number("distillation")
        applies = applicable({**axes, "scope": scope, "distillation": distillation})

        def where(name: str, ask: Callable[[str], Any]) -> Any:
            return ask(name) if name in applies else None

        return Plan(
            granularity=granularity,
            criterion=criterion,
            scope=scope,
            origin=origin,
            allocation=allocation,
            densities={
                layer: trial.suggest_float(of_layer(layer), _SMALLEST_DENSITY, 1.0, log=True)
                for layer in layers
            }
            if "densities" in applies
            else None,
            ratio=where("ratio", ratio),
            critic_ratio=where("critic_ratio", ratio),
            threshold=where("threshold", number),
            threshold_unit=where("threshold_unit", choice),
            schedule=schedule,
            start=where("start", number),
            end=where("end", number),
            regrowth=regrowth,
            drop_fraction=where("drop_fraction", number),
            regrow_every=where("regrow_every", integer),
            rewind=rewind,
            rounds=integer("rounds"),
            env_steps=integer("env_steps"),
            lr_scale=number("lr_scale"),
            distillation=distillation,
            temperature=where("temperature", number),
            quantization=quantization,
            bits=where("bits", integer),
            quantized_from=where("quantized_from", number),
        )


def given(plan: Plan) -> dict[str, Any]:
    """A plan as `search.first` has it; layers' densities, which that can't give, are left out."""
    return plan.model_dump(include=set(Pruning.model_fields), exclude_none=True)


def parameters(given: Mapping[str, Any], pruning: Pruning) -> dict[str, Any]:
    """Optuna's parameters for a trial that is given by values of `pruning`'s open fields."""
    chosen: dict[str, Any] = {}
    result: dict[str, Any] = {}
    for name in AXES:
        allowed = options(pruning, name, chosen)
        if name in given and conflict({**chosen, name: given[name]}) is None:
            chosen[name] = given[name]
            if len(allowed) > 1:
                every = as_choices(getattr(pruning, name))
                result[of_axis(name, allowed, every)] = given[name]
        elif len(allowed) == 1:
            chosen[name] = allowed[0]
    for name in given.keys() - AXES.keys():
        field = getattr(pruning, name)
        if name in RATIO_FIELDS and _is(field) and field.log:
            result[density_of(name)] = 1 - given[name]
        elif _is(field) or len(as_choices(field)) > 1:
            result[name] = given[name]
    return result


def _pick(trial: Asked, parameter: str, values: list[Any]) -> Any:
    return trial.suggest_categorical(parameter, values) if len(values) > 1 else values[0]


def _is(value: Any) -> bool:
    return isinstance(value, Range)
