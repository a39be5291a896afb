"""A plan at work on an algorithm: at each progress, the masks that its schedule asks for."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.algorithms.algorithm import Algorithm
from torch import Tensor

from prune_search.errors import TrialError
from prune_search.pruning import Plan
from prune_search.sparsity.criteria import Evidence, criterion
from prune_search.sparsity.measure import Size, size
from prune_search.sparsity.schedules import Schedule, schedule
from prune_search.sparsity.selection import select, select_threshold
from prune_search.training import learner
from prune_search.training.algorithm import sync_weights, unwrapped
from prune_search.training.networks import ACTOR, CRITIC, Network, networks


class Pruner:
    """Prunes the networks of one algorithm as one plan says.

    Args:
        algorithm: built, with the dense policy in it; its learners get empty masks.
        plan: what to do.
        seed: of the random criterion.
    """

    def __init__(self, algorithm: Algorithm, plan: Plan, seed: int) -> None:
        self._algorithm, self._plan, self._seed = algorithm, plan, seed
        self._criterion = criterion(plan.criterion)
        self._schedule = plan_schedule(plan)
        self.networks: dict[str, Network] = learner.one(
            algorithm, lambda held: networks(unwrapped(held), units=plan.granularity == "neuron")
        )
        self.finals = {name: final for name, final in finals(plan).items() if name in self.networks}
        learner.attach(algorithm, gradients="gradient" in self._criterion.needs)
        # Thresholds in standard deviations refer to the dense layers, as in Distiller's
        # sensitivity pruner: the deviation of what remains would grow with every cut.
        self._std = {
            name: float(weight.std())
            for name, weight in learner.weights(algorithm).items()
            if weight.ndim >= 2
        }

        self.fraction = 0.0
        """How much of the schedule's way the masks have gone; part of a trial's state."""

    def target(self, progress: float) -> float:
        """The ratio (criterion threshold: the threshold) of the first network in scope."""
        return self._schedule.at(progress, next(iter(self.finals.values())))

    def prune(self, progress: float) -> bool:
        """Removes what the schedule asks for at this progress; True if anything went.

        A criterion of gradients has none before the first iteration, and prunes after it.
        """
        fraction = self._schedule.fraction(progress)
        if fraction <= self.fraction:
            return False
        needed = "gradient" in self._criterion.needs
        gradients = learner.gradients(self._algorithm) if needed else None
        if needed and gradients is None:
            return False
        self.fraction = fraction
        weights = learner.weights(self._algorithm)
        check_finite("weights", weights)
        check_finite("gradients", gradients or {})
        old = learner.masks(self._algorithm)
        new = dict(old)
        for name, final in self.finals.items():
            new |= self._select(self.networks[name], progress, final, weights, gradients, old)
        if all(name in old and torch.equal(mask, old[name]) for name, mask in new.items()):
            return False
        learner.set_masks(self._algorithm, new)
        sync_weights(self._algorithm)
        return True

    def _select(
        self,
        network: Network,
        progress: float,
        final: float,
        weights: dict[str, Tensor],
        gradients: dict[str, Tensor] | None,
        masks: dict[str, Tensor],
    ) -> dict[str, Any]:
        plan = self._plan
        target = self._schedule.at(progress, final)
        if plan.criterion == "threshold":
            unit = self._std if plan.threshold_unit == "std" else dict.fromkeys(self._std, 1.0)
            cut = {layer: target * unit[layer] for layer in network.layers}
            return select_threshold(
                plan.granularity, weights, network.layers, network.units, masks, cut
            )
        # The same stream at every call: a random score stays with its weight for the whole trial.
        generator = torch.Generator().manual_seed(self._seed)
        scores = {
            layer: self._criterion.score(
                Evidence(weights[layer], gradient=(gradients or {}).get(layer)), generator
            )
            for layer in network.layers
        }
        assert plan.allocation is not None
        return select(
            plan.granularity,
            weights,
            network.layers,
            network.units,
            scores,
            masks,
            plan.allocation,
            target,
        )

    def sizes(self, weights: dict[str, Tensor]) -> tuple[Size, Size]:
        """Counted from the tensors: the inference network, and everything that is trained."""
        acting = {name: weights[name] for name in self.networks[ACTOR].parameters}
        return size(acting), size(weights)


def check_finite(what: str, tensors: dict[str, Tensor]) -> None:
    """Raises TrialError, naming the parameters, if any value is NaN or infinite."""
    bad = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise TrialError(f"{what} are not finite in {', '.join(bad)}")


def finals(plan: Plan) -> dict[str, float]:
    """What each network in scope is pruned to: a ratio, or the threshold."""
    if plan.threshold is not None:
        scope = [ACTOR, CRITIC] if plan.scope == "both" else [plan.scope]
        return dict.fromkeys(scope, plan.threshold)
    assert plan.ratio is not None
    if plan.scope == "both":
        assert plan.critic_ratio is not None
        return {ACTOR: plan.ratio, CRITIC: plan.critic_ratio}
    return {plan.scope: plan.ratio}


def plan_schedule(plan: Plan) -> Schedule:
    """The plan's schedule over progress.

    The geometric one takes a step at the start of each round from start to end, so that a round
    is: prune, train, evaluate.
    """
    start, end = plan.start or 0.0, 1.0 if plan.end is None else plan.end
    steps = max(1, round((end - start) * plan.rounds))
    if plan.schedule == "geometric":
        end = min(1.0, start + steps / plan.rounds)
    return schedule(plan.schedule, start, end, steps)
