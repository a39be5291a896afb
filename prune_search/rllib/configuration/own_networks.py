"""A network of the user's, by the dotted name of its class, in place of RLlib's default."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.rl_module.apis import QNetAPI, TargetNetworkAPI, ValueFunctionAPI
from ray.rllib.core.rl_module.rl_module import RLModule, RLModuleSpec
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule

from prune_search.errors import UserError, one_line, shown
from prune_search.experiment.dotted import imported
from prune_search.rllib.networks.roles import example_batch, outputs

FIELD = "algorithm.module"
_NEEDED = (ValueFunctionAPI, QNetAPI, TargetNetworkAPI)


def set_own_network(config: AlgorithmConfig, name: str, model: Mapping[str, Any]) -> None:
    """Gives a configuration the user's class, with `model` as its `model_config`.

    Raises:
        UserError: the class can't be imported, is no TorchRLModule, or lacks what the algorithm's
            learner calls.
    """
    found = imported(FIELD, name)
    if not (isinstance(found, type) and issubclass(found, TorchRLModule)):
        raise UserError(
            f"{FIELD}: must name a class derived from RLlib's TorchRLModule, got {name}, which is"
            f" {shown(found)}"
        )
    default = config.get_default_rl_module_spec().module_class
    needed = [api for api in _NEEDED if issubclass(default, api)]
    lacking = [api.__name__ for api in needed if not issubclass(found, api)]
    if lacking:
        raise UserError(
            f"{FIELD}: {name} lacks {', '.join(lacking)}, which"
            f" {config.algo_class.__name__ if config.algo_class else 'the algorithm'} calls; derive"
            f" it from ray.rllib.core.rl_module.apis, or from {default.__name__}"
        )
    config.rl_module(rl_module_spec=RLModuleSpec(module_class=found, model_config=dict(model)))


def check_own_network(name: str, module: RLModule) -> None:
    """Runs a copy of the network once, as learners do.

    Raises:
        UserError: it fails.
    """
    try:
        trial = copy.deepcopy(module)
        if isinstance(trial, TargetNetworkAPI):
            trial.make_target_networks()
        with torch.no_grad():
            outputs(trial, example_batch(trial))
    except Exception as error:
        raise UserError(
            f"{FIELD}: {name} fails with two observations {module.observation_space}:"
            f" {type(error).__name__}: {one_line(error)}"
        ) from None
