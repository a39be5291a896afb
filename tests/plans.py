"""Plans for tests: a complete one, and changes to it."""

from __future__ import annotations

from typing import Any

from prune_search.plan.compatibility import CONDITIONAL, applicable
from prune_search.plan.plan import Plan

SHORT = "evaluation.max_steps=100"
"""Where returns need only tell policies apart: most of such a trial's time is evaluation."""


def plan(**changes: Any) -> Plan:
    """Three rounds of 1,000 env steps that prune weights to 80 % in two steps, with changes.

    Fields that have no meaning with them are left out.
    """
    fields: dict[str, Any] = {
        "granularity": "weight",
        "criterion": "magnitude",
        "allocation": "global",
        "scope": "both",
        "ratio": 0.8,
        "critic_ratio": 0.5,
        "schedule": "geometric",
        "start": 0.0,
        "end": 0.67,
        "rounds": 3,
        "env_steps": 3000,
        "lr_scale": 1.0,
    }
    whole = fields | changes
    unused = CONDITIONAL - applicable(whole)
    return Plan(**{name: value for name, value in whole.items() if name not in unused})
