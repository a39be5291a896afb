"""Whether what is learned is the same with the lean env runner and update as with RLlib's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from prune_search.experiment.schema import Experiment
from prune_search.rllib.configuration.algorithms import algorithm_config
from prune_search.rllib.evaluation.evaluator import Evaluator, evaluation_seeds, runner_state
from prune_search.rllib.learners import masks as learner
from prune_search.rllib.runners.choice import Runner, build
from prune_search.rllib.running import env_steps, process_settings, reseed, train
from tuners.benchmarks.training.sampling import Task

SHARES = (0.25, 0.5, 1.0)
"""Of the budget, at which policies are measured."""
_TRIMMED = 0.25


class Measured(NamedTuple):
    """The interquartile mean over all seeds and episodes, with its 95 % interval."""

    iqm: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.iqm:.1f} ({self.low:.1f}, {self.high:.1f})"


class Compared(NamedTuple):
    """Both at one share of the budget."""

    env_steps: int
    stock: Measured
    ours: Measured
    identical: bool
    """Whether all returns are the same, episode by episode."""

    @property
    def same(self) -> bool:
        """Whether each lies in the interval of the other."""
        inside = self.stock.low <= self.ours.iqm <= self.stock.high
        return inside and self.ours.low <= self.stock.iqm <= self.ours.high


def compare(task: Task, seeds: int, steps: int, told: Callable[[str], None]) -> list[Compared]:
    """Trains a task with RLlib's parts and with ours, and measures the policies on their way.

    Args:
        task: what is trained.
        seeds: trainings of each, 2 or more.
        steps: env steps of each; 0 for the experiment's `baseline.env_steps`.
        told: is told of each training that has ended.

    Returns:
        For each of `SHARES` what was measured, on held-out seeds.
    """
    returns: dict[Runner, list[NDArray[np.float64]]] = {"rllib": [], "auto": []}
    for seed in range(seeds):
        for runner, found in returns.items():
            experiment = task.experiment(f"resources.runner={runner}")
            found.append(_course(experiment, seed, steps or experiment.baseline.env_steps))
            told(f"seed {seed}, {runner}: {found[-1].mean(axis=1).round(1).tolist()}")
    stock, ours = (np.stack(found) for found in returns.values())  # [seeds, shares, episodes]
    budget = steps or task.experiment().baseline.env_steps
    return [
        Compared(
            round(share * budget),
            _measured(stock[:, number]),
            _measured(ours[:, number]),
            bool((stock[:, number] == ours[:, number]).all()),
        )
        for number, share in enumerate(SHARES)
    ]


def _course(experiment: Experiment, seed: int, steps: int) -> NDArray[np.float64]:
    """Returns at each share of the budget, [shares, episodes]."""
    process_settings(experiment.resources.threads)
    config, settings = algorithm_config(experiment, seed), experiment.evaluation
    algorithm, evaluator = build(config), Evaluator(config, settings)
    reseed(algorithm, seed)
    found = []
    for share in SHARES:
        while env_steps(algorithm) < share * steps:
            train(algorithm)
        evaluator.load(learner.module_state(algorithm), runner_state(algorithm))
        found.append(evaluator.returns(evaluation_seeds(settings.seed, settings.episodes)))
    algorithm.stop()
    return np.stack(found)


def _measured(returns: NDArray[np.float64]) -> Measured:
    """Of returns [seeds, episodes]: seeds are drawn again, each with its episodes."""

    def iqm(sample: NDArray[np.float64]) -> float:
        return float(stats.trim_mean(sample.ravel(), _TRIMMED))

    random = np.random.default_rng(0)
    drawn: Sequence[float] = [
        iqm(returns[random.integers(len(returns), size=len(returns))]) for _ in range(2000)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Measured(iqm(returns), float(low), float(high))
