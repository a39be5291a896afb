"""A point's quantized weights, trained on for themselves: what few values they take, not where.

Deep Compression fine-tunes the centroids that weights share on the loss of the task, with masks and
assignments held (Han et al. 2016, section 3.3); whole numbers follow it straight-through.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prune_search.errors import TrialError
from prune_search.experiment.schema import Experiment
from prune_search.plan.plan import Plan
from prune_search.records.checkpoint import ALGORITHM, REPLAY
from prune_search.records.folder import StudyFolder
from prune_search.records.models import BaselineRecord
from prune_search.rllib.checkpoints.replay import postpone_learning
from prune_search.rllib.learners import masks as learner
from prune_search.rllib.running import env_steps, settle, training_seed
from prune_search.trial.algorithm import TrialAlgorithm


@dataclass(frozen=True)
class FineTuned:
    """What fine-tuning has done."""

    algorithm: Path
    """RLlib's checkpoint of the policy."""
    method: str
    bits: int
    env_steps: int
    """Sampled, or, where recorded episodes are all there is, trained on."""
    kept: int
    """Weights that are quantized and not zero, before or afterwards."""
    changed: int
    """Of these, those that have another value afterwards."""
    values: int
    """How many different ones they take."""


@dataclass(frozen=True)
class Start:
    """The point of a trial that training goes on from."""

    experiment: Experiment
    baseline: BaselineRecord
    """The dense policy, on this node."""
    plan: Plan
    """The trial's."""
    study: StudyFolder
    checkpoint: Path | None
    """What the point's round ended with; None for the baseline itself."""

    @contextmanager
    def algorithm(self, seed: int) -> Iterator[TrialAlgorithm]:
        """The trial's algorithm as it was then, which ends with the context. Ray must run."""
        trained = TrialAlgorithm(
            self.experiment, self.baseline, self.plan, seed, self.study, self.checkpoint
        )
        try:
            if self.checkpoint is not None and not (self.checkpoint / REPLAY).is_file():
                postpone_learning(trained.algorithm, env_steps(trained.algorithm))
            trained.begin(env_steps(trained.algorithm) - trained.start)
            yield trained
        finally:
            trained.stop()

    def seed(self, steps: int) -> int:
        """Of so many env steps of training."""
        return training_seed(self.experiment.search.seed, steps)


def fine_tune(start: Start, method: str, bits: int, steps: int, to: Path) -> FineTuned:
    """Quantizes a point's acting network, and trains it on so with the algorithm's loss.

    The loss is the trial's: where it distils, the teacher is in it.

    Args:
        start: the point.
        method: a key of `compression.METHODS`.
        bits: of a weight, 2 to 8.
        steps: env steps to train for, at least.
        to: a folder, which gets RLlib's checkpoint.

    Raises:
        TrialError: weights or losses are not finite, no env steps were sampled, or no weight has
            another value afterwards.
        ValueError: weights that can't be quantized.
    """
    seed = start.seed(steps)
    with start.algorithm(seed) as trained:
        begun, quantizer = trained.steps, trained.quantizer
        quantizer.take_up(method, bits)
        before = held(trained)
        trained.train_on(steps, seed)
        settle(trained.algorithm)
        quantizer.end_round(resized=False)
        after, done = held(trained), trained.steps - begun
        changed = count_changed(before, after, done)
        trained.algorithm.save_to_path(to / ALGORITHM)
    kept = int(np.count_nonzero((before != 0) | (after != 0)))
    values = len(np.unique(after[after != 0]))
    return FineTuned(to / ALGORITHM, method, bits, done, kept, changed, values)


def count_changed(before: NDArray[np.float32], after: NDArray[np.float32], steps: int) -> int:
    """How many weights have another value after so many env steps.

    Raises:
        TrialError: none has.
    """
    changed = int(np.count_nonzero(before != after))
    if not changed:
        raise TrialError(
            f"no weight has another value after {steps:,} env steps: the algorithm has not begun"
            " to learn by then, or its learning rate is too small"
        )
    return changed


def held(trained: TrialAlgorithm) -> NDArray[np.float32]:
    """The acting networks' parameters that can be quantized, one behind the other."""
    weights = learner.weights(trained.algorithm)
    found = [weights[name].numpy().ravel() for name in trained.quantizer.parameters]
    return np.concatenate(found)
