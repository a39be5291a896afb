"""Recovery by distillation: the pruned policy is drawn towards the dense one while it trains.

To the algorithm's own loss, each module's learner adds ``weight`` times the Kullback-Leibler
divergence from the softened actions of the dense policy (the teacher) to those of the pruned one
(the student), on the observations that the minibatch holds anyway:

    distillation.attach(algorithm, Path(baseline.checkpoint), weight=1.0, temperature=2.0)

The learner's class stays RLlib's: its method ``compute_loss_for_module`` is wrapped on the living
learner alone, so that checkpoints know nothing of a teacher.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.dqn.dqn_learner import QF_PREDS
from ray.rllib.algorithms.sac.sac_learner import ACTION_LOG_PROBS
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import (
    TorchCategorical,
)
from ray.rllib.core.learner.learner import POLICY_LOSS_KEY
from ray.rllib.core.rl_module.rl_module import RLModule
from torch import Tensor

from prune_search.rllib.recovery.teacher import (
    acts_by_values,
    check_pair,
    forward_inputs,
    load_teacher,
    softened_kl,
)
from prune_search.rllib.running import each_learner, trained_modules, unwrapped

__all__ = ["METRIC", "attach", "detach", "load_teacher", "softened_kl"]

METRIC = "distillation_kl"
"""Name under which learners log the divergence, unweighted, in nats, by module."""

_METHOD = "compute_loss_for_module"


def attach(
    algorithm: Algorithm,
    teacher: Path | Mapping[str, RLModule],
    weight: float,
    temperature: float,
) -> None:
    """Adds the distillation term on every learner, in place of one that was there.

    The term is ``weight * T² * KL(teacher || student)``, softened by the temperature T as in
    `softened_kl`. The factor T² keeps the term's gradients in proportion to the
    algorithm's own when T changes (Hinton, Vinyals & Dean 2015, Distilling the knowledge in a
    neural network, section 2). Networks of Q-values have softmax(Q/T) compared, without the
    factor, as in Rusu et al. 2015, Policy distillation, equation 3; unlike there, the student's
    values are divided by T as well, because they stay values, which the algorithm's own loss
    fits to rewards.

    Rows that ``Columns.LOSS_MASK`` leaves out don't count. Recurrent teachers begin each sequence
    of a minibatch at their initial state (Kapturowski et al. 2019, R2D2, section 3, "zero start
    state"): the states in the batch are the student's.

    Args:
        teacher: folder of a checkpoint, as in `load_teacher`, which this process reads; or
            networks by ModuleID, of which each learner gets a copy. Modules that are not among
            them learn as before.
        weight: the coefficient, above 0.
        temperature: T, above 0; above 1 softens, below 1 sharpens (Rusu et al. use 0.01 for
            Q-values).

    Raises:
        ValueError: weight or temperature out of range, an unknown ModuleID, a checkpoint that
            can't be read, or a teacher of other spaces or another kind than its student.
            Nothing has changed then.
        RuntimeError: a learner is lost.
    """
    for name, value in (("weight", weight), ("temperature", temperature)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be a finite number above 0, got {value}")
    found = each_learner(algorithm, _spaces)[0]
    if isinstance(teacher, Path):
        teachers = {
            module_id: load_teacher(teacher, action, observation, module_id)
            for module_id, (action, observation) in found.items()
        }
    else:
        teachers = dict(teacher)
    if not teachers.keys() <= found.keys():
        raise ValueError(
            f"teachers of unknown modules {sorted(teachers.keys() - found.keys())};"
            f" there are {sorted(found)}"
        )

    def check(learner: Any) -> None:
        for module_id, module in teachers.items():
            check_pair(module, unwrapped(learner, module_id))

    def run(learner: Any) -> None:
        _remove(learner)
        terms = {
            module_id: _Term(copy.deepcopy(module), weight, temperature, learner.device)
            for module_id, module in teachers.items()
        }
        setattr(learner, _METHOD, _DistilledLoss(learner, terms))

    each_learner(algorithm, check)
    each_learner(algorithm, run)


def detach(algorithm: Algorithm) -> None:
    """Takes the distillation term off every learner; without one, nothing happens."""
    each_learner(algorithm, _remove)


class _Term:
    """One module's teacher, and the divergence from it."""

    def __init__(self, teacher: RLModule, weight: float, temperature: float, device: Any) -> None:
        self._teacher = teacher.to(device).eval().requires_grad_(False)
        self._values = acts_by_values(teacher)
        # Q-values are taken for logits, in whatever class the module would sample from.
        self._distribution = (
            TorchCategorical if self._values else teacher.get_train_action_dist_cls()
        )
        self._temperature = temperature
        self.factor = weight if self._values else weight * temperature**2

    def kl(self, batch: Mapping[str, Any], fwd_out: Mapping[str, Any]) -> Tensor:
        """Mean over the minibatch's rows that count."""
        with torch.no_grad():
            inputs = forward_inputs(self._teacher, batch[Columns.OBS])
            if self._values:
                wanted = self._teacher.compute_q_values(inputs)[QF_PREDS]
            else:
                wanted = self._teacher.forward_inference(inputs)[Columns.ACTION_DIST_INPUTS]
        teacher, student = map(self._distribution.from_logits, (wanted, self._outputs(fwd_out)))
        rows: Tensor = softened_kl(teacher, student, self._temperature)
        if Columns.LOSS_MASK not in batch:
            return rows.mean()
        counted: Tensor = batch[Columns.LOSS_MASK].bool()
        return rows[counted].sum() / counted.sum().clamp(min=1)

    def _outputs(self, fwd_out: Mapping[str, Any]) -> Any:
        """What the student's distribution is made from."""
        if self._values:
            return fwd_out[QF_PREDS]
        # SAC for discrete actions gives log-probabilities alone, which are logits as well.
        return fwd_out.get(Columns.ACTION_DIST_INPUTS, fwd_out.get(ACTION_LOG_PROBS))


class _DistilledLoss:
    """A learner's ``compute_loss_for_module`` with the term added."""

    def __init__(self, learner: Any, terms: Mapping[str, _Term]) -> None:
        self._learner, self._terms = learner, terms
        self._own = getattr(learner, _METHOD)

    def __call__(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Tensor:
        loss: Tensor = self._own(module_id=module_id, config=config, batch=batch, fwd_out=fwd_out)
        term = self._terms.get(module_id)
        if term is None:
            return loss
        kl = term.kl(batch, fwd_out)
        self._learner.metrics.log_value((module_id, METRIC), kl.detach(), window=1)
        added = term.factor * kl
        # SAC and its kin (CQL, IQL, TQC) take gradients from the losses of each optimizer.
        losses = getattr(self._learner, "_temp_losses", None)
        if losses is not None:
            losses[module_id, POLICY_LOSS_KEY] = losses[module_id, POLICY_LOSS_KEY] + added
        return loss + added


def _remove(learner: Any) -> None:
    if isinstance(vars(learner).get(_METHOD), _DistilledLoss):
        delattr(learner, _METHOD)


def _spaces(learner: Any) -> dict[str, tuple[gym.Space, gym.Space]]:
    modules = {name: unwrapped(learner, name) for name in trained_modules(learner)}
    return {name: (each.action_space, each.observation_space) for name, each in modules.items()}
