"""What a report says in words: returns, intervals, what trials did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from prune_search.records.intervals import holding
from prune_search.records.models import Point, TrialRecord
from prune_search.records.returns import Return
from prune_search.sparsity.gate import GATED
from tuners.report.repeats import Repeated
from tuners.words import count


def remark(plan: Repeated) -> str:
    """Of its trials, how many collapsed, failed or were stopped: ` (1 collapsed, 2 stopped)`."""
    counts = Counter(trial.state for trial in plan.left_out)
    told = {"collapsed": plan.collapsed, "failed": counts["failed"], "stopped": counts["stopped"]}
    found = ", ".join(f"{number} {word}" for word, number in told.items() if number)
    return f" ({found})" if found else ""


def did(trial: TrialRecord) -> dict[str, int] | None:
    """How often what the trial's plan names has happened; None where its points don't say."""
    plan, whole = trial.plan, trial.did
    if whole is None:
        return None
    fields = ["prunings"]
    if plan.regrowth != "none":
        fields += ["regrowths_due", "regrowths", "regrown"]
    if plan.rewind != "none":
        fields.append("rewinds")
    if plan.schedule == GATED:
        fields += ["gate_pruned", "gate_held", "gate_took_back"]
    if plan.quantization != "none":
        fields.append("quantized")
    return {field: getattr(whole, field) for field in fields}


def did_words(trial: TrialRecord) -> str:
    """`8 of 9 regrowths (120 weights), 2 rewinds`; empty where a plan has no such part."""
    found = did(trial) if trial.points else None
    if not found:
        return ""
    words = []
    if "regrowths" in found:
        done, due, weights = found["regrowths"], found["regrowths_due"], found["regrown"]
        words.append(f"{done} of {count(due, 'regrowth')} ({count(weights, 'weight')})")
    if "rewinds" in found:
        words.append(
            f"{count(found['rewinds'], 'rewind')} in {count(found['prunings'], 'pruning')}"
        )
    if "gate_pruned" in found:
        words.append(
            f"gate pruned {count(found['gate_pruned'], 'time')}, held {found['gate_held']},"
            f" took back {found['gate_took_back']}"
        )
    if "quantized" in found:
        words.append(f"{count(found['quantized'], 'weight')} quantized")
    return ", ".join(words)


def interval(returned: Return) -> str:
    """`472 [455, 490]`: what it counts as, and the 95 % interval of that."""
    return f"{returned.value:.4g} [{returned.low:.4g}, {returned.high:.4g}]"


def missing_costs(points: Sequence[Point]) -> list[str]:
    """Which figures of cost could not be had, why, and of how many points; a line for each."""
    reasons = Counter(item for point in points for item in point.cost_missing.items())
    return [
        f"{name} of {number} of {count(len(points), 'point')}: {why}"
        for (name, why), number in reasons.items()
    ]


def counted(returned: Return) -> str:
    """What a return counts as, for labels: mean or IQM."""
    return {"mean": "mean", "iqm": "IQM"}[returned.aggregate]


def tail(returned: Return, bound: float | None) -> tuple[str, str]:
    """Of its episodes the worst tenth's mean, `10`, and the share that hold, `80% [58, 92]`.

    Empty where the episodes were not kept, or nothing is known to hold them to.
    """
    worst, held = returned.worst, holding(returned, bound) if bound is not None else None
    return (
        "" if worst is None else f"{worst:.4g}",
        f"{held.share:.0%} [{100 * held.low:.0f}, {100 * held.high:.0f}]" if held else "",
    )
