"""The methods that a study's plan is compared with, all of as many weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from prune_search.experiment.pruning import Pruning
from prune_search.plan.plan import Plan
from tuners.search.space import given

SEARCHED, DENSE = "searched plan", "dense, trained on"
_PRUNING_FROM, _PRUNING_TO = 0.2, 0.75
"""Of gradual pruning from new weights (Graesser et al. 2022)."""
_REGROWTHS = 10  # at least


class Method(NamedTuple):
    """A way to get a policy."""

    name: str
    about: str
    """How, and by whom."""
    fields: dict[str, Any]
    """Of the experiment file's `pruning`, those that have a meaning for it."""


def methods(plan: Plan, weight_sparsity: float, trained: int, pruning: Pruning) -> list[Method]:
    """The plan, and what an expert would do without a search.

    Those that prune the dense policy have as many env steps for it as the plan. Those that begin
    with new weights need no dense policy and have its env steps besides.

    Args:
        plan: found by a search; quantization is left out of it.
        weight_sparsity: what the plan comes to, and the others are asked for.
        trained: env steps of the dense policy's training.
        pruning: the experiment's section, for what regrowth is set to.
    """
    searched = {**given(plan), "quantization": "none"}
    searched.pop("bits", None)
    searched.pop("quantized_from", None)
    plain: dict[str, Any] = {
        "origin": "baseline",
        "granularity": plan.granularity,
        "criterion": "magnitude",
        "allocation": "erk",
        "scope": "actor",
        "ratio": weight_sparsity,
        "regrowth": "none",
        "rewind": "none",
        "quantization": "none",
        "rounds": plan.rounds,
        "env_steps": plan.env_steps,
        "lr_scale": 1.0,
        "distillation": 0.0,
    }
    at_once = {**plain, "schedule": "one_shot", "start": 0.0}
    scratch = {**plain, "origin": "scratch", "env_steps": plan.env_steps + trained}
    static = {**at_once, **scratch, "granularity": "weight", "criterion": "random"}
    regrown = {
        **static,
        "end": _PRUNING_TO,
        "drop_fraction": _fixed(pruning, "drop_fraction"),
        # Short trials get some all the same.
        "regrow_every": min(
            _fixed(pruning, "regrow_every"),
            max(1, int(plan.env_steps * _PRUNING_TO / _REGROWTHS)),
        ),
    }
    gradual = {"start": 0.0, "end": _PRUNING_TO}
    found = [
        Method(SEARCHED, plan.label, searched),
        Method(DENSE, "nothing is pruned", {**at_once, "ratio": 0.0, "allocation": "uniform"}),
        Method(
            "iterative magnitude",
            "ERK, a step in each round, the dense policy trained on (Renda et al. 2020)",
            {**plain, "schedule": "geometric", **gradual},
        ),
        Method("one-shot magnitude", "ERK, all at once, then trained on", at_once),
        Method(
            "gradual magnitude, new weights",
            "ERK, cubic (Zhu and Gupta 2017; Graesser et al. 2022)",
            {**scratch, "schedule": "cubic", "start": _PRUNING_FROM, "end": _PRUNING_TO},
        ),
        Method("static random mask, new weights", "ERK, never changed", static),
        Method("SET, new weights", "ERK (Mocanu et al. 2018)", {**regrown, "regrowth": "set"}),
        Method("RigL, new weights", "ERK (Evci et al. 2020)", {**regrown, "regrowth": "rigl"}),
    ]
    if plan.criterion != "random" and plan.ratio is not None:
        blind = {**searched, "criterion": "random"}
        about = "the searched plan, but what goes is chosen at random"
        found.insert(1, Method("random criterion", about, blind))
    return found


def _fixed(pruning: Pruning, name: str) -> Any:
    """The experiment's value; the field's default where it is searched."""
    given = getattr(pruning, name)
    return given if isinstance(given, int | float) else Pruning.model_fields[name].default


def listed(pruning: Pruning, chosen: Sequence[Method]) -> tuple[Pruning, list[dict[str, Any]]]:
    """A section that leaves open where methods differ, and what pins each of them.

    Raises:
        ValidationError: the methods cannot stand in one section.
    """
    settings = pruning.model_dump()
    pinned: list[dict[str, Any]] = [{} for _ in chosen]
    for field in {name: None for method in chosen for name in method.fields}:
        values = [method.fields[field] for method in chosen if field in method.fields]
        different = list(dict.fromkeys(values))
        settings[field] = different[0] if len(different) == 1 else different
        if len(different) > 1:
            for pin, method in zip(pinned, chosen, strict=True):
                if field in method.fields:
                    pin[field] = method.fields[field]
    # None gives up, however badly it does: what it comes to is asked for.
    settings["patience"] = max(method.fields["rounds"] for method in chosen) + 1
    return Pruning.model_validate(settings), pinned


def follows(plan: Plan, method: Method) -> bool:
    """Whether a trial's plan is the method's."""
    return all(getattr(plan, name) == value for name, value in method.fields.items())
