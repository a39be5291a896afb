"""Weights that are held quantized inside RLlib's learners, as masks are held there.

The functions here run inside the learner's process, wherever that is, by `each_learner`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm

from prune_search.compression.holding import Holding
from prune_search.rllib.learners.masks import one
from prune_search.rllib.learners.parameters import optimizers, trained_parameters
from prune_search.rllib.running import each_learner

_ATTRIBUTE = "_prune_search_holding"


def hold(algorithm: Algorithm, layers: Sequence[Sequence[str]], method: str, bits: int) -> int:
    """Quantizes weights on every learner, in place of any holding that was there.

    Masks must be attached before, see `Holding.attach`.

    Args:
        layers: the names of each layer's parameters, weight and bias.
        method: a key of `compression.METHODS`.
        bits: 2 to 8.

    Returns:
        How many weights are held.

    Raises:
        ValueError: weights that can't be quantized.
    """

    def run(learner: Any) -> int:
        before: Holding | None = getattr(learner, _ATTRIBUTE, None)
        if before is not None:
            before.remove()
        parameters = trained_parameters(learner)
        holding = Holding(parameters, layers, method, bits)
        held = {id(parameters[name]) for layer in layers for name in layer}
        for optimizer in optimizers(learner):
            groups = optimizer.param_groups
            if any(id(param) in held for group in groups for param in group["params"]):
                holding.attach(optimizer)
        setattr(learner, _ATTRIBUTE, holding)
        return holding.weights

    return one(algorithm, run)


def settle(algorithm: Algorithm) -> None:
    """Sets what is held to the values that a file holds; see `Holding.settle`."""
    each_learner(algorithm, lambda learner: getattr(learner, _ATTRIBUTE).settle())


def holding_state(algorithm: Algorithm) -> list[dict[str, Any]]:
    """What holding needs to go on; `torch.load(weights_only=True)` reads it."""
    return one(algorithm, lambda learner: getattr(learner, _ATTRIBUTE).state_dict())


def load_holding_state(algorithm: Algorithm, state: list[dict[str, Any]]) -> None:
    """Puts back on every learner, which holds the same weights, what `holding_state` gave."""
    each_learner(algorithm, lambda learner: getattr(learner, _ATTRIBUTE).load_state_dict(state))
