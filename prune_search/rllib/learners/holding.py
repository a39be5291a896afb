"""Weights that are held quantized inside RLlib's learners, as masks are held there.

The functions here run inside the learner's process, wherever that is, by `each_learner`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm

from prune_search.compression.holding import Holding
from prune_search.compression.layers import HeldLayers, held_layers
from prune_search.rllib.learners.masks import one
from prune_search.rllib.learners.parameters import layers, optimizers, trained_parameters
from prune_search.rllib.running import each_learner

_ATTRIBUTE = "_prune_search_holding"


def layers_of(algorithm: Algorithm, kernels: Sequence[str]) -> HeldLayers:
    """What is held with kernels: each layer's biases, and all of a recurrent cell together.

    Args:
        kernels: their names; their biases are trained where they are.
    """

    def run(learner: Any) -> HeldLayers:
        modules = {name.removesuffix(".weight"): layer for name, layer in layers(learner).items()}
        return held_layers(kernels, trained_parameters(learner), modules)

    return one(algorithm, run)


def hold(algorithm: Algorithm, names: HeldLayers, method: str, bits: int) -> int:
    """Quantizes weights on every learner, in place of any holding that was there.

    Masks must be attached before, see `Holding.attach`.

    Args:
        names: of the parameters, as `layers_of` gives them.
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
        holding = Holding(parameters, names.layers, method, bits, names.added)
        held = {id(parameters[name]) for layer in names.layers for name in layer}
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
    """Puts back on every learner, which holds the same weights, what `holding_state` gave.

    Raises:
        ValueError: other weights, or in other groups, were held then.
    """
    each_learner(algorithm, lambda learner: getattr(learner, _ATTRIBUTE).load_state_dict(state))
