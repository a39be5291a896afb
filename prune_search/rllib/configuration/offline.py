"""Algorithms that learn from recorded episodes: where these are, and what reading them takes."""

from __future__ import annotations

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.cql import CQLConfig
from ray.rllib.algorithms.marwil import MARWILConfig

from prune_search.errors import UserError, one_line
from prune_search.experiment.schema import Experiment
from prune_search.experiment.trust import require_trust
from prune_search.rllib.configuration.environments import steps_of

OFFLINE = (MARWILConfig, CQLConfig)
"""Of algorithms that learn from recorded episodes; BC and IQL are kinds of MARWIL."""


def set_offline_data(config: AlgorithmConfig, experiment: Experiment) -> None:
    """Gives a configuration of BC, MARWIL, CQL or IQL its data.

    Ray Data's tasks and actors run beside a trial, not in what Tune has reserved for it: where
    trials hold all CPUs, they would wait for ever. So by default they ask for none, but for the
    one that lists files, which takes a CPU for a moment whatever is asked for.

    Raises:
        UserError: no data where it is needed, data where it isn't, data of spaces that would be
            converted, data that is not trusted (RLlib and Ray Data unpickle columns), or settings
            that RLlib refuses.
    """
    name, settings = experiment.algorithm.name, experiment.algorithm.offline
    if not isinstance(config, OFFLINE):
        if settings:
            raise UserError(f"algorithm.offline: {name} samples its own episodes; remove it")
        return
    if not settings.get("input_") and not config.is_offline:
        raise UserError(
            f"algorithm.offline: {name} learns from recorded episodes; give their paths as input_"
        )
    converted = steps_of(config.env)[len(experiment.environment.wrappers) :]
    if converted:
        raise UserError(
            "algorithm.offline: recorded observations and actions are read as they are, and those"
            f" of {experiment.environment.id} would be converted"
            f" ({', '.join(step['name'] for step in converted)}); record what networks take, from"
            " an environment that is wrapped so, and name its wrappers in environment.wrappers"
        )
    require_trust(experiment, "algorithm.offline")
    iterations = config.dataset_num_iters_per_learner
    defaults = {
        "map_batches_kwargs": {"concurrency": 1, "num_cpus": 0},
        "input_read_method_kwargs": {"ray_remote_args": {"num_cpus": 0}},
        # RLlib's default goes through the whole dataset at each iteration, and a learner in the
        # same process needs a number. CQL can't take one batch there: see docs/algorithms.md.
        "dataset_num_iters_per_learner": iterations or (2 if isinstance(config, CQLConfig) else 1),
    }
    try:
        config.offline_data(**{**defaults, **settings})
    except (TypeError, AttributeError, ValueError) as error:
        raise UserError(f"algorithm.offline: {one_line(error)}") from None
    # RLlib can neither restore nor evaluate them without env runners; they sample nothing.
    config._is_online = True
