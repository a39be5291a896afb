"""One cell of the matrix: a strategy at work on a setup, and what was found wrong with it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModule

from prune_search.errors import one_line
from prune_search.experiment.schema import Experiment
from prune_search.plan.plan import Plan
from prune_search.rllib.configuration.algorithms import MODULE_PATH
from prune_search.rllib.evaluation.cost import policy_cost
from prune_search.rllib.learners import masks as learner
from prune_search.rllib.learners.invariants import alive
from prune_search.rllib.networks.roles import CRITIC
from prune_search.rllib.runners.choice import build
from prune_search.rllib.running import sync_weights, train
from prune_search.sparsity.allocation import ALLOCATIONS
from prune_search.sparsity.criteria import CRITERIA
from prune_search.sparsity.selection.granularities import GRANULARITIES
from prune_search.sparsity.sensitivity import Curve
from prune_search.sparsity.sizes import size
from prune_search.trial.pruning.pruner import Pruner
from prune_search.trial.sensitivity.scan import sensitivity_of
from tuners.benchmarks.methods.baselines import dense
from tuners.benchmarks.methods.methods import RATIO, Cell, Strategy
from tuners.benchmarks.methods.setups import Setup, small_config, small_experiment

# Standard deviations: of a layer's weights, and of units' RMS weights, which lie near 1.
_THRESHOLDS = {"weight": 0.5, "neuron": 1.0, "filter": 1.0}
_UPDATES = 2  # training iterations after pruning
_CLOSE = 0.02  # how far a share of single weights may lie from the one asked for


def run_strategy(setup: Setup, strategy: Strategy) -> Cell:
    """Prunes a small network of the setup's, trains on, and looks at what must hold.

    Masked weights, their moments and their copies in target networks and env runners are exactly
    zero, before and after updates; the ratio is reached; every layer keeps something; the
    checkpoint opens with RLlib alone and has as many zeros; what the policy costs can be counted,
    and compaction finds a smaller one that computes the same. Units are then taken out, and the
    smaller network is trained, saved and counted. Ray must run.

    Args:
        setup: one of `SETUPS`.
        strategy: one that has no `refusal` and fits the setup's network.
    """
    experiment = small_experiment(setup)
    algorithm = build(small_config(experiment))
    try:
        sparsity, problems = _Run(algorithm, experiment, strategy).outcome()
        return Cell(setup, strategy, sparsity, problems)
    except Exception as error:
        # Whatever a cell dies of is what the table has to tell.
        return Cell(setup, strategy, None, (f"{type(error).__name__}: {one_line(error)}",))
    finally:
        algorithm.stop()


class _Run:
    """A cell while it runs; problems are gathered on the way."""

    def __init__(self, algorithm: Algorithm, experiment: Experiment, strategy: Strategy) -> None:
        self._algorithm, self._experiment, self._strategy = algorithm, experiment, strategy
        self._problems: list[str] = []
        train(algorithm)  # optimizers have moments, so that there is something to mask
        self._kind = GRANULARITIES[strategy.granularity]
        self._by_value = CRITERIA[strategy.criterion].by_value
        needed = ALLOCATIONS[strategy.allocation].fitted_to if strategy.allocation else None
        self._densities, curves = needed == "densities", None
        if needed == "curves":
            curves = self._curves()
        self._pruner = Pruner(algorithm, self._plan(), seed=0, curves=curves)

    def outcome(self) -> tuple[float, tuple[str, ...]]:
        """The sparsity that was reached, and the problems."""
        pruner = self._pruner
        looks = 0
        while pruner.blind(1.0) and looks < 10:
            with learner.frozen(self._algorithm):
                train(self._algorithm)
            looks += 1
        if not pruner.prune(1.0):
            self._problems.append("nothing was pruned")
        self._look("after pruning")
        for update in range(_UPDATES):
            train(self._algorithm)
            self._look(f"after update {update + 1}")
        achieved = self._check_reached()
        self._check_checkpoint()
        self._check_cost()
        if self._kind.structured:
            self._check_removal()
        return achieved, tuple(dict.fromkeys(self._problems))

    def _look(self, when: str) -> None:
        masks = learner.masks(self._algorithm)
        self._problems += [f"{when}: {line}" for line in alive(self._algorithm, masks)]
        empty = [name for name, mask in masks.items() if mask.ndim >= 2 and not mask.any()]
        if empty:
            self._problems.append(f"{when}: nothing is left of {', '.join(empty)}")

    def _check_reached(self) -> float:
        acting, _, _ = self._pruner.sizes()
        achieved = acting.weight_sparsity
        exact = not (self._kind.structured or self._by_value)
        target = self._kind.pattern.limit if self._kind.pattern else RATIO
        if exact and abs(achieved - target) > _CLOSE:
            self._problems.append(f"{achieved:.3f} reached, {target} asked for")
        if achieved <= 0:
            self._problems.append("no zeros")
        return achieved

    def _check_checkpoint(self) -> None:
        acting, _, _ = self._pruner.sizes()
        with tempfile.TemporaryDirectory() as folder:
            self._algorithm.save_to_path(folder)
            saved = RLModule.from_checkpoint(Path(folder) / MODULE_PATH)
        kept = saved.get_state(inference_only=True)
        nonzero = size({k: v for k, v in saved.named_parameters() if k in kept}).nonzero
        if nonzero != acting.nonzero:
            self._problems.append(f"checkpoint: {nonzero} weights, learner: {acting.nonzero}")

    def _check_cost(self) -> None:
        _, _, physical = self._pruner.sizes()
        sync_weights(self._algorithm)
        cost = policy_cost({DEFAULT_MODULE_ID: self._algorithm.env_runner.module})
        self._problems += [f"no figure for {name}: {why}" for name, why in cost.missing.items()]
        if cost.bytes != 4 * physical or cost.macs == 0:
            self._problems.append(f"cost: {cost} of {physical} parameters")
        if cost.compact is not None and cost.compact > physical:
            self._problems.append(f"compaction: {cost.compact} of {physical} parameters")

    def _check_removal(self) -> None:
        acting, _, before = self._pruner.sizes()
        removed = self._pruner.shrink()
        after, _, physical = self._pruner.sizes()
        if not removed or physical >= before:
            self._problems.append("nothing was taken out physically")
        if after.nonzero != acting.nonzero:
            self._problems.append(
                f"removal: {acting.nonzero} weights before, {after.nonzero} after"
            )
        train(self._algorithm)
        self._check_checkpoint()
        self._check_cost()

    def _plan(self) -> Plan:
        strategy = self._strategy
        found = learner.one(self._algorithm, lambda held: learner.networks_of(held, units=False))
        both = any(network.role == CRITIC for network in found.values())
        by_value = self._by_value
        by_ratio = not by_value and self._kind.allocated
        layers = [layer for network in found.values() for layer in network.layers]
        return Plan(
            granularity=strategy.granularity,
            criterion=strategy.criterion,
            allocation=strategy.allocation,
            densities={layer: 1 / (1 + i % 3) for i, layer in enumerate(layers)}
            if self._densities
            else None,
            scope="both" if both else "actor",
            ratio=RATIO if by_ratio else None,
            critic_ratio=RATIO if by_ratio and both else None,
            threshold=_THRESHOLDS[strategy.granularity] if by_value else None,
            threshold_unit="std" if by_value else None,
            schedule="one_shot",
            start=0.0,
            rounds=1,
            env_steps=1,
            lr_scale=1.0,
        )

    def _curves(self) -> dict[str, Curve]:
        """Each layer's sensitivity, measured as trials have it measured."""
        strategy = self._strategy
        with tempfile.TemporaryDirectory() as folder:
            baseline = dense(self._algorithm, self._experiment, Path(folder))
            record = sensitivity_of(
                self._experiment, None, baseline, strategy.granularity, strategy.criterion
            )
        return dict(record.curves)
