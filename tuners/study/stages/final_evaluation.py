"""The front measured again, on seeds that the search never saw."""

from __future__ import annotations

import math
from pathlib import Path

from prune_search.errors import UserError
from prune_search.experiment.schema import Evaluation
from prune_search.ray_failures import lost
from prune_search.records.fronts import front
from prune_search.records.models import FinalRecord, Point
from prune_search.records.returns import Return
from prune_search.rllib.evaluation.checkpoint_meter import CheckpointMeter
from tuners.commands import command
from tuners.study.stages.driven import DrivenStudy

_START_S = 5.0
"""What a process takes, about, until it has imported RLlib."""


def evaluate_front(study: DrivenStudy) -> None:
    """Measures the front's points, the dense policies and random actions on the final seeds."""
    import ray
    from ray.util import ActorPool

    folder, experiment, progress = study.folder, study.experiment, study.progress
    control = study.record.control
    points = front(point for trial in folder.trials() for point in trial.points)
    if not points:  # all trials failed: there is nothing to compare
        return
    known = folder.final()
    same = known is not None and set(known.points) == {point.name for point in points}
    if known is not None and same and (known.control is None) == (control is None):
        return
    seed, episodes = experiment.evaluation.final_seed, experiment.evaluation.final_episodes
    workers = meters(points, experiment.evaluation, int(ray.cluster_resources().get("CPU", 1)))
    storage = folder.path.parent
    # A measurement changes nothing: it can be repeated, in a process started again.
    retries = experiment.search.retries
    meter = ray.remote(CheckpointMeter).options(max_restarts=retries, max_task_retries=retries)
    pool = ActorPool([meter.remote(experiment, storage) for _ in range(workers)])
    paths = [
        Path(study.baseline.checkpoint),
        *(folder.algorithm(point) for point in points),
        *([Path(control.checkpoint)] if control else []),
    ]
    again = {"retry_exceptions": True}
    try:
        measured = []
        for item in pool.map(
            lambda meter, path: meter.measure.options(**again).remote(path, seed, episodes), paths
        ):
            measured.append(item)
            progress.final_measured(len(measured), len(paths) + 1)  # random actions come last
        pool.submit(lambda meter, _: meter.random.options(**again).remote(seed, episodes), None)
        random: Return = pool.get_next()
        progress.final_measured(len(paths) + 1, len(paths) + 1)
    except ray.exceptions.RayError as error:
        raise UserError(
            f"evaluation: the front cannot be measured again: {lost(error)}; try it again by"
            f" {command('resume', folder.path)}"
        ) from None
    returns = [item.returned for item in measured]
    record = FinalRecord(
        baseline=returns[0],
        random=random,
        points={point.name: value for point, value in zip(points, returns[1:], strict=False)},
        control=returns[-1] if control else None,
    )
    study.keep_final(record)


def meters(points: list[Point], evaluation: Evaluation, cpus: int) -> int:
    """Processes that measure a front's points again: at most 8, a point each and the baseline's.

    None is started that would take longer to start than what it would take off the others.

    Args:
        points: of the front, with the seconds that their evaluations took.
        evaluation: says how many episodes that were, and how many they will be.
        cpus: of the cluster.
    """
    # A round evaluates twice: after its pruning and after its training.
    measuring_s = sum(point.eval_s for point in points) / 2
    seconds = measuring_s * evaluation.final_episodes / evaluation.episodes
    return max(1, min(len(points) + 1, cpus, 8, math.ceil(seconds / _START_S)))
