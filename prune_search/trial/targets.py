"""What a plan asks for: final ratios, their schedule, the trainings between prunings."""

from __future__ import annotations

from prune_search.experiment.pruning import Plan
from prune_search.rllib.networks import ACTOR, CRITIC
from prune_search.sparsity.allocation import Allocation, proportional
from prune_search.sparsity.schedules import Geometric, OneShot, Schedule, schedule
from prune_search.sparsity.sensitivity import Curve, by_sensitivity


def finals(plan: Plan) -> dict[str, float]:
    """What networks in scope are pruned to, by role: a ratio, or the threshold."""
    scope = [ACTOR, CRITIC] if plan.scope == "both" else [plan.scope]
    if plan.threshold is not None:
        return dict.fromkeys(scope, plan.threshold)
    if ":" in plan.granularity:
        kept, group = map(int, plan.granularity.split(":"))
        return dict.fromkeys(scope, 1 - kept / group)
    if plan.schedule == "gated":
        return dict.fromkeys(scope, 1.0)
    assert plan.ratio is not None
    if plan.scope == "both":
        assert plan.critic_ratio is not None
        return {ACTOR: plan.ratio, CRITIC: plan.critic_ratio}
    return {plan.scope: plan.ratio}


def plan_schedule(plan: Plan) -> Schedule | None:
    """The plan's schedule over progress; None where a gate sets the ratio.

    The geometric one takes a step at the start of each round from start to end, so that a round
    is: prune, train, evaluate.
    """
    if plan.schedule == "gated":
        return None
    start, end = plan.start or 0.0, 1.0 if plan.end is None else plan.end
    steps = max(1, round((end - start) * plan.rounds))
    if plan.schedule == "geometric":
        end = min(1.0, start + steps / plan.rounds)
    return schedule(plan.schedule, start, end, steps)


def retrainings(plan: Plan) -> list[tuple[int, int]]:
    """The trainings that follow the steps of a schedule that goes in steps.

    Returns:
        Env steps of the trial at which each begins and ends, the last at the trial's end. Empty
        for schedules that prune all the time.
    """
    found = plan_schedule(plan)
    if isinstance(found, OneShot):
        begins = [found.start]
    elif isinstance(found, Geometric):
        width = (found.end - found.start) / found.steps
        begins = [found.start + step * width for step in range(found.steps)]
    else:
        return []
    marks = [round(begin * plan.env_steps) for begin in begins]
    return list(zip(marks, [*marks[1:], plan.env_steps], strict=True))


def allocation_of(plan: Plan, curves: dict[str, Curve] | None) -> str | Allocation | None:
    if plan.allocation == "searched":
        return proportional(plan.densities or {})
    if plan.allocation == "sensitivity":
        return by_sensitivity(curves or {})
    return plan.allocation
