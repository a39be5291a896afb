"""What a study costs beside the RLlib work in it."""

from __future__ import annotations

from prune_search.errors import UserError
from prune_search.records.folder import StudyFolder
from prune_search.records.stages import MEANINGS


def wall_overhead(folder: StudyFolder) -> str:
    """The command's wall time / (baseline's RLlib time + trials' RLlib time / concurrent trials).

    Wall time includes Ray's start, MLflow, and the re-evaluation of the front; RLlib time is
    training and evaluation, the baseline's only if this study trained it, as that of the dense
    control, which counts as a trial. A line for each stage says what the wall time is made of.

    Raises:
        UserError: the study has not ended.
    """
    study = folder.study()
    if study is None or study.ended is None or study.baseline is None:
        raise UserError(f"benchmark wall: study {folder.name!r} has not ended")
    trials = sum(trial.seconds for trial in folder.trials())
    at_a_time = study.concurrent_trials
    work = study.baseline_s + (trials + study.control_s) / at_a_time
    stages = [
        f"{seconds:8.1f} s  {stage}: {MEANINGS[stage]}" for stage, seconds in study.stages.items()
    ]
    ratio = (
        f"wall / RLlib: {study.wall_s / work:.3f} (wall {study.wall_s:.1f} s; baseline"
        f" {study.baseline_s:.1f} s + trials {trials:.1f} s and dense control"
        f" {study.control_s:.1f} s / {at_a_time} at a time)"
    )
    return "\n".join([ratio, *stages])
