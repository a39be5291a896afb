"""RLlib's algorithm as the experiment describes it, and the few things RLlib has no call for."""

from __future__ import annotations

import os
import pickle
from inspect import signature
from pathlib import Path
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.bc import BCConfig
from ray.rllib.algorithms.cql import CQLConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.iql import IQLConfig
from ray.rllib.algorithms.marwil import MARWILConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.utils.checkpoints import Checkpointable

from prune_search.errors import UserError, check_known, from_here, one_line, shown, unknown
from prune_search.experiment.schema import Experiment
from prune_search.experiment.trust import require_trust
from prune_search.records.checkpoint import MODULES_PATH
from prune_search.rllib.checkpoints.foreign import told
from prune_search.rllib.configuration.env_runners import set_env_runners
from prune_search.rllib.configuration.environments import environment_for, steps_of
from prune_search.rllib.configuration.offline import set_offline_data
from prune_search.rllib.configuration.own_networks import set_own_network
from prune_search.rllib.configuration.policies import set_policies
from prune_search.rllib.runners.choice import set_runner

# RLlib's algorithms whose networks can be pruned here: name to its config class.
ALGORITHMS: dict[str, type[AlgorithmConfig]] = {
    "PPO": PPOConfig,
    "APPO": APPOConfig,
    "IMPALA": IMPALAConfig,
    "DQN": DQNConfig,
    "SAC": SACConfig,
    "BC": BCConfig,
    "MARWIL": MARWILConfig,
    "CQL": CQLConfig,
    "IQL": IQLConfig,
}

# Where an algorithm's checkpoint keeps a single agent's network; RLModule.from_checkpoint reads it.
MODULE_PATH = MODULES_PATH / DEFAULT_MODULE_ID

# Settings that are learning rates: of all, of actor, critic and value networks, of SAC's
# temperature.
_RATES = ("lr", "actor_lr", "critic_lr", "value_lr", "alpha_lr")


def algorithm_config(experiment: Experiment, seed: int, lr_scale: float = 1.0) -> AlgorithmConfig:
    """RLlib's configuration for a baseline or a trial.

    With `baseline.checkpoint`, that checkpoint's own configuration is the start, and the
    experiment's settings change it.

    Args:
        seed: seed of env runners and learners, below `TRAINING_SEEDS`.
        lr_scale: multiple of the learning rate (of each of its steps where it is a schedule).

    Raises:
        UserError: an unknown algorithm, settings that RLlib refuses, or pickles that the
            user has not said they trust.
    """
    algorithm, resources = experiment.algorithm, experiment.resources
    check_known("algorithm.name", algorithm.name, ALGORITHMS)
    checkpoint = experiment.baseline.checkpoint
    config = checkpoint_config(experiment) if checkpoint else ALGORITHMS[algorithm.name]()
    config.environment(_environment(experiment, config), env_config=experiment.environment.config)
    agents = experiment.environment.policies is not None
    set_env_runners(config, algorithm.env_runners, taken_over=bool(checkpoint), agents=agents)
    config.env_runners(
        num_env_runners=resources.env_runners,
        num_envs_per_env_runner=resources.envs_per_env_runner,
    )
    config.learners(
        num_learners=resources.learners, num_gpus_per_learner=resources.gpus_per_learner
    )
    known = _training_settings(type(config))
    for name in algorithm.training:
        check_known("algorithm.training", name, known)
    try:
        config.training(**algorithm.training)
    except (TypeError, AttributeError, ValueError) as error:
        raise UserError(f"algorithm.training: {one_line(error)}") from None
    if algorithm.module:
        set_own_network(config, algorithm.module, algorithm.model)
    elif algorithm.model or not checkpoint:
        try:
            config.rl_module(model_config=DefaultModelConfig(**algorithm.model))
        except TypeError:
            known = DefaultModelConfig.__dataclass_fields__
            bad = next((key for key in algorithm.model if key not in known), "")
            raise unknown("algorithm.model", bad, known) from None
    if hasattr(config, "actor_lr") and "lr" not in algorithm.training:
        config.lr = None  # else RLlib refuses CQL's own default
    for name in _RATES:
        if getattr(config, name, None) is not None:
            setattr(config, name, _scaled(name, getattr(config, name), lr_scale))
    set_policies(config, experiment.environment.policies)
    set_offline_data(config, experiment)
    set_runner(config, resources.runner)
    # A runner that RLlib starts again has seeds that no other run has: the round is repeated.
    config.fault_tolerance(restart_failed_env_runners=False, ignore_env_runner_failures=False)
    # Watching the machine's load takes a thread whose end every stop would wait for.
    config.debugging(seed=seed, log_level="ERROR", log_sys_usage=False)
    # Iterations end by env steps alone: by time, no two runs would be the same. Those that ask
    # asynchronous env runners may find nothing yet.
    config.reporting(min_time_s_per_iteration=None)
    if isinstance(config, IMPALAConfig) and not config.min_sample_timesteps_per_iteration:
        config.reporting(min_sample_timesteps_per_iteration=config.total_train_batch_size)
    try:
        config.validate()
    except Exception as error:
        raise UserError(f"algorithm: RLlib refuses its settings: {one_line(error)}") from None
    return config


