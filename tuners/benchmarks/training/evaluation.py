"""What the lean evaluation loop gains, measured against RLlib's env runner on the same episodes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prune_search.errors import UserError
from prune_search.experiment.schema import Experiment
from prune_search.rllib.configuration.algorithms import algorithm_config
from prune_search.rllib.evaluation.evaluator import Evaluator, evaluation_seeds, runner_state
from prune_search.rllib.learners import masks as learner
from prune_search.rllib.running import env_steps, process_settings, train
from tuners.benchmarks.training.paired import Ratios, times


@dataclass(frozen=True)
class Gain:
    """Ratios of paired times: the lean loop's / RLlib's env runner's."""

    median: float
    low: float
    """First quartile."""
    high: float
    """Third quartile."""
    seconds: float
    """Median of an evaluation by RLlib's env runner."""
    returned: float
    """Mean return of the policy, the same on both."""

    def __str__(self) -> str:
        return (
            f"median {self.median:.3f} (quartiles {self.low:.3f}, {self.high:.3f}; RLlib's"
            f" {self.seconds:.2f} s; return {self.returned:.1f})"
        )


def evaluation_gain(experiment: Experiment, pairs: int, steps: int) -> Gain:
    """Time of one of the experiment's evaluations by the lean loop, over RLlib's env runner's.

    Both play the same episodes in turn, in this process; which of a pair goes first alternates.

    Args:
        pairs: evaluations by each, 1 or more; two more of each are run first and not counted.
        steps: env steps that the policy is trained for before; 0 for one that knows nothing.

    Raises:
        UserError: the lean loop can't play this experiment.
        RuntimeError: the two do not find the same returns.
    """
    process_settings(experiment.resources.threads)
    config, settings = algorithm_config(experiment, seed=0), experiment.evaluation
    lean, stock = (Evaluator(config, settings, stock=stock) for stock in (False, True))
    algorithm = config.build_algo()
    while env_steps(algorithm) < steps:
        train(algorithm)
    for evaluator in (lean, stock):
        evaluator.load(learner.module_state(algorithm), runner_state(algorithm))
    algorithm.stop()
    if lean.obstacle():
        raise UserError(f"benchmark evaluation: only RLlib's env runner plays: {lean.obstacle()}")
    seeds = evaluation_seeds(settings.seed, settings.episodes)
    returns: dict[bool, NDArray[np.float64]] = {}

    def play(evaluator: Evaluator) -> None:
        returns[evaluator is lean] = found = evaluator.returns(seeds)
        if not np.allclose(found, returns.get(evaluator is not lean, found), rtol=1e-9):
            raise RuntimeError(f"returns differ: {returns[True]} and {returns[False]}")

    taken = times(lambda: play(lean), lambda: play(stock), pairs)
    low, median, high = Ratios.of(taken)
    seconds = float(np.median([stocks for _, stocks in taken]))
    return Gain(median, low, high, seconds, float(returns[True].mean()))
