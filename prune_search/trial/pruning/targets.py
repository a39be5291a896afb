"""What a plan asks for: final ratios, their schedule, the trainings between prunings."""

from __future__ import annotations

from prune_search.plan.plan import Plan
from prune_search.rllib.networks.roles import ACTOR, CRITIC
from prune_search.sparsity.allocation import ALLOCATIONS, Allocation
from prune_search.sparsity.gate import GATED
from prune_search.sparsity.schedules import SCHEDULES, Schedule, schedule
from prune_search.sparsity.selection.granularities import GRANULARITIES
from prune_search.sparsity.sensitivity import Curve


def levels(plan: Plan) -> dict[str, float]:
    """What networks in scope are pruned to in the end, by role: a ratio, or the threshold."""
    scope = [ACTOR, CRITIC] if plan.scope == "both" else [plan.scope]
    if plan.threshold is not None:
        return dict.fromkeys(scope, plan.threshold)
    pattern = GRANULARITIES[plan.granularity].pattern
    if pattern is not None:
        return dict.fromkeys(scope, pattern.limit)
    if plan.schedule == GATED:
        return dict.fromkeys(scope, 1.0)
    assert plan.ratio is not None
    if plan.scope == "both":
        assert plan.critic_ratio is not None
        return {ACTOR: plan.ratio, CRITIC: plan.critic_ratio}
    return {plan.scope: plan.ratio}


def plan_schedule(plan: Plan) -> Schedule | None:
    """The plan's schedule over progress; None where a gate sets the ratio.

    One that follows the rounds' starts takes a step at each of them from start to end.
    """
    if plan.schedule == GATED:
        return None
    start, end = plan.start or 0.0, 1.0 if plan.end is None else plan.end
    steps = max(1, round((end - start) * plan.rounds))
    if SCHEDULES.find(plan.schedule).follows_round_start:
        end = min(1.0, start + steps / plan.rounds)
    return schedule(plan.schedule, start, end, steps)


def level_at(plan: Plan, progress: float, end: float) -> float:
    """What a network is pruned to by now on its way to `end`: a ratio, or the threshold.

    Args:
        plan: whose schedule is no gate.
        progress: env steps used / the plan's.
        end: as `levels` gives it.
    """
    found = plan_schedule(plan)
    assert found is not None
    return (found.at if plan.threshold is None else found.threshold)(progress, end)


def retrainings(plan: Plan) -> list[tuple[int, int]]:
    """The trainings that follow the steps of a schedule that goes in steps.

    Returns:
        Env steps of the trial at which each begins and ends, the last at the trial's end. Empty
        for schedules that prune all the time.
    """
    found = plan_schedule(plan)
    begins = found.marks() if found else []
    if not begins:
        return []
    marks = [round(begin * plan.env_steps) for begin in begins]
    return list(zip(marks, [*marks[1:], plan.env_steps], strict=True))


def allocation_of(plan: Plan, curves: dict[str, Curve] | None) -> Allocation | None:
    """The plan's allocation, made from the figures that it needs; None where there is none."""
    if plan.allocation is None:
        return None
    found = ALLOCATIONS.find(plan.allocation)
    if found.fit is None:
        return found
    return found.fit((plan.densities if found.fitted_to == "densities" else curves) or {})