def _environment(experiment: Experiment, config: AlgorithmConfig) -> str | type:
    """The environment for a configuration that is RLlib's default or a checkpoint's.

    A checkpoint's policy sees what it was trained on: nothing is converted unless it was then.
    """
    convert = experiment.baseline.checkpoint is None or bool(steps_of(config.env))
    return environment_for(experiment.environment, convert=convert)


def _training_settings(config: type[AlgorithmConfig]) -> list[str]:
    """What `training(...)` takes: each class of configuration adds to its parent's."""
    methods = [vars(base)["training"] for base in config.__mro__ if "training" in vars(base)]
    found = [parameter for method in methods for parameter in signature(method).parameters.values()]
    return [one.name for one in found if one.kind is one.KEYWORD_ONLY]


def _scaled(name: str, lr: Any, scale: float) -> Any:
    try:
        return scaled_lr(lr, scale)
    except (TypeError, ValueError):
        raise UserError(
            f"algorithm.training.{name}: must be a number or [[env step, rate], ...],"
            f" got {shown(lr)}"
        ) from None


def scaled_lr(lr: Any, scale: float) -> Any:
    """A learning rate, or RLlib's schedule [[env step, rate], ...], times a factor."""
    return [[t, rate * scale] for t, rate in lr] if isinstance(lr, list | tuple) else lr * scale


def checkpoint_config(experiment: Experiment) -> AlgorithmConfig:
    """The configuration in the RLlib checkpoint that is `baseline.checkpoint`.

    RLlib's checkpoints are pickles: reading one runs code of whoever wrote it.

    Raises:
        UserError: the folder is missing, not trusted, or not an algorithm's checkpoint.
    """
    path = Path(experiment.baseline.checkpoint or "")
    try:
        found = os.path.exists(path.expanduser())  # noqa: PTH110 - Path's raises where one is closed
        foreign = told(path.expanduser()) if found else None
    except OSError as error:
        foreign = one_line(error)
    if not found:
        raise UserError(f"baseline.checkpoint: no folder {from_here(path)!r}")
    if foreign:
        raise UserError(
            f"baseline.checkpoint: {from_here(path)!r} is not an RLlib checkpoint: {foreign}"
        )
    require_trust(experiment, "baseline.checkpoint")
    try:
        return stored_config(path.expanduser())
    except Exception as error:
        raise UserError(
            f"baseline.checkpoint: {from_here(path)!r} is not a readable checkpoint of an RLlib"
            f" algorithm: {one_line(error)}"
        ) from None


def stored_config(algorithm: Path) -> AlgorithmConfig:
    """The configuration in an algorithm's checkpoint, not frozen; runs what its pickles say.

    Raises:
        Exception: whatever a file that is missing, or another's, gives rise to.
    """
    with (algorithm / Checkpointable.CLASS_AND_CTOR_ARGS_FILE_NAME).open("rb") as stream:
        content = pickle.load(stream)
    (config,), _ = content["ctor_args_and_kwargs"]
    if isinstance(config, AlgorithmConfig):
        return config.copy(copy_frozen=False)
    return content["class"].get_default_config().update_from_dict(config)


def own_connectors(config: AlgorithmConfig) -> bool:
    """Whether it brings connectors of its own between environment and network."""
    return config._env_to_module_connector is not None
