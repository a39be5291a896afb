"""What can be known to be wrong before any training starts."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
from gymnasium import spaces
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.tune.registry import ENV_CREATOR, _global_registry

from prune_search.errors import UserError, one_line
from prune_search.experiment import Experiment
from prune_search.training.algorithm import (
    MODULE_PATH,
    algorithm_config,
    checkpoint_config,
    environment_id,
)


def check(experiment: Experiment) -> None:
    """Makes the environment and the network once, and opens the checkpoint where there is one.

    Raises:
        UserError: the first thing that would not work, by the name of its field.
    """
    environment = make_environment(experiment)
    observation, action = environment.observation_space, environment.action_space
    environment.close()
    _check_spaces(observation, action)
    config = algorithm_config(experiment, seed=0)
    try:
        module = config.get_rl_module_spec(
            spaces={
                "__env_single__": (observation, action),
                "default_policy": (observation, action),
            }
        ).build()
    except Exception as error:
        raise UserError(
            f"algorithm.model: RLlib cannot build a network for observations {observation} and"
            f" actions {action}: {one_line(error)}"
        ) from None
    if experiment.baseline.checkpoint:
        _check_checkpoint(Path(experiment.baseline.checkpoint).expanduser(), experiment, module)


def make_environment(experiment: Experiment) -> gym.Env:
    """One environment as the experiment describes it.

    Raises:
        UserError: its id is unknown, or it cannot be made.
    """
    name, settings = environment_id(experiment.environment), experiment.environment.config
    try:
        if _global_registry.contains(ENV_CREATOR, name):
            return _global_registry.get(ENV_CREATOR, name)(settings)
        return gym.make(name, **settings)
    except Exception as error:
        raise UserError(
            f"environment: cannot make {experiment.environment.id!r} with config {settings}:"
            f" {type(error).__name__}: {one_line(error)}"
        ) from None


def _check_spaces(observation: gym.Space, action: gym.Space) -> None:
    if not (isinstance(observation, spaces.Box) and len(observation.shape) in (1, 3)):
        raise UserError(
            "environment: observations must be a Box of rank 1 (vectors) or 3 (images), got"
            f" {observation}; wrap the environment, for example in gymnasium's FlattenObservation"
        )
    if not isinstance(action, spaces.Discrete | spaces.Box | spaces.MultiDiscrete):
        raise UserError(
            f"environment: actions must be Discrete, MultiDiscrete or Box, got {action}"
        )


def _check_checkpoint(path: Path, experiment: Experiment, module: RLModule) -> None:
    config: AlgorithmConfig = checkpoint_config(path)
    name = str(config.algo_class.__name__) if config.algo_class else type(config).__name__
    if name != experiment.algorithm.name:
        raise UserError(
            f"baseline.checkpoint: {str(path)!r} is of algorithm {name}, and algorithm.name is"
            f" {experiment.algorithm.name}"
        )
    theirs = str(config.env).split(":")[-1]
    if theirs != experiment.environment.id:
        raise UserError(
            f"baseline.checkpoint: {str(path)!r} is of environment {theirs}, and environment.id is"
            f" {experiment.environment.id}"
        )
    try:
        saved = RLModule.from_checkpoint(path / MODULE_PATH)
    except Exception as error:
        raise UserError(
            f"baseline.checkpoint: the network in {str(path)!r} cannot be read: {one_line(error)}"
        ) from None
    ours = {name: tuple(value.shape) for name, value in module.named_parameters()}
    given = {name: tuple(value.shape) for name, value in saved.named_parameters()}
    different = [name for name in ours if name in given and given[name] != ours[name]]
    if different or not set(ours) <= set(given):
        name = (different or sorted(set(ours) - set(given)))[0]
        raise UserError(
            f"baseline.checkpoint: {str(path)!r} does not fit: {name} has shape {given.get(name)},"
            f" and environment and algorithm.model make it {ours[name]}"
        )
