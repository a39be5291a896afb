"""From losses to a step of the optimizers: RLlib's numbers, with all tensors in a call."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from torch import Tensor

from prune_search.rllib.learners.masks import KeptGradients
from prune_search.rllib.runners.adam import take_step

Gradients = dict[Any, Tensor | None]
"""By the learner's reference to a parameter, which in torch is the parameter itself."""


class LeanGradients:
    """What a learner does with gradients; what its class has of its own stays.

    Clipping by each one's norm or value stays RLlib's as well.
    """

    def __init__(self, learner: Any) -> None:
        self._learner, kind = learner, type(learner)
        self._stock_clipping = learner.postprocess_gradients
        self._norms: list[Tensor] = []
        self._enforced_in: object = None
        if (
            kind.postprocess_gradients is Learner.postprocess_gradients
            and kind.postprocess_gradients_for_module is Learner.postprocess_gradients_for_module
            and kind._get_clip_function is TorchLearner._get_clip_function
        ):
            learner.postprocess_gradients = self._clipped

    def step(self, losses: dict[str, Any], update: object = None) -> None:
        """One of all optimizers, on the losses by ModuleID.

        Args:
            update: that it is a step of; nothing else changes weights and moments between its
                steps, but what was done to them before is not known. None outside of one.
        """
        self._norms = []
        gradients, postprocess = self._computed(losses), self._learner.postprocess_gradients
        # Clipping, RLlib's or ours, only makes gradients smaller: what is masked stays zero.
        masked = isinstance(postprocess, KeptGradients) and postprocess.own == self._clipped
        settled = update is not None and update is self._enforced_in
        if self.apply(postprocess(gradients), masked and settled):
            self._enforced_in = update

    def _computed(self, losses: dict[str, Any]) -> Gradients:
        learner, total = self._learner, sum(losses.values())
        plain = _is(learner.compute_gradients, TorchLearner) and learner._grad_scalers is None
        if not plain or not isinstance(total, Tensor) or total.grad_fn is None:
            found: Gradients = learner.compute_gradients(losses)
            return found
        for parameter in learner._params.values():
            parameter.grad = None
        torch.autograd.backward(total)
        return {reference: each.grad for reference, each in learner._params.items()}

    def _clipped(self, gradients: Gradients) -> Gradients:
        """`postprocess_gradients`, where gradients are clipped by the norm of all or not at all."""
        learner = self._learner
        found: Gradients = {}
        limits = {name: self._limit(name) for name in learner.module.keys()}  # noqa: SIM118
        if None in limits.values():
            stock: Gradients = self._stock_clipping(gradients)
            return stock
        for module_id, limit in limits.items():
            for name, optimizer in learner.get_optimizers_for_module(module_id):
                own = {
                    reference: gradient
                    for reference in learner._optimizer_parameters[optimizer]
                    if (gradient := gradients.get(reference)) is not None
                }
                if limit:
                    norm = self._scaled(list(own.values()), limit)
                    key = module_id, f"gradients_{name}_global_norm"
                    learner.metrics.log_value(key=key, value=norm, window=1)
                found.update(own)
        return found

    def _limit(self, module_id: str) -> float | None:
        """What a network's norm of all gradients may be; 0 for any, None if RLlib has to clip."""
        config = self._learner.config.get_config_for_module(module_id)
        if config.log_gradients:
            return None
        if config.grad_clip is None:
            return 0.0
        limit: float = config.grad_clip
        return limit if limit and config.grad_clip_by == "global_norm" else None

    def _scaled(self, gradients: list[Tensor], limit: float) -> Tensor:
        """Clips them by the norm of all, in place, as RLlib's clip_gradients; returns the norm."""
        if not gradients:
            return torch.tensor(0.0)
        norms = torch.stack(torch._foreach_norm(gradients))
        self._norms.append(norms)
        finite = norms.nan_to_num(neginf=-10e8, posinf=10e8)
        norm: Tensor = torch.linalg.vector_norm(finite).nan_to_num(neginf=-10e8, posinf=10e8)
        scale = torch.clamp(limit / torch.clamp(norm + 1e-6, min=limit), max=1.0)
        torch._foreach_mul_(gradients, scale)
        return norm

    def apply(self, gradients: Gradients, zeros_stay: bool = False) -> bool:
        """Steps on them, where all are finite; otherwise RLlib's own way.

        Args:
            zeros_stay: see `take_step`.

        Returns:
            Whether all optimizers have stepped, which RLlib's way may leave out.
        """
        learner = self._learner
        own = learner._lr_scheduler_classes or learner._grad_scalers
        plain = _is(learner.apply_gradients, TorchLearner) and not own
        if not plain or not self._all_finite(list(gradients.values())):
            learner.apply_gradients(gradients)
            return False
        for reference, gradient in gradients.items():
            if reference.grad is not gradient:
                learner._params[reference].grad = gradient
        for module_id, names in learner._module_optimizers.items():
            for name in names:
                take_step(learner.get_optimizer(module_id, name), zeros_stay)
        return True

    def _all_finite(self, gradients: list[Tensor | None]) -> bool:
        """Whether there are gradients, and all are finite, told by one number for each."""
        found = [gradient for gradient in gradients if gradient is not None]
        if not found or len(found) < len(gradients):
            return False
        # A norm is finite only where all entries are; scaling down does not change that.
        norms, self._norms = self._norms, []
        if sum(map(len, norms)) != len(found):
            norms = [torch.stack(torch._foreach_norm(found))]
        return all(bool(each.isfinite().all()) for each in norms)


def _is(method: Any, of: type) -> bool:
    """Whether a learner's method is that of a class of RLlib's, and nobody has put one over it."""
    return getattr(method, "__func__", None) is getattr(of, method.__name__, None)
