"""The front measured again, on seeds that the search never saw."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from prune_search.errors import EnvironmentFault, TrialError, UserError
from prune_search.experiment.schema import Evaluation, Experiment
from prune_search.ray_failures import lost
from prune_search.records.fronts import front
from prune_search.records.models import FinalRecord, Point
from prune_search.records.returns import Return
from prune_search.rllib.evaluation.checkpoint_meter import CheckpointMeter
from prune_search.storage.mirror import MirrorError
from prune_search.user_code import culprit
from tuners.commands import command
from tuners.study.stages.driven import DrivenStudy

_START_S = 5.0
"""What a process takes, about, until it has imported RLlib."""


def evaluate_front(study: DrivenStudy) -> None:
    """Measures the front's points, the dense policies and random actions on the final seeds.

    Raises:
        UserError: the user's code fails in it, a checkpoint can't be read, or processes are lost.
    """
    import ray

    folder, experiment, progress = study.folder, study.experiment, study.progress
    control = study.record.control
    points = front(point for trial in folder.trials() for point in trial.points)
    if not points:  # all trials failed: there is nothing to compare
        return
    known = folder.final()
    same = known is not None and set(known.points) == {point.name for point in points}
    if known is not None and same and (known.control is None) == (control is None):
        return
    workers = meters(points, experiment.evaluation, int(ray.cluster_resources().get("CPU", 1)))
    storage = folder.path.parent
    paths = [
        Path(study.baseline.checkpoint),
        *(folder.algorithm(point) for point in points),
        *([Path(control.checkpoint)] if control else []),
        None,
    ]
    returns: dict[int, Return] = {}
    try:
        for index, returned in _measured(experiment, storage, paths, workers):
            if isinstance(returned, TrialError):
                raise _failed(returned, folder.path)
            returns[index] = returned
            progress.final_measured(len(returns), len(paths))
    except ray.exceptions.RayError as error:
        raise UserError(
            f"evaluation: the front cannot be measured again: {lost(error)}; try it again by"
            f" {command('resume', folder.path)}"
        ) from None
    record = FinalRecord(
        baseline=returns[0],
        random=returns[len(paths) - 1],
        points={point.name: returns[index] for index, point in enumerate(points, 1)},
        control=returns[len(points) + 1] if control else None,
    )
    study.keep_final(record)


def _failed(error: TrialError, study: Path) -> UserError:
    """What the user is told of code that failed, and what helps: nothing, where it is a fault."""
    kept = "the front cannot be measured again on evaluation.final_seed; what the search has found"
    if isinstance(error, EnvironmentFault):
        return UserError(f"{error}: {kept} is kept: {command('show', study)}")
    tried = f"is kept, and {command('resume', study)} tries again"
    return UserError(f"evaluation: {error}: {kept} {tried}")


def _measured(
    experiment: Experiment, storage: Path, paths: Sequence[Path | None], workers: int
) -> Iterator[tuple[int, Return | TrialError]]:
    """Index and return of each checkpoint as it has been measured, a few at a time.

    Tasks, and not actors, so that processes which have trained measure too: they have imported
    RLlib, which takes longer than most measurements. One task a process, as Ray may give each
    task of many to another process.
    """
    import ray

    # A measurement changes nothing: it can be repeated, in another process, where one is lost or
    # a store does not answer.
    task = ray.remote(_measure).options(
        num_cpus=1,
        num_returns="streaming",
        max_retries=experiment.search.retries,
        retry_exceptions=[MirrorError],
        name="final evaluation",
    )
    numbered = list(enumerate(paths))
    left = [task.remote(experiment, storage, numbered[n::workers]) for n in range(workers)]
    while left:
        (ready, *_), _ = ray.wait(left)
        try:
            yield ray.get(next(ready))
        except StopIteration:
            left.remove(ready)


def _measure(
    experiment: Experiment, storage: Path, checkpoints: Sequence[tuple[int, Path | None]]
) -> Iterator[tuple[int, Return | TrialError]]:
    """Return on the final seeds of the policy in each checkpoint; of random actions where None.

    Where code of the user's fails that is the last: its error is handed on as a value, as of one
    that is raised Ray prints the traceback.

    Raises:
        UserError: a checkpoint can't be read.
        MirrorError: the store does not answer.
    """
    seed, episodes = experiment.evaluation.final_seed, experiment.evaluation.final_episodes
    index = checkpoints[0][0]
    try:
        meter = CheckpointMeter(experiment, storage)
        for index, checkpoint in checkpoints:
            if checkpoint is None:
                yield index, meter.random(seed, episodes)
            else:
                yield index, meter.measure(checkpoint, seed, episodes).returned
    except (UserError, MirrorError):
        raise
    except TrialError as error:
        yield index, error
    except Exception as error:
        yield index, TrialError(culprit(error))


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
