"""One cell of the matrix: a strategy at work on an algorithm, and what was found wrong with it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core.rl_module.rl_module import RLModule

from prune_search.errors import one_line
from prune_search.experiment import Experiment
from prune_search.matrix.setups import NetworkKind, small_config, small_experiment
from prune_search.pruning import Allocation, CriterionName, Granularity, Plan, conflict
from prune_search.record import BaselineRecord
from prune_search.sparsity.measure import size
from prune_search.sparsity.sensitivity import Curve
from prune_search.training import learner
from prune_search.training.algorithm import MODULE_PATH
from prune_search.training.evaluation import Evaluator
from prune_search.training.invariants import alive
from prune_search.training.networks import CRITIC
from prune_search.training.pruner import Pruner
from prune_search.training.sensitivity import sensitivity_of

RATIO = 0.5
"""Share of the weights, or units, of every network that cells ask for."""
# Standard deviations: of a layer's weights, and of units' RMS weights, which lie near 1.
_THRESHOLDS = {"weight": 0.5, "neuron": 1.0, "filter": 1.0}
_UPDATES = 2  # training iterations after pruning
_CLOSE = 0.02  # how far a share of single weights may lie from the one asked for


@dataclass(frozen=True)
class Strategy:
    """What is removed, by which score, and how the ratio is divided."""

    granularity: str
    criterion: str
    allocation: str | None
    """None where none divides anything: criterion threshold, 2:4 and 1:4."""

    @property
    def refusal(self) -> str | None:
        """Why experiment files may not ask for it; None where they may."""
        axes = {"granularity": self.granularity, "criterion": self.criterion}
        return conflict(
            axes if self.allocation is None else {**axes, "allocation": self.allocation}
        )

    @property
    def network(self) -> NetworkKind:
        """What the networks that it is tried on read: filters need convolutions."""
        return "image" if self.granularity == "filter" else "vector"


@dataclass(frozen=True)
class Cell:
    """What came of a strategy on an algorithm."""

    algorithm: str
    strategy: Strategy
    sparsity: float | None
    """Zero share of the acting network's kernels, removed ones counted; None if it got nowhere."""
    problems: tuple[str, ...] = ()
    """What did not hold; empty if everything did."""


def strategies() -> Iterator[Strategy]:
    """Every combination of granularity, criterion and allocation, possible or not."""
    for granularity in get_args(Granularity):
        for criterion in get_args(CriterionName):
            divided = ":" not in granularity and criterion != "threshold"
            for allocation in get_args(Allocation) if divided else [None]:
                yield Strategy(granularity, criterion, allocation)


def run_cell(algorithm_name: str, strategy: Strategy) -> Cell:
    """Prunes a small network of the algorithm's, trains on, and looks at what must hold.

    Masked weights, their moments and their copies in target networks and env runners are exactly
    zero, before and after updates; the ratio is reached; every layer keeps something; the
    checkpoint opens with RLlib alone and has as many zeros. Units are then taken out, and the
    smaller network is trained. Ray must run.

    Args:
        algorithm_name: a key of `ALGORITHMS`.
        strategy: one that has no `refusal`.
    """
    experiment = small_experiment(algorithm_name, strategy.network)
    algorithm = small_config(experiment).build_algo()
    try:
        return _Run(algorithm, experiment, strategy).cell()
    except Exception as error:
        # Whatever a cell dies of is what the table has to tell.
        problem = f"{type(error).__name__}: {one_line(error)}"
        return Cell(algorithm_name, strategy, None, (problem,))
    finally:
        algorithm.stop()


class _Run:
    """A cell while it runs; problems are gathered on the way."""

    def __init__(self, algorithm: Algorithm, experiment: Experiment, strategy: Strategy) -> None:
        self._algorithm, self._experiment, self._strategy = algorithm, experiment, strategy
        self._problems: list[str] = []
        algorithm.train()  # optimizers have moments, so that there is something to mask
        curves = self._curves() if strategy.allocation == "sensitivity" else None
        self._pruner = Pruner(algorithm, self._plan(), seed=0, curves=curves)

    def cell(self) -> Cell:
        strategy, pruner = self._strategy, self._pruner
        looks = 0
        while pruner.blind(1.0) and looks < 10:
            with learner.frozen(self._algorithm):
                self._algorithm.train()
            looks += 1
        if not pruner.prune(1.0):
            self._problems.append("nothing was pruned")
        self._look("after pruning")
        for update in range(_UPDATES):
            self._algorithm.train()
            self._look(f"after update {update + 1}")
        achieved = self._check_reached()
        self._check_checkpoint()
        if strategy.granularity in ("neuron", "filter"):
            self._check_removal()
        name = self._experiment.algorithm.name
        return Cell(name, strategy, achieved, tuple(dict.fromkeys(self._problems)))

    def _look(self, when: str) -> None:
        masks = learner.masks(self._algorithm)
        self._problems += [f"{when}: {line}" for line in alive(self._algorithm, masks)]
        empty = [name for name, mask in masks.items() if mask.ndim >= 2 and not mask.any()]
        if empty:
            self._problems.append(f"{when}: nothing is left of {', '.join(empty)}")

    def _check_reached(self) -> float:
        acting, _, _ = self._pruner.sizes()
        achieved = acting.weight_sparsity
        exact = self._strategy.granularity == "weight" and self._strategy.criterion != "threshold"
        target = 0.75 if self._strategy.granularity == "1:4" else RATIO
        if (exact or ":" in self._strategy.granularity) and abs(achieved - target) > _CLOSE:
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
        self._algorithm.train()
        self._check_checkpoint()

    def _plan(self) -> Plan:
        strategy = self._strategy
        found = learner.one(self._algorithm, lambda held: learner.networks_of(held, units=False))
        both = any(network.role == CRITIC for network in found.values())
        by_value = strategy.criterion == "threshold"
        by_ratio = not by_value and ":" not in strategy.granularity
        layers = [layer for network in found.values() for layer in network.layers]
        return Plan(
            granularity=strategy.granularity,
            criterion=strategy.criterion,
            allocation=strategy.allocation,
            densities={layer: 1 / (1 + i % 3) for i, layer in enumerate(layers)}
            if strategy.allocation == "searched"
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
        experiment, settings = self._experiment, self._experiment.evaluation
        evaluator = Evaluator(self._algorithm.config, settings)
        evaluator.load(learner.module_state(self._algorithm))
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = Path(folder) / "algorithm"
            self._algorithm.save_to_path(checkpoint)
            acting = evaluator.parameters().values()
            baseline = BaselineRecord(
                key="matrix",
                checkpoint=str(checkpoint),
                returned=evaluator.measure(settings.seed, settings.episodes),
                random=evaluator.measure(settings.seed, settings.episodes, random=True),
                parameters=sum(parameter.numel() for parameter in acting),
                weights=sum(parameter.numel() for parameter in acting if parameter.ndim >= 2),
                env_steps=1,
                train_s=0.0,
            )
            strategy = self._strategy
            record = sensitivity_of(
                experiment, None, baseline, strategy.granularity, strategy.criterion
            )
        return dict(record.curves)
