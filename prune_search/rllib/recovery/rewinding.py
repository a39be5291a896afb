"""Rewound weights put into a running algorithm of RLlib's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from ray.rllib.algorithms.algorithm import Algorithm
from torch import Tensor

from prune_search.rllib.learners import masks as masking
from prune_search.rllib.learners.parameters import optimizers, target_parameters, trained_parameters
from prune_search.rllib.running import each_learner, sync_weights
from prune_search.sparsity.rewinding import check_fits


def rewind(algorithm: Algorithm, weights: Mapping[str, Tensor]) -> None:
    """Puts weights into a running algorithm, as if its training began with them.

    On every learner: the weights, under the masks that the learner has (call
    ``masks.set_masks`` before with masks that have changed); target networks become equal to
    what they follow; all optimizers start anew, with no moments and at step 0, SAC's temperature
    included. Env runners act by the new weights at once. Replay buffers, schedules and coefficients
    that an algorithm adapts (PPO's for KL, SAC's temperature) stay as they are.

    Args:
        weights: by parameter name (behind the ModuleID and a slash where there are several
            policies), as ``masks.weights`` names them; parameters that are absent keep their
            values.

    Raises:
        ValueError: no such parameter, or another shape. Nothing has changed then.
        RuntimeError: a learner is lost.
    """
    given = {name: value.detach().cpu() for name, value in weights.items()}

    def check(learner: Any) -> None:
        check_fits("weights", given, trained_parameters(learner))

    @torch.no_grad()
    def run(learner: Any) -> None:
        parameters = trained_parameters(learner)
        for name, value in given.items():
            parameters[name].copy_(value)
        held = masking.of_learner(learner)
        if held is not None:
            held.masks.apply_(held.parameters)
            held.evidence.restart()
        for name, target in target_parameters(learner):
            target.copy_(parameters[name])
        for optimizer in optimizers(learner):
            optimizer.state.clear()

    each_learner(algorithm, check)
    each_learner(algorithm, run)
    sync_weights(algorithm)
