"""Masks inside RLlib's learners.

A hook on each optimizer enforces the masks after every step, so any algorithm's learner class
serves as it is, and a checkpoint of a pruned policy is an ordinary RLlib checkpoint that opens
without this package. The functions here run inside the learner's process, wherever that is, by
`each_learner`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import DEFAULT_MODULE_ID
from torch import Tensor

from prune_search.sparsity.masks import MaskSet
from prune_search.training.algorithm import each_learner, unwrapped
from prune_search.training.networks import targets

T = TypeVar("T")

_ATTRIBUTE = "_prune_search_masks"
_ADAPTIVE = ("curr_kl_coeffs_per_module", "last_update_ts_by_mid", "_last_update_ts_by_mid")


class LearnerMasks:
    """One learner's masks and, where a criterion asks for them, its gradients."""

    def __init__(self, learner: Any, *, gradients: bool) -> None:
        self.parameters: dict[str, Tensor] = dict(unwrapped(learner).named_parameters())
        self.masks = MaskSet()
        self.targets = targets(unwrapped(learner))
        self._gradients: dict[str, Tensor] = {}
        self._steps = 0
        for _, optimizer in learner.get_optimizers_for_module(DEFAULT_MODULE_ID):
            self.masks.attach(optimizer, self.parameters)
            if gradients:
                optimizer.register_step_pre_hook(self._collect)

    def _collect(self, *_: Any) -> None:
        self._steps += 1
        for name, parameter in self.parameters.items():
            if parameter.grad is None:
                continue
            if name in self._gradients:
                self._gradients[name] += parameter.grad
            else:
                self._gradients[name] = parameter.grad.detach().clone()

    def gradients(self) -> dict[str, Tensor] | None:
        """Mean gradient of the algorithm's own loss over the optimizer steps since `restart`.

        Masked weights have one too. None before the first step.
        """
        if not self._steps:
            return None
        return {name: total / self._steps for name, total in self._gradients.items()}

    @torch.no_grad()
    def mask_targets(self) -> None:
        """Removes from target networks what the networks they follow have lost.

        Their updates average two zeros from then on.
        """
        for target, main in self.targets.items():
            if main in self.masks.masks:
                self.parameters[target].mul_(self.masks.masks[main])

    def restart(self) -> None:
        """Forgets the gradients collected so far."""
        self._gradients, self._steps = {}, 0

    def state_dict(self) -> dict[str, Any]:
        """Masks, removed values and collected gradients, as tensors and numbers."""
        collected = {"gradients": self._gradients, "steps": self._steps}
        return {**self.masks.state_dict(), **collected}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what `state_dict` gave."""
        self.masks.load_state_dict(state)
        self._steps = state["steps"]
        self._gradients = {
            name: value.to(self.parameters[name].device)
            for name, value in state["gradients"].items()
        }


def attach(algorithm: Algorithm, *, gradients: bool) -> None:
    """Puts empty masks on every learner, in place of any that were there."""

    def run(learner: Any) -> None:
        setattr(learner, _ATTRIBUTE, LearnerMasks(learner, gradients=gradients))

    each_learner(algorithm, run)


def set_masks(algorithm: Algorithm, masks: dict[str, Tensor]) -> None:
    """New masks on every learner: newly removed weights become zero, their values are kept."""

    def run(learner: Any) -> None:
        held: LearnerMasks = getattr(learner, _ATTRIBUTE)
        held.masks.update(held.parameters, masks)
        held.mask_targets()
        held.restart()

    each_learner(algorithm, run)


def weights(algorithm: Algorithm) -> dict[str, Tensor]:
    """A copy of everything that is trained, by parameter name (learners are all equal)."""

    def run(learner: Any) -> dict[str, Tensor]:
        named = unwrapped(learner).named_parameters()
        return {name: value.detach().cpu().clone() for name, value in named}

    return one(algorithm, run)


def gradients(algorithm: Algorithm) -> dict[str, Tensor] | None:
    """Mean gradients since the masks last changed, or None if no step was taken since."""

    def run(learner: Any) -> dict[str, Tensor] | None:
        found = getattr(learner, _ATTRIBUTE).gradients()
        return None if found is None else {name: g.cpu() for name, g in found.items()}

    return one(algorithm, run)


def masks(algorithm: Algorithm) -> dict[str, Tensor]:
    """The masks by parameter name, True where a weight is kept; unmasked parameters are absent."""
    return one(algorithm, lambda learner: dict(getattr(learner, _ATTRIBUTE).masks.masks))


def mask_state(algorithm: Algorithm) -> dict[str, Any]:
    """All that masking needs to go on; `torch.load(weights_only=True)` reads what it holds."""
    return one(algorithm, lambda learner: getattr(learner, _ATTRIBUTE).state_dict())


def load_mask_state(algorithm: Algorithm, state: dict[str, Any]) -> None:
    """Puts back on every learner what `mask_state` gave."""

    def run(learner: Any) -> None:
        getattr(learner, _ATTRIBUTE).load_state_dict(state)

    each_learner(algorithm, run)


def adaptive_state(algorithm: Algorithm) -> dict[str, dict[str, float]]:
    """What learners hold and RLlib's checkpoints leave out, by module.

    PPO's KL coefficient; the env step of the last update of target networks.
    """

    def run(learner: Any) -> dict[str, dict[str, float]]:
        return {
            attribute: {name: float(value) for name, value in held.items()}
            for attribute in _ADAPTIVE
            if (held := getattr(learner, attribute, None)) is not None
        }

    return one(algorithm, run)


def load_adaptive_state(algorithm: Algorithm, state: dict[str, dict[str, float]]) -> None:
    """Puts back what `adaptive_state` gave."""

    def run(learner: Any) -> None:
        for attribute, values in state.items():
            held = getattr(learner, attribute)
            for name, value in values.items():
                if isinstance(held[name], Tensor):
                    with torch.no_grad():
                        held[name].fill_(value)
                else:
                    held[name] = int(value)

    each_learner(algorithm, run)


def set_lr(algorithm: Algorithm) -> None:
    """The configured learning rate, where a restored optimizer brought its own."""
    rate = algorithm.config.lr
    if isinstance(rate, list | tuple):
        return  # RLlib's schedule sets it at the next update

    def run(learner: Any) -> None:
        for _, optimizer in learner.get_optimizers_for_module(DEFAULT_MODULE_ID):
            for group in optimizer.param_groups:
                group["lr"] = rate

    each_learner(algorithm, run)


def one(algorithm: Algorithm, run: Callable[[Any], T]) -> T:
    """Runs a function in every learner's process: what the first returned (all are equal)."""
    return each_learner(algorithm, run)[0]


def module_state(algorithm: Algorithm) -> dict[str, Any]:
    """The inference network's state, as `RLModule.set_state` takes it."""
    return one(algorithm, lambda learner: unwrapped(learner).get_state(inference_only=True))
