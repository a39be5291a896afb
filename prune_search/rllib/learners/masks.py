"""Masks inside RLlib's learners.

A hook on each optimizer enforces the masks after every step, and the learner's own
`postprocess_gradients`, which clips, sees zeros in place of the gradients of masked weights: the
sparse network takes the steps that a truly smaller one would. The lean update, which knows that
such gradients leave zeros where they are, runs the hook once an update (`runners.adam`). Both are
put on the living learner, so any algorithm's learner class serves as it is, and a checkpoint of a
pruned policy is an ordinary RLlib checkpoint that opens without this package. The functions here
run inside the learner's process, wherever that is, by `each_learner`.

Parameters and networks of several policies are named `<ModuleID>/<name>`; where RLlib's default
policy is the only one, by their names alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from ray.rllib.algorithms.algorithm import Algorithm
from torch import Tensor

from prune_search.rllib.learners.evidence import ACTIVATION, Collector, Statistics, average
from prune_search.rllib.learners.parameters import (
    Held,
    adaptive,
    layers,
    networks_of,
    optimizers,
    set_adaptive,
    target_parameters,
    trained_parameters,
)
from prune_search.rllib.networks.roles import split_name
from prune_search.rllib.running import each_learner, unwrapped
from prune_search.sparsity.masks import MaskSet

__all__ = ["networks_of", "split_name"]

T = TypeVar("T")

_ATTRIBUTE = "_prune_search_masks"


class LearnerMasks:
    """One learner's masks and, where criteria ask for it, what they have seen of its batches."""

    def __init__(self, learner: Any, needs: frozenset[str]) -> None:
        self.parameters = trained_parameters(learner)
        self.masks = MaskSet()
        self.targets = target_parameters(learner)
        self.evidence = Collector(self.parameters, needs)
        self._handles: list[Any] = []
        self._held: Held | None = None
        updated: set[int] = set()
        for optimizer in optimizers(learner):
            ids = {id(param) for group in optimizer.param_groups for param in group["params"]}
            updated |= ids
            if ids.isdisjoint(map(id, self.parameters.values())):
                continue  # of a number beside the networks, as SAC's temperature
            self._handles.append(self.masks.attach(optimizer, self.parameters))
        self._gradients = KeptGradients(learner, self)
        self._fixed = {name for name, p in self.parameters.items() if id(p) not in updated}
        if ACTIVATION in needs:
            found = networks_of(learner, units=True)
            units = [unit for network in found.values() for unit in network.units]
            self.evidence.watch_units(units, layers(learner))

    def update(self, masks: dict[str, Tensor], *, restore: bool) -> None:
        """Installs masks; see `set_masks`."""
        fixed = sorted(self._fixed & masks.keys())
        if fixed:
            raise ValueError(f"no optimizer updates the parameters {fixed}: they can't be masked")
        self.masks.update(self.parameters, masks, restore=restore)
        self._mask_targets()
        self.evidence.carry(self.masks.masks)

    @torch.no_grad()
    def _mask_targets(self) -> None:
        """Removes from target networks what the networks they follow have lost.

        Their updates average two zeros from then on.
        """
        for name, target in self.targets:
            if name in self.masks.masks:
                target.mul_(self.masks.masks[name])

    def hold(self, learner: Any) -> None:
        """Lets steps change nothing until `release`."""
        self._held = Held(learner)

    def release(self) -> None:
        """Ends `hold`; without one, nothing happens."""
        if self._held is not None:
            self._held.release()
            self._held = None

    def remove(self) -> None:
        """Takes everything off the learner."""
        self.release()
        self._gradients.remove()
        self.evidence.remove()
        for handle in self._handles:
            handle.remove()

    def state_dict(self) -> dict[str, Any]:
        """Masks, removed values and collected statistics, as tensors and numbers."""
        return {**self.masks.state_dict(), "evidence": self.evidence.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what `state_dict` gave."""
        self.masks.load_state_dict(state)
        self.evidence.load_state_dict(state["evidence"])


class KeptGradients:
    """A learner's `postprocess_gradients`, given the gradients of kept weights alone.

    They are shown to the collector first, those of masked weights among them.
    """

    _METHOD = "postprocess_gradients"

    def __init__(self, learner: Any, owner: LearnerMasks) -> None:
        self._learner, self._owner = learner, owner
        self._before = vars(learner).get(self._METHOD)
        self.own = getattr(learner, self._METHOD)
        names = {id(parameter): name for name, parameter in owner.parameters.items()}
        self._names = {
            reference: names[id(parameter)]
            for reference, parameter in learner._params.items()
            if id(parameter) in names
        }
        setattr(learner, self._METHOD, self)

    def __call__(self, gradients_dict: dict[Any, Tensor | None]) -> Any:
        gradients = {
            self._names[reference]: gradient
            for reference, gradient in gradients_dict.items()
            if gradient is not None and reference in self._names
        }
        self._owner.evidence.see(gradients)
        self._owner.masks.apply_(gradients)
        return self.own(gradients_dict)

    def remove(self) -> None:
        if vars(self._learner).get(self._METHOD) is self:
            delattr(self._learner, self._METHOD)
            if self._before is not None:
                setattr(self._learner, self._METHOD, self._before)


def attach(algorithm: Algorithm, needs: frozenset[str] = frozenset()) -> None:
    """Puts empty masks on every learner, in place of any that were there.

    Args:
        needs: the statistics that learners collect for criteria, of `evidence.STATISTICS`.

    Raises:
        ValueError: an unknown statistic, or a network whose units can't be traced for the
            statistic `activation`.
    """

    def run(learner: Any) -> None:
        before = of_learner(learner)
        if before is not None:
            before.remove()
        setattr(learner, _ATTRIBUTE, LearnerMasks(learner, needs))

    each_learner(algorithm, run)


def of_learner(learner: Any) -> LearnerMasks | None:
    """What a learner holds of masks; None before they are set up."""
    found: LearnerMasks | None = getattr(learner, _ATTRIBUTE, None)
    return found


def set_masks(algorithm: Algorithm, masks: dict[str, Tensor], *, restore: bool = False) -> None:
    """New masks on every learner: newly removed weights become zero, their values are kept.

    Statistics go on, see `Collector.carry`.

    Args:
        masks: by parameter name, True where a weight is kept; others keep their masks.
        restore: weights that come back have the value that they had when they went; else zero.

    Raises:
        ValueError: a mask of another shape, or of a parameter that isn't trained.
    """

    def run(learner: Any) -> None:
        getattr(learner, _ATTRIBUTE).update(masks, restore=restore)

    each_learner(algorithm, run)


def weights(algorithm: Algorithm) -> dict[str, Tensor]:
    """A copy of everything that is trained, by parameter name (learners are all equal)."""

    def run(learner: Any) -> dict[str, Tensor]:
        found = trained_parameters(learner)
        return {name: value.detach().cpu().clone() for name, value in found.items()}

    return one(algorithm, run)


def evidence(algorithm: Algorithm) -> Statistics | None:
    """What criteria asked for, of recent steps; None before the first, also after a rewinding.

    By statistic, then by parameter name: `gradient` and `square`, the means of the loss's gradients
    (not clipped, those of masked weights too) and of their squares over optimizer steps,
    `movement`, their sum of -weight·gradient, and `activation`, each hidden unit's mean absolute
    output, for the layers that produce units.
    """
    return average(
        each_learner(algorithm, lambda held: getattr(held, _ATTRIBUTE).evidence.result())
    )


@contextmanager
def frozen(algorithm: Algorithm) -> Iterator[None]:
    """Training iterations under which statistics are collected, but nothing is learned.

    Each optimizer step takes place and is undone, and at the end networks (targets too),
    optimizer states and numbers that RLlib adapts are what they were, bit for bit. Env steps
    that were sampled count, and stay in replay buffers.
    """
    each_learner(algorithm, lambda learner: getattr(learner, _ATTRIBUTE).hold(learner))
    try:
        yield
    finally:
        each_learner(algorithm, lambda learner: getattr(learner, _ATTRIBUTE).release())


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


def load_evidence(algorithm: Algorithm, state: dict[str, Any]) -> None:
    """Puts statistics on every learner, as `mask_state` has them under `evidence`."""

    def run(learner: Any) -> None:
        getattr(learner, _ATTRIBUTE).evidence.load_state_dict(state)

    each_learner(algorithm, run)


def adaptive_state(algorithm: Algorithm) -> dict[str, dict[str, float]]:
    """What learners hold and RLlib's checkpoints leave out, by module.

    KL coefficients, SAC's temperature, MARWIL's norm of advantages; the env step of the last
    update of target networks.
    """
    return one(algorithm, adaptive)


def load_adaptive_state(
    algorithm: Algorithm, state: dict[str, dict[str, float]], later: int = 0
) -> None:
    """Puts back what `adaptive_state` gave.

    Args:
        later: env steps that the algorithm counts more now than it did then; times are shifted
            by them.
    """
    each_learner(algorithm, lambda learner: set_adaptive(learner, state, later))


def one(algorithm: Algorithm, run: Callable[[Any], T]) -> T:
    """Runs a function in every learner's process: what the first returned (all are equal)."""
    return each_learner(algorithm, run)[0]


def module_state(algorithm: Algorithm) -> dict[str, dict[str, Any]]:
    """The inference networks' states by ModuleID, as `RLModule.set_state` takes them."""

    def run(learner: Any) -> dict[str, dict[str, Any]]:
        return {
            name: unwrapped(learner, name).get_state(inference_only=True)
            for name in sorted(learner.module.keys())
        }

    return one(algorithm, run)
