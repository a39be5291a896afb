"""What masks cost and what removal gains, measured against the same training without them."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass

import torch
from ray.rllib.algorithms.algorithm import Algorithm

from prune_search.experiment.schema import Experiment
from prune_search.plan.plan import Plan
from prune_search.rllib.configuration.algorithms import algorithm_config
from prune_search.rllib.learners import masks as learner
from prune_search.rllib.runners.choice import build
from prune_search.rllib.running import each_learner, env_steps, process_settings
from prune_search.sparsity.selection.granularities import GRANULARITIES
from prune_search.trial.pruning.pruner import Pruner
from tuners.benchmarks.training.paired import WARM_UP, paired


@dataclass(frozen=True)
class PairedTimes:
    """Ratios of paired times: with / without."""

    median: float
    low: float
    """First quartile."""
    high: float
    """Third quartile."""
    sparsity: float
    """Of the pruned network, removed units counted, after the last iteration."""

    def __str__(self) -> str:
        return (
            f"median {self.median:.3f} (quartiles {self.low:.3f}, {self.high:.3f};"
            f" sparsity {self.sparsity:.3f})"
        )


def masks_overhead(experiment: Experiment, pairs: int, granularity: str = "weight") -> PairedTimes:
    """Time of RLlib's training iterations with masks, over that without.

    One algorithm has its actor and critic pruned by 90 % (n:m: fully) before the first iteration,
    nothing removed physically, and iterates with its masks on and off in turn: of two algorithms in
    a process, the one that was built second takes longer. All learning rates are zero: it takes all
    of its steps, and has the same weights after each, with masks or without. A policy that learns
    another way has episodes of other lengths, and other times.

    Args:
        pairs: iterations of each, 1 or more; two more of each are run first and not counted.
        granularity: of the masks.

    Raises:
        RuntimeError: the weights have changed in the end.
    """
    process_settings(experiment.resources.threads)
    algorithm = build(algorithm_config(_without_learning(experiment), seed=0))
    pruner = Pruner(algorithm, _plan(granularity), seed=0, shrink=False)
    pruner.prune(1.0)
    _, trained, _ = pruner.sizes()
    masks, weights = learner.masks(algorithm), learner.weights(algorithm)

    def put(on: bool) -> None:
        if on:
            learner.attach(algorithm)
            learner.set_masks(algorithm, masks)
        else:
            each_learner(algorithm, _take_off)

    def iterate() -> None:
        algorithm.train()

    low, median, high = paired(iterate, iterate, pairs, time.thread_time, put)
    after = learner.weights(algorithm)
    if not all(torch.equal(value, after[name]) for name, value in weights.items()):
        raise RuntimeError("learning rates are zero, and yet weights have changed")
    algorithm.stop()
    return PairedTimes(median, low, high, trained.sparsity)


def removal_speed(experiment: Experiment, pairs: int) -> PairedTimes:
    """Time of a learner update after 90 % of the parameters were removed, over the dense one's.

    Two algorithms, built alike, update on the same episodes, all epochs and minibatches of one
    training iteration; in one of them units of actor and critic were taken out physically.

    Args:
        pairs: updates of each, 1 or more; two more of each are run first and not counted.
    """
    process_settings(experiment.resources.threads)
    plain, pruned = (build(algorithm_config(experiment, seed=0)) for _ in range(2))
    pruner = Pruner(pruned, _plan("neuron"), seed=0)
    pruner.prune(1.0)
    pruner.shrink()
    steps = int(plain.config.total_train_batch_size)
    episodes = plain.env_runner.sample(num_timesteps=steps)
    # An update changes its episodes, and copies take their time.
    stock = [copy.deepcopy(episodes) for _ in range(2 * (pairs + WARM_UP))]

    def update(algorithm: Algorithm) -> None:
        config = algorithm.config
        algorithm.learner_group.update(
            episodes=stock.pop(),
            timesteps={"num_env_steps_sampled_lifetime": env_steps(algorithm)},
            num_epochs=config.num_epochs,
            minibatch_size=config.minibatch_size,
        )

    low, median, high = paired(lambda: update(pruned), lambda: update(plain), pairs)
    _, trained, _ = pruner.sizes()
    for algorithm in (plain, pruned):
        algorithm.stop()
    return PairedTimes(median, low, high, trained.sparsity)


def _take_off(held: object) -> None:
    """Takes a learner's masks off; its weights stay zero where they were."""
    found = learner.of_learner(held)
    if found is not None:
        found.remove()


def _without_learning(experiment: Experiment) -> Experiment:
    """One whose learning rates are all zero."""
    algorithm = experiment.algorithm
    rates = [name for name in algorithm.training if name == "lr" or name.endswith("_lr")] or ["lr"]
    training = {**algorithm.training, **dict.fromkeys(rates, 0.0)}
    changed = algorithm.model_copy(update={"training": training})
    return experiment.model_copy(update={"algorithm": changed})


def _plan(granularity: str) -> Plan:
    pattern = GRANULARITIES[granularity].pattern is not None
    return Plan.model_validate(
        {
            "granularity": granularity,
            "criterion": "magnitude",
            "allocation": None if pattern else "uniform",
            "scope": "both",
            "ratio": None if pattern else 0.9,
            "critic_ratio": None if pattern else 0.9,
            "schedule": "one_shot",
            "start": 0.0,
            "rounds": 1,
            "env_steps": 1,
            "lr_scale": 1.0,
        }
    )
