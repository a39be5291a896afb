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
        without: an environment's id; its tasks and those of its variants are left out, to see what
            the others tell of them.
    """
    left = [
        one for one in shipped() if not (without and _akin(one.task.environment["id"], without))
    ]
    return tuple(_experiences(left))


def _akin(one: str, other: str) -> bool:
    """Whether one environment is another version of the other, or its name contains the other's.

    >>> _akin("NoisyCartPole-v0", "CartPole-v1")
    True
    """
    names = [each.rpartition("/")[2].partition("-v")[0] for each in (one, other)]
    return names[0] in names[1] or names[1] in names[0]


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
                float(np.std(each.returns)) / len(each.returns) ** 0.5 * recording.baseline.scale,
            )
            for each in trial.rounds
        ],
        unit=float(recording.task.baseline_env_steps),
    )
