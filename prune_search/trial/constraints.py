"""How far what a trial delivers is from keeping to the search's constraints."""

from __future__ import annotations

from math import nan

from prune_search.experiment.search_section import Search
from prune_search.records.fronts import delivered
from prune_search.records.models import BaselineRecord, TrialRecord


def violations(trial: TrialRecord, search: Search, baseline: BaselineRecord) -> dict[str, float]:
    """By each constraint that is set, how far what the trial delivers is from keeping to it.

    0 or less where it does. Returns as a share of the baseline's gain over random actions, all else
    as a share of the limit, so that one doesn't outweigh the other.
    """
    best, limits = delivered(trial.points, search.retention), search.constraints
    found = {}
    if limits.min_return is not None:
        found["min_return"] = baseline.retention(limits.min_return) - best.retention
    for name, value, limit in (
        ("max_parameters", best.nonzero, limits.max_parameters),
        ("max_macs", best.macs, limits.max_macs),
        ("max_latency_us", best.latency_us, limits.max_latency_us),
    ):
        if limit is not None:
            found[name] = nan if value is None else value / limit - 1
    return found
