"""A plan at work on an algorithm: at each progress, the masks that it asks for.

What is selected is worked out in the coordinates of the dense networks, whatever has been taken
out of them physically by then, so that a ratio always means the same. `Removal` translates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import torch
from ray.rllib.algorithms.algorithm import Algorithm
from torch import Tensor

from prune_search.errors import TrialError
from prune_search.plan.plan import Plan
from prune_search.rllib.learners import masks as learner
from prune_search.rllib.learners.evidence import ACTIVATION
from prune_search.rllib.networks.roles import ACTOR, Network
from prune_search.rllib.running import sync_weights
from prune_search.sparsity.criteria import Evidence, criterion
from prune_search.sparsity.gate import GATED
from prune_search.sparsity.named import Tensors
from prune_search.sparsity.regrowth import drop_fraction, regrow, regrowth
from prune_search.sparsity.selection.granularities import GRANULARITIES
from prune_search.sparsity.selection.select import select, select_threshold
from prune_search.sparsity.sensitivity import Curve
from prune_search.sparsity.sizes import Size, size
from prune_search.trial.pruning.dense_view import Removal
from prune_search.trial.pruning.targets import allocation_of, level_at, levels, plan_schedule


class Regrown(NamedTuple):
    """What came of a regrowth that was due."""

    done: bool
    """False where no gradient had been seen that it needed."""
    weights: int
    """How many grew."""


class Pruner:
    """Prunes the networks of one algorithm as one plan says.

    Args:
        algorithm: built, with the dense policy in it; its learners get empty masks.
        plan: what to do.
        seed: of the random criterion and of random growth.
        layers: patterns of the kernels that may be pruned.
        curves: measured sensitivity of each layer, where the allocation is `sensitivity`.
        shrink: whether units are taken out physically by `shrink`.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        plan: Plan,
        seed: int,
        *,
        layers: list[str] | None = None,
        curves: dict[str, Curve] | None = None,
        shrink: bool = True,
    ) -> None:
        self._algorithm, self._plan, self._seed = algorithm, plan, seed
        self._criterion = criterion(plan.criterion)
        self._schedule = plan_schedule(plan)
        self._allocation = allocation_of(plan, curves)
        self._shrinks = shrink and plan.structured and plan.schedule != GATED
        structured = plan.structured
        self.networks: dict[str, Network] = learner.one(
            algorithm, lambda held: learner.networks_of(held, units=structured)
        )
        scope = levels(plan)
        self.levels = {
            name: scope[network.role]
            for name, network in self.networks.items()
            if network.role in scope
        }
        self._layers = {
            name: chosen_layers(self.networks[name], layers or ["*"]) for name in self.levels
        }
        needs = set(self._criterion.needs)
        if plan.regrowth != "none" and regrowth(plan.regrowth).needs_gradient:
            needs.add("gradient")
        self._needs = frozenset(needs)
        learner.attach(algorithm, self._needs)
        weights = learner.weights(algorithm)
        self.removal = Removal(weights)
        # Thresholds in standard deviations refer to the dense layers, as in Distiller's
        # sensitivity pruner: the deviation of what remains would grow with every cut.
        self._std = {
            name: float(weight.std()) for name, weight in weights.items() if weight.ndim >= 2
        }
        self._fraction = 0.0  # how much of the schedule's way the masks have gone
        self._ratio: float | None = None  # what the gate has set
        # The ratio at which each weight went; infinite where it is kept.
        self._went: dict[str, Tensor] = {}
        self._regrown = 0  # multiples of regrow_every that have passed

    def target(self, progress: float) -> float:
        """The ratio (criterion threshold: the threshold) of the first network in scope."""
        if self._schedule is None:
            return self._ratio or 0.0
        return level_at(self._plan, progress, next(iter(self.levels.values())))

    def blind(self, progress: float) -> bool:
        """Whether pruning is due whose criterion has seen no batch yet."""
        due = self._schedule is None or self._schedule.fraction(progress) > self._fraction
        return bool(due and self._criterion.needs and learner.evidence(self._algorithm) is None)

    def prune(self, progress: float) -> bool:
        """Removes what the schedule asks for at this progress; True if anything went.

        A criterion that has seen no batch (see `blind`) prunes after it has.
        """
        if self._schedule is None:
            return False
        fraction = self._schedule.fraction(progress)
        if fraction <= self._fraction:
            return False
        evidence = learner.evidence(self._algorithm) if self._criterion.needs else {}
        if evidence is None:
            return False
        self._fraction = fraction
        weights, old = self._weights(), self._masks()
        new = dict(old)
        for name, end in self.levels.items():
            # What another network reads of a shared encoder's units is gone with them.
            level = level_at(self._plan, progress, end)
            new |= self._select(name, level, weights, evidence, new)
        return self._install(new, old)

    def to_ratio(self, ratio: float) -> bool:
        """Prunes every network in scope to a ratio, or gives back down to it; True on a change.

        What went last comes back first, with the values that it had when it went; what is kept
        stays. At a ratio that was in force before, the masks are those of then again.
        """
        old = self._masks()
        if ratio < (self._ratio or 0.0):
            new = {name: went > ratio for name, went in self._went.items()}
        else:
            evidence = learner.evidence(self._algorithm) if self._criterion.needs else {}
            if evidence is None:
                return False
            weights, new = self._weights(), dict(old)
            for name in self.levels:
                new |= self._select(name, ratio, weights, evidence, new)
        self._ratio = ratio
        for name, kept in new.items():
            went = self._went.get(name, torch.full(kept.shape, torch.inf, dtype=torch.float64))
            self._went[name] = torch.where(kept, torch.inf, went.clamp(max=ratio))
        return self._install(new, old, restore=True)

    def regrow(self, steps: int, progress: float) -> Regrown | None:
        """Drops and grows where that is due after so many env steps; None where it is not.

        It is due where a multiple of `regrow_every` has passed, from the first pruning on until
        `end`. Gradients that a pruning at the same time went by serve it as well.
        """
        plan = self._plan
        if plan.regrowth == "none":
            return None
        assert plan.regrow_every is not None and plan.drop_fraction is not None
        due = steps // plan.regrow_every
        fraction = drop_fraction(plan.drop_fraction, progress, plan.end or 1.0)
        if due <= self._regrown:
            return None
        self._regrown = due
        if fraction == 0.0 or self._fraction == 0.0:
            return None
        by_gradient = regrowth(plan.regrowth).needs_gradient
        evidence = learner.evidence(self._algorithm) if by_gradient else {}
        if evidence is None:
            return Regrown(done=False, weights=0)
        weights, old = self._weights(), self._masks()
        generator = torch.Generator().manual_seed((self._seed * 1_000_003 + due) % 2**63)
        new = dict(old)
        for name in self.levels:
            new |= regrow(
                plan.regrowth,
                weights,
                self._layers[name],
                old,
                fraction,
                evidence.get("gradient", {}),
                generator,
            )
        self._install(new, old)
        grown = sum(int((new[name] & ~old[name]).sum()) for name in old)
        return Regrown(done=True, weights=grown)

    def shrink(self) -> bool:
        """Takes units that are masked altogether out of the networks; True if any were left."""
        if not self._shrinks:
            return False
        units = [unit for network in self.networks.values() for unit in network.units]
        before = self._masks()
        seen = learner.mask_state(self._algorithm)["evidence"]
        dense = _statistics(seen, self.removal.put_one)
        steps = self.removal.remove(units, before)
        if not steps:
            return False
        self._resize(steps)
        learner.set_masks(self._algorithm, self.removal.take(before))
        learner.load_evidence(self._algorithm, _statistics(dense, self.removal.take_one))
        return True

    def _resize(self, steps: dict[str, Any]) -> None:
        from prune_search.rllib.networks.surgery import shrink

        shrink(self._algorithm, steps)
        learner.attach(self._algorithm, self._needs)

    def state_dict(self) -> dict[str, Any]:
        """All that a trial needs to go on; `torch.load(weights_only=True)` reads what it holds."""
        return {
            **learner.mask_state(self._algorithm),
            "fraction": self._fraction,
            "ratio": self._ratio,
            "went": self._went,
            "regrown": self._regrown,
            "removal": self.removal.state_dict(),
        }

    def resize(self, state: dict[str, Any]) -> None:
        """Brings the dense networks to the shapes of a `state_dict`, before its weights come."""
        steps = self.removal.load_state_dict(state["removal"])
        if steps:
            self._resize(steps)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what `state_dict` gave; the networks have its shapes and weights by now."""
        learner.load_mask_state(self._algorithm, state)
        self._fraction, self._ratio = state["fraction"], state["ratio"]
        self._went, self._regrown = state["went"], state["regrown"]

    def sizes(self) -> tuple[Size, Size, int]:
        """Counted from tensors: inference networks, all that is trained, and the inference
        networks' parameters that are left physically. What is removed counts as zero."""
        weights = learner.weights(self._algorithm)
        check_finite("weights", weights)
        dense = self.removal.put(weights)
        names = {name for network in self.networks.values() for name in network.parameters}
        acting = {
            name
            for network in self.networks.values()
            if network.role == ACTOR
            for name in network.parameters
        }
        trained = size({name: dense[name] for name in dense if name in names})
        physical = sum(weights[name].numel() for name in acting)
        return size({name: dense[name] for name in dense if name in acting}), trained, physical

    def _weights(self) -> dict[str, Tensor]:
        weights = learner.weights(self._algorithm)
        check_finite("weights", weights)
        return self.removal.put(weights)

    def _masks(self) -> dict[str, Tensor]:
        """The masks in force, over the dense networks."""
        return self.removal.put_masks(learner.masks(self._algorithm))

    def _install(self, new: Tensors, old: Tensors, *, restore: bool = False) -> bool:
        if all(name in old and torch.equal(mask, old[name]) for name, mask in new.items()):
            return False
        learner.set_masks(self._algorithm, self.removal.take(new), restore=restore)
        sync_weights(self._algorithm)
        return True

    def _select(
        self,
        name: str,
        target: float,
        weights: Tensors,
        evidence: Mapping[str, Tensors],
        masks: Tensors,
    ) -> dict[str, Tensor]:
        plan, network, layers = self._plan, self.networks[name], self._layers[name]
        kind = GRANULARITIES[plan.granularity]
        if kind.structured and not kind.units(weights, layers, network.units):
            return {}  # of a critic without filters, beside an actor that has some
        if self._criterion.by_value:
            unit = self._std if plan.threshold_unit == "std" else dict.fromkeys(self._std, 1.0)
            cut = {layer: target * unit[layer] for layer in layers}
            return select_threshold(plan.granularity, weights, layers, network.units, masks, cut)
        for statistic, found in evidence.items():
            check_finite(statistic, found)
        # The same stream at every call: a random score stays with its weight for the whole trial.
        generator = torch.Generator().manual_seed(self._seed)
        scores = {}
        for layer in layers:
            known = {
                statistic: self.removal.put_one(layer, found[layer], rows=statistic == "activation")
                for statistic, found in evidence.items()
                if layer in found
            }
            if self._criterion.needs <= known.keys():
                scores[layer] = self._criterion.score(Evidence(weights[layer], **known), generator)
        return select(
            plan.granularity,
            weights,
            layers,
            network.units,
            scores,
            masks,
            self._allocation,
            target,
        )


def _statistics(seen: dict[str, Any], lay: Callable[..., Tensor]) -> dict[str, Any]:
    """A collector's state, each of its tensors laid into another shape."""
    sums = {
        statistic: {
            name: lay(name, value, rows=statistic == ACTIVATION) for name, value in of.items()
        }
        for statistic, of in seen["sums"].items()
    }
    return {**seen, "sums": sums}


def chosen_layers(network: Network, patterns: list[str]) -> tuple[str, ...]:
    """The kernels of a network whose names fit one of the patterns."""
    return tuple(
        name for name in network.layers if any(fnmatchcase(name, pattern) for pattern in patterns)
    )


def check_finite(what: str, tensors: Tensors) -> None:
    """Raises TrialError, naming the parameters, if any value is NaN or infinite."""
    bad = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise TrialError(
            f"{what} are not finite in {', '.join(bad)}: the training has diverged, or the"
            " environment returned what is not finite"
        )
