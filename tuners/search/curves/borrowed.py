"""What other tasks' recorded trials tell of plans, before and beside a study's own."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np

from tuners.recordings.dataset import Recording, Trial, shipped
from tuners.search.curves.surrogate import Experience, Measured


@cache
def borrowed(without: str = "") -> tuple[Experience, ...]:
    """Experience from the recordings that come with the package, task after task.

    Args:
        without: an environment's id, whose tasks are left out to see what the others tell of it.
    """
    return tuple(_experiences(one for one in shipped() if one.task.environment["id"] != without))


def _experiences(recordings: Iterable[Recording]) -> Iterable[Experience]:
    for recording in recordings:
        for trial in recording.trials:
            yield _experience(recording, trial)


def _experience(recording: Recording, trial: Trial) -> Experience:
    return Experience(
        trial.plan,
        [
            Measured(
                each.progress,
                each.sparsity,
                recording.retention(each),
                float(np.std(each.returns)) / len(each.returns) ** 0.5 * recording.scale,
            )
            for each in trial.rounds
        ],
        unit=float(recording.task.baseline_env_steps),
    )
