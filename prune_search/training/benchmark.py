"""What enforcing masks costs, measured against the same training without them."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from ray.rllib.algorithms.algorithm import Algorithm

from prune_search.experiment import Experiment
from prune_search.pruning import Plan
from prune_search.training import learner
from prune_search.training.algorithm import algorithm_config, process_settings
from prune_search.training.pruner import Pruner


@dataclass(frozen=True)
class Overhead:
    """Ratios of paired times: with masks / without."""

    median: float
    low: float
    """First quartile."""
    high: float
    """Third quartile."""
    weight_sparsity: float
    """Of the pruned network, counted after the last iteration."""


def masks_overhead(experiment: Experiment, pairs: int) -> Overhead:
    """Times RLlib's training iterations with and without masks, in turn, in this process.

    The two algorithms are built alike; one is pruned to 90 % of its weights, actor and critic,
    before the first iteration. Which of a pair goes first alternates.

    Args:
        pairs: iterations of each, 1 or more; two more of each are run first and not counted.
    """
    process_settings(experiment.resources.threads)
    plain, pruned = (algorithm_config(experiment, seed=0).build_algo() for _ in range(2))
    plan = Plan(
        granularity="weight",
        criterion="magnitude",
        allocation="erk",
        scope="both",
        ratio=0.9,
        critic_ratio=0.9,
        schedule="one_shot",
        start=0.0,
        rounds=1,
        env_steps=1,
        lr_scale=1.0,
    )
    pruner = Pruner(pruned, plan, seed=0)
    pruner.prune(1.0)
    ratios = []
    for number in range(pairs + 2):
        order = [plain, pruned] if number % 2 else [pruned, plain]
        seconds = {id(algorithm): _iteration(algorithm) for algorithm in order}
        ratios.append(seconds[id(pruned)] / seconds[id(plain)])
    acting, _ = pruner.sizes(learner.weights(pruned))
    for algorithm in (plain, pruned):
        algorithm.stop()
    low, median, high = np.quantile(ratios[2:], [0.25, 0.5, 0.75])
    return Overhead(float(median), float(low), float(high), acting.weight_sparsity)


def _iteration(algorithm: Algorithm) -> float:
    clock = time.perf_counter()
    algorithm.train()
    return time.perf_counter() - clock
