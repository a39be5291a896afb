"""A point's quantized weights, trained on for themselves: what few values they take, not where.

Deep Compression fine-tunes the centroids that weights share on the loss of the task, with masks and
assignments held (Han et al. 2016, section 3.3); whole numbers follow it straight-through.
"""

from __future__ import annotations

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
from prune_search.rllib.running import TRAINING_SEEDS, env_steps, settle
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


def fine_tune(
    experiment: Experiment,
    baseline: BaselineRecord,
    plan: Plan,
    study: StudyFolder,
    checkpoint: Path | None,
    method: str,
    bits: int,
    steps: int,
    to: Path,
) -> FineTuned:
    """Quantizes a point's acting network, and trains it on so with the algorithm's loss.

    The loss is the trial's: where it distils, the teacher is in it. Ray must run.

    Args:
        experiment: the study's.
        baseline: the dense policy, on this node.
        plan: of the point's trial.
        study: its folder.
        checkpoint: what the point's round ended with; None for the baseline itself.
        method: a key of `compression.METHODS`.
        bits: of a weight, 2 to 8.
        steps: env steps to train for, at least.
        to: a folder, which gets RLlib's checkpoint.

    Raises:
        TrialError: weights or losses are not finite, no env steps were sampled, or no weight has
            another value afterwards.
        ValueError: weights that can't be quantized.
    """
    seed = int(np.random.SeedSequence([experiment.search.seed, steps]).generate_state(1)[0])
    trained = TrialAlgorithm(experiment, baseline, plan, seed % TRAINING_SEEDS, study, checkpoint)
    try:
        if checkpoint is not None and not (checkpoint / REPLAY).is_file():
            postpone_learning(trained.algorithm, env_steps(trained.algorithm))
        trained.begin(env_steps(trained.algorithm) - trained.start)
        begun, quantizer = trained.steps, trained.quantizer
        quantizer.take_up(method, bits)
        before = _held(trained)
        trained.train_on(steps, seed % TRAINING_SEEDS)
        settle(trained.algorithm)
        quantizer.end_round(resized=False)
        after, done = _held(trained), trained.steps - begun
        kept = int(np.count_nonzero((before != 0) | (after != 0)))
        changed = int(np.count_nonzero(before != after))
        if not changed:
            raise TrialError(
                f"no weight has another value after {done:,} env steps: the algorithm has not"
                " begun to learn by then, or its learning rate is too small"
            )
        trained.algorithm.save_to_path(to / ALGORITHM)
    finally:
        trained.stop()
    values = len(np.unique(after[after != 0]))
    return FineTuned(to / ALGORITHM, method, bits, done, kept, changed, values)


def _held(trained: TrialAlgorithm) -> NDArray[np.float32]:
    """The parameters that are quantized, one behind the other."""
    weights = learner.weights(trained.algorithm)
    found = [weights[name].numpy().ravel() for name in trained.quantizer.parameters]
    return np.concatenate(found)
