"""A point's weights trained for several sparsities at once, which take turns.

Networks of several widths that share their weights are trained by updates of one width after the
other (Yu et al. 2019, Slimmable neural networks, algorithm 1); here the levels are masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from prune_search.errors import TrialError
from prune_search.policy.elastic import ranks
from prune_search.records.checkpoint import ALGORITHM
from prune_search.rllib.learners import masks as learner
from prune_search.rllib.networks.roles import ACTOR
from prune_search.rllib.running import settle, sync_weights
from prune_search.trial.algorithm import TrialAlgorithm
from prune_search.trial.fine_tuning import Start, count_changed, held


@dataclass(frozen=True)
class LevelsTrained:
    """What the training has done."""

    algorithm: Path
    """RLlib's checkpoint of the densest level's policy."""
    env_steps: int
    changed: int
    """Weights that have another value than before."""


def train_levels(start: Start, sparsities: Sequence[float], steps: int, to: Path) -> LevelsTrained:
    """Trains a point on: of each few training iterations, one with every level's weights alone.

    Which weights those are is ranked anew each time, as files with levels rank them; see
    `policy.elastic`.

    Args:
        start: the point.
        sparsities: of the levels beside the point itself, in (0, 1), rising.
        steps: env steps to train for, at least.
        to: a folder, which gets RLlib's checkpoint.

    Raises:
        TrialError: weights or losses are not finite, no env steps were sampled, no weight has
            another value afterwards, or the point's weights are quantized.
    """
    seed = start.seed(steps)
    with start.algorithm(seed) as trained:
        if trained.quantizer.holds:
            raise TrialError("its weights are quantized; levels are trained before that")
        begun, before = trained.steps, held(trained)
        turns = Turns(trained, [*reversed(sparsities), None], start.baseline.parameters)
        trained.train_on(steps, seed, turns.next)
        turns.install(None)
        settle(trained.algorithm)
        done = trained.steps - begun
        if turns.taken < turns.levels:
            raise TrialError(
                f"{done:,} env steps are {turns.taken} training iterations, and there are"
                f" {turns.levels} levels: train for more"
            )
        changed = count_changed(before, held(trained), done)
        trained.algorithm.save_to_path(to / ALGORITHM)
    return LevelsTrained(to / ALGORITHM, done, changed)


class Turns:
    """Installs the masks of one level after another.

    Args:
        trained: the algorithm, with the point's masks.
        levels: their sparsities, None for the point itself.
        parameters: of the dense policy.
    """

    def __init__(
        self, trained: TrialAlgorithm, levels: Sequence[float | None], parameters: int
    ) -> None:
        self._algorithm, self._levels, self._parameters = trained.algorithm, levels, parameters
        networks = [each for each in trained.pruner.networks.values() if each.role == ACTOR]
        self._kernels = [name for network in networks for name in network.layers]
        self._names = [name for network in networks for name in network.parameters]
        weights, masks = learner.weights(self._algorithm), learner.masks(self._algorithm)
        self._whole = {
            name: masks.get(name, torch.ones_like(weights[name], dtype=torch.bool))
            for name in self._kernels
        }
        self.taken, self.levels = 0, len(levels)

    def next(self) -> None:
        """The next level's turn."""
        self.install(self._levels[self.taken % self.levels])
        self.taken += 1

    def install(self, sparsity: float | None) -> None:
        """The masks of a level; what it has and the one before had not is what it was then."""
        learner.set_masks(self._algorithm, self._whole, restore=True)
        if sparsity is not None:
            weights = learner.weights(self._algorithm)
            kernels = [weights[name].numpy() for name in self._kernels]
            others = sum(int(weights[name].count_nonzero()) for name in self._names)
            others -= sum(int(np.count_nonzero(kernel)) for kernel in kernels)
            count = round((1 - sparsity) * self._parameters) - others
            masks = {
                name: self._whole[name] & torch.from_numpy(rank < count)
                for name, rank in zip(self._kernels, ranks(kernels), strict=True)
            }
            learner.set_masks(self._algorithm, masks, restore=True)
        sync_weights(self._algorithm)
