"""The dense control: what a trial's budget of further training makes of the baseline by itself.

A trial prunes the baseline and trains on. That its policy is better than the baseline may be the
training's doing alone. The control is a trial of ratio 0: the same env steps, rounds and
evaluations, seeds of its own. It lies beside the baseline, for all studies of the same budget.
"""

from __future__ import annotations

from pathlib import Path

from prune_search.experiment.fields import highest
from prune_search.experiment.pruning import Pruning
from prune_search.experiment.schema import Experiment
from prune_search.plan.plan import Plan
from prune_search.records.baselines import BaselineFolder, ControlFolder
from prune_search.records.models import BaselineRecord, ControlRecord
from prune_search.rllib.running import process_settings
from prune_search.storage.mirror import Mirror
from prune_search.trial.rounds import TrialRounds
from prune_search.trial.watchdog import Watch

_SEED = 2**31  # added to the baseline's: far from the seeds that searches have


def control_plan(pruning: Pruning) -> Plan:
    """A trial of ratio 0; where the budget is searched, of the largest one."""
    return Plan(
        granularity="weight",
        criterion="magnitude",
        allocation="uniform",
        scope="actor",
        ratio=0.0,
        schedule="one_shot",
        start=0.0,
        rounds=int(highest(pruning.rounds)),
        env_steps=int(highest(pruning.env_steps)),
        lr_scale=1.0,
    )


def control_folder(
    storage: Path, experiment: Experiment, baseline: BaselineRecord
) -> ControlFolder:
    """Where the control of this budget and these schedules is, beside the baseline; it has a
    record if an earlier study has trained it."""
    plan = control_plan(experiment.pruning)
    continued = "" if experiment.pruning.rllib_schedules == "own" else "-continued"
    beside = BaselineFolder.of(baseline, Mirror(storage, experiment.mirror))
    return beside.control(f"control-{plan.env_steps}-{plan.rounds}{continued}")


def train_control(storage: Path, experiment: Experiment, baseline: BaselineRecord) -> ControlRecord:
    """Trains the control, from its last finished round on, and keeps it.

    Raises:
        TrialError: as `TrialRounds.step`.
    """
    process_settings(experiment.resources.threads)
    plan = control_plan(experiment.pruning)
    folder = control_folder(storage, experiment, baseline)
    never = {"floor": 0.0, "patience": plan.rounds + 1}  # given up, however badly it does
    own = experiment.model_copy(
        update={
            "pruning": experiment.pruning.model_copy(update=never),
            "search": experiment.search.model_copy(
                update={"seed": _SEED + experiment.baseline.seed}
            ),
        }
    )
    watch = Watch(experiment.search, experiment.resources)
    with watch.round(folder.ended_file(0)):
        rounds = TrialRounds(own, folder, baseline, 0, plan)
    try:
        while not rounds.done:
            with watch.round(folder.ended_file(0)):
                rounds.step()
    finally:
        rounds.stop()
    points = rounds.record.points
    best = max(points, key=lambda point: point.returned.value)
    record = ControlRecord(
        checkpoint=str(folder.algorithm(best)),
        returned=best.returned,
        retention=best.retention,
        round=best.round,
        rounds=[point.returned for point in points],
        env_steps=points[-1].env_steps,
        train_s=rounds.record.seconds,
    )
    folder.write(record)
    return record
