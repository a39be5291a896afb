"""RLlib's observation filter, and statistics for it that were learned elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.connectors.env_to_module import MeanStdFilter
from ray.rllib.utils.filter import RunningStat
from ray.rllib.utils.numpy import SMALL_NUMBER

from prune_search.rllib.connectors.obstacles import connectors


def filtering(clip: float, *, agents: bool = False) -> Callable[..., MeanStdFilter]:
    """What makes the filter, for `env_to_module_connector`; checkpoints carry its code.

    Args:
        clip: what filtered observations are cut at.
        agents: one filter for each of several agents.
    """

    def made(env: Any = None, spaces: Any = None, device: Any = None) -> MeanStdFilter:
        from ray.rllib.connectors.env_to_module import MeanStdFilter

        return MeanStdFilter(clip_by_value=clip, multi_agent=agents)

    return made


def teach(
    algorithm: Algorithm, mean: NDArray[np.float64], deviation: NDArray[np.float64], count: int
) -> None:
    """Lets the filters of all env runners scale by (observation - mean) / deviation.

    Args:
        algorithm: built with `filtering`.
        mean: [*observation_shape].
        deviation: likewise, above 1e-6, which RLlib adds to its own.
        count: how many observations were seen; 2 or more.
    """
    seen = RunningStat(mean.shape)
    seen.num_pushes = count
    seen.mean_array = mean
    seen.sum_sq_diff_array = (deviation - SMALL_NUMBER) ** 2 * (count - 1)

    def set_statistics(runner: Any) -> None:
        for each in connectors(runner._env_to_module):
            if isinstance(each, MeanStdFilter):
                state = each.get_state()
                state[None]["running_stats"] = [seen.to_state()]
                each.set_state(state)

    assert algorithm.env_runner_group is not None
    algorithm.env_runner_group.foreach_env_runner(set_statistics)
