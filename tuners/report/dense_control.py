"""What the dense control tells of the training itself: whether it holds what it is given."""

from __future__ import annotations

from prune_search.records.models import BaselineRecord, ControlRecord


def kept_at_its_end(
    control: ControlRecord, baseline: BaselineRecord, enough: float
) -> float | None:
    """Retention of the last round, where it is surely less than `enough`; else None."""
    last = control.rounds[-1]
    if baseline.retention(last.high) >= enough:
        return None
    return max(0.0, baseline.retention(last.value))


def fallen(control: ControlRecord, baseline: BaselineRecord, enough: float) -> str:
    """What to do where the dense policy falls apart when it is trained on; empty where it holds.

    Then what trials lose is not the pruning's doing, or not alone, and no ratio will help.

    Args:
        control: with all of its rounds.
        baseline: it began from.
        enough: retention that the last round's interval has to reach.
    """
    kept = kept_at_its_end(control, baseline, enough)
    if kept is None:
        return ""
    return (
        f"its last round kept {kept:.1%}: the dense policy"
        " falls apart when it is trained on, and so do pruned ones; try a lower pruning.lr_scale,"
        " or a rate that falls (algorithm.training.lr: [[0, first], [baseline.env_steps, 0]])"
    )
