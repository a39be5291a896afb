"""What stands behind a policy's network, in C: how its outputs become an action."""

from __future__ import annotations

from prune_search.artifacts.c.emitter import Emitter
from prune_search.artifacts.c.storage import number
from prune_search.policy.actions import Choice, Continuous


def emit_action(action: Choice | Continuous, to: Emitter) -> None:
    """Adds what makes an action of the network's outputs."""
    if isinstance(action, Choice):
        _choose(action, to)
    else:
        _bring_in(action, to)


def _choose(action: Choice, to: Emitter) -> None:
    if action.sampled:
        to.each(action.outputs, "{x} + noise[i]")
    at = 0
    for group, (size, first) in enumerate(zip(action.sizes, action.first, strict=True)):
        to.lines += [
            f"for (i = 1, j = 0; i < {size}; i++)",
            f"    if ({to.x}[{at} + i] > {to.x}[{at} + j])",
            "        j = i;",
            f"action[{group}] = j + {first};" if first else f"action[{group}] = j;",
        ]
        at += size


def _bring_in(action: Continuous, to: Emitter) -> None:
    value, sampling = f"{to.x}[i]", action.sampling
    if sampling is not None:
        log = f"{to.x}[{action.size} + i]"
        if sampling.log_deviation is not None:
            log = f"{to.constant('log_deviation', sampling.log_deviation)}[i]"
        if sampling.limits is not None:
            low, high = map(number, sampling.limits)
            log = f"fminf(fmaxf({log}, {low}), {high})"
        value = f"{value} + expf({log}) * noise[i]"
        value = f"tanhf({value})" if sampling.squashed else value
    if action.bounds != "none":
        low, high = to.constant("low", action.low), to.constant("high", action.high)
        if action.bounds == "scale":
            value = f"{low}[i] + ({value} + 1.0f) * ({high}[i] - {low}[i]) / 2.0f"
        value = f"fminf(fmaxf({value}, {low}[i]), {high}[i])"
    to.lines += [f"for (i = 0; i < {action.size}; i++)", f"    action[i] = {value};"]
