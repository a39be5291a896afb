"""The dense networks that an experiment describes, untrained and whole."""

from __future__ import annotations

import gymnasium as gym
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModule
from torch import Tensor

from prune_search.errors import UserError, one_line
from prune_search.experiment.schema import Experiment
from prune_search.rllib.configuration.algorithms import (
    algorithm_config,
)
from prune_search.rllib.configuration.own_networks import check_own_network
from prune_search.rllib.networks.roles import full_name
from prune_search.trial.spaces import check_spaces, spaces_of


def dense_modules(experiment: Experiment, *, tried: bool = False) -> dict[str, RLModule]:
    """The networks that the experiment describes, untrained and whole, by ModuleID.

    Args:
        experiment: whose.
        tried: whether its environment is stepped a few times as well.

    Raises:
        UserError: the environment can't be made, RLlib can't build networks for it, or it fails
            in its steps.
    """
    config = algorithm_config(experiment, seed=0)
    spaces = spaces_of(experiment, config, tried=tried)
    for observation, action in spaces.values():
        check_spaces(observation, action, trained=experiment.baseline.checkpoint is not None)
    first = next(iter(spaces.values()))
    _check_model(experiment, first[0])
    try:
        spec = config.get_multi_rl_module_spec(spaces={"__env_single__": first, **spaces})
        modules = spec.build()
    except Exception as error:
        raise UserError(
            f"{'algorithm.module' if experiment.algorithm.module else 'algorithm.model'}: RLlib"
            f" cannot build a network for observations {first[0]} and actions {first[1]}:"
            f" {one_line(error)}"
        ) from None
    found = {name: modules[name].unwrapped() for name in spaces}
    if experiment.algorithm.module:
        for module in found.values():
            check_own_network(experiment.algorithm.module, module)
    return found


def named_weights(modules: dict[str, RLModule]) -> dict[str, Tensor]:
    """All parameters, by the names that trials use."""
    return {
        name if module_id == DEFAULT_MODULE_ID else full_name(module_id, name): value.detach()
        for module_id, module in modules.items()
        for name, value in module.named_parameters()
    }


def _check_model(experiment: Experiment, observation: gym.Space) -> None:
    """Raises UserError for convolutions that nobody would see are not there."""
    if experiment.algorithm.model.get("conv_filters") and len(observation.shape) != 3:
        raise UserError(
            "algorithm.model.conv_filters: the network sees vectors, which have no use for them:"
            f" {observation}; where the environment gives images without channels, add them in"
            " environment.wrappers by gymnasium.wrappers.ReshapeObservation"
        )
