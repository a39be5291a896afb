"""What to change where no search helps: policies do not recover, however they are pruned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from prune_search.records.fronts import sparsest
from prune_search.records.models import BaselineRecord, ControlRecord, TrialRecord
from tuners.words import count


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
        f"its last round kept {kept:.1%}: the dense policy falls apart when it is trained on, and"
        " so do pruned ones; try a lower pruning.lr_scale, or a rate that falls"
        " (algorithm.training.lr: [[0, first], [baseline.env_steps, 0]])"
    )


class Lacking(NamedTuple):
    """How it shows that trials lack the recovery for what they are asked for."""

    given_up: int
    ended: int
    """Trials that did, those that were given up included."""
    lowest: float
    """Ratio that was tried."""


def lacking(trials: Sequence[TrialRecord], enough: float) -> Lacking | None:
    """Where most trials were given up and no point that counts is as sparse as the lowest ratio.

    Args:
        trials: the study's.
        enough: retention of the points that count.
    """
    over = [trial for trial in trials if trial.ended and not trial.cut_off]
    given_up = sum(trial.collapsed for trial in over)
    ratios = [trial.plan.ratio for trial in over if trial.plan.ratio]
    if given_up < 2 or 2 * given_up <= len(over) or not ratios:
        return None
    best = sparsest([point for trial in trials for point in trial.points], enough)
    if best is not None and best.weight_sparsity >= min(ratios):
        return None
    return Lacking(given_up, len(over), min(ratios))


def lacking_recovery(trials: Sequence[TrialRecord], enough: float) -> str:
    """What to do where recovery lacks, as `lacking` has it; empty where it does not."""
    found = lacking(trials, enough)
    if found is None:
        return ""
    return (
        f"{found.given_up} of {count(found.ended, 'trial')} were given up, and what keeps"
        f" {enough:.0%} is less sparse than the lowest ratio that was tried, {found.lowest:.1%}:"
        " recovery lacks; try more pruning.env_steps and rounds, a lower pruning.ratio, a later"
        " pruning.end"
    )
