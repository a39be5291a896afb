"""RLlib's algorithm as the experiment describes it, and the few things RLlib has no call for."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.appo.utils import CircularBuffer
from ray.rllib.algorithms.bc import BCConfig
from ray.rllib.algorithms.cql import CQLConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.iql import IQLConfig
from ray.rllib.algorithms.marwil import MARWILConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.core import (
    ALL_MODULES,
    COMPONENT_LEARNER,
    COMPONENT_RL_MODULE,
    DEFAULT_MODULE_ID,
)
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    LEARNER_RESULTS,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_ENV_STEPS_TRAINED_LIFETIME,
)

from prune_search.errors import UserError, check_known, one_line, shown, unknown
from prune_search.experiment.schema import Experiment
from prune_search.experiment.trust import require_trust
from prune_search.rllib.env_runners import set_env_runners
from prune_search.rllib.environments import environment_for, steps_of
from prune_search.rllib.foreign_checkpoints import told
from prune_search.rllib.offline import set_offline_data
from prune_search.rllib.own_networks import set_own_network
from prune_search.rllib.pausing import paused, use_up_batches
from prune_search.rllib.policies import set_policies
from prune_search.rllib.randomness import seed_process

T = TypeVar("T")

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

# Where an algorithm's checkpoint keeps its networks, each in a folder named by its ModuleID ...
MODULES_PATH = Path("learner_group", COMPONENT_LEARNER, COMPONENT_RL_MODULE)
# ... and that of a single agent; RLModule.from_checkpoint reads it.
MODULE_PATH = MODULES_PATH / DEFAULT_MODULE_ID

# Settings that are learning rates: of all, of actor, critic and value networks, of SAC's
# temperature.
_RATES = ("lr", "actor_lr", "critic_lr", "value_lr", "alpha_lr")

# Training seeds lie below this, evaluation seeds above: see evaluation.evaluation_seeds.
TRAINING_SEEDS = 2**29


def algorithm_config(experiment: Experiment, seed: int, lr_scale: float = 1.0) -> AlgorithmConfig:
    """RLlib's configuration for a baseline or a trial.

    With `baseline.checkpoint`, that checkpoint's own configuration is the start, and the
    experiment's settings change it.

    Args:
        seed: seed of env runners and learners, below `TRAINING_SEEDS`.
        lr_scale: multiple of the learning rate (of each of its steps where it is a schedule).

    Raises:
        UserError: an unknown algorithm, settings that RLlib refuses, or pickles that nobody said
            are to be trusted.
    """
    algorithm, resources = experiment.algorithm, experiment.resources
    check_known("algorithm.name", algorithm.name, ALGORITHMS)
    checkpoint = experiment.baseline.checkpoint
    config = checkpoint_config(experiment) if checkpoint else ALGORITHMS[algorithm.name]()
    config.environment(_environment(experiment, config), env_config=experiment.environment.config)
    set_env_runners(config, algorithm.env_runners)
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
    source = path.expanduser() / "class_and_ctor_args.pkl"
    try:
        found = os.path.exists(path.expanduser())  # noqa: PTH110 - Path's raises where one is closed
        foreign = told(path.expanduser()) if found else None
    except OSError as error:
        foreign = one_line(error)
    if not found:
        raise UserError(f"baseline.checkpoint: no folder {str(path)!r}")
    if foreign:
        raise UserError(
            f"baseline.checkpoint: {str(path)!r} is no checkpoint of RLlib's: {foreign}"
        )
    require_trust(experiment, "baseline.checkpoint")
    try:
        with source.open("rb") as stream:
            content = pickle.load(stream)
        (config,), _ = content["ctor_args_and_kwargs"]
        if isinstance(config, AlgorithmConfig):
            return config.copy(copy_frozen=False)
        return content["class"].get_default_config().update_from_dict(config)
    except Exception as error:
        raise UserError(
            f"baseline.checkpoint: {str(path)!r} is not a readable checkpoint of an RLlib"
            f" algorithm: {one_line(error)}"
        ) from None


def each_learner(algorithm: Algorithm, run: Callable[[Any], T]) -> list[T]:
    """Runs a function in every learner's process, between two updates: what each returned.

    RLlib hands errors back as results, and leaves out learners that it holds for lost; masks that
    only some learners have would be worse than none.

    Raises:
        RuntimeError: a learner is lost. An error of the function is raised as it is.
    """

    def between_updates(learner: Any) -> T:
        use_up_batches(learner)
        with paused(learner):
            return run(learner)

    group = algorithm.learner_group
    answers = group.foreach_learner(between_updates).result_or_errors
    results = [answer.result_or_error for answer in answers]
    for result in results:
        if not result.ok:
            raise result.get()
    if len(results) < max(1, len(group)):
        raise RuntimeError(f"{len(results)} of {len(group)} learners answered; the others are lost")
    return [result.get() for result in results]


def env_steps(algorithm: Algorithm) -> int:
    """Env steps of the algorithm's life, checkpoints that it was restored from included.

    Sampled ones; where recorded episodes are all there is, those that were trained on, each time
    that they were.
    """
    sampled = (ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME)
    trained = (LEARNER_RESULTS, ALL_MODULES, NUM_ENV_STEPS_TRAINED_LIFETIME)
    key = sampled if algorithm.offline_data is None else trained
    return int(algorithm.metrics.peek(key, default=0) or 0)


def reseed(algorithm: Algorithm, seed: int) -> None:
    """Starts sampling anew: fresh episodes and random numbers on every env runner and learner.

    With this at its start, what a round does depends on its checkpoint and seed alone, and so it
    is the same whether the round before ran in this process or in one that was killed. Not so
    where RLlib updates in a thread of its own (IMPALA, APPO), and recorded data goes on from
    where it was in this process.

    Args:
        seed: 0 or more, below `TRAINING_SEEDS`.
    """
    config = algorithm.config
    assert config is not None
    runners, envs = config.num_env_runners, config.num_envs_per_env_runner

    def start_anew(runner: EnvRunner) -> None:
        # RLlib seeds an env runner's environments at their first reset only.
        runner._seed = first_env_seed(seed, runner.worker_index or 0, runners, envs)
        runner._needs_initial_reset = True
        seed_process(runner._seed)

    def seed_learner(learner: Any) -> None:
        seed_process(seed)
        batches = getattr(learner, "_learner_thread_in_queue", None)
        if isinstance(batches, CircularBuffer):  # APPO replays batches by random numbers of its own
            batches._rng = np.random.default_rng(seed)

    if algorithm.env_runner_group is not None:
        algorithm.env_runner_group.foreach_env_runner(start_anew)
    if algorithm.local_replay_buffer is not None:
        algorithm.local_replay_buffer.rng = np.random.default_rng(seed)
    each_learner(algorithm, seed_learner)


def first_env_seed(seed: int, runner: int, runners: int, envs: int) -> int:
    """The seed of an env runner's first environment; its others have those that follow.

    No two environments share a seed, nor do those of two rounds, unless the rounds' own seeds are
    the same modulo `TRAINING_SEEDS` over the number of environments, rounded up to a power of two.

    Args:
        seed: of the round, 0 or more.
        runner: index of the env runner, from 1; 0 for the one in the algorithm's own process.
        runners: env runners beside that one.
        envs: environments of each.

    Returns:
        0 or more, as are those that follow below `TRAINING_SEEDS`.
    """
    block: int = 1 << ((runners + 1) * envs - 1).bit_length()
    return seed % (TRAINING_SEEDS // block) * block + runner * envs


def settle(algorithm: Algorithm) -> None:
    """Lets learners use up the batches that they hold, where they update in a thread.

    From then on until the next training iteration networks stay as they are, so that what is
    counted, measured and saved is one state.
    """
    each_learner(algorithm, lambda _: None)


def sync_weights(algorithm: Algorithm) -> None:
    """Brings the learner's weights to every env runner, at once.

    Env runners ignore weights of a sequence number they have seen, so one that changed outside
    of an update needs a new number.
    """

    def count_up(learner: Any) -> None:
        learner._weights_seq_no += 1

    each_learner(algorithm, count_up)
    if algorithm.env_runner_group is None:  # nothing is sampled
        return
    algorithm.env_runner_group.sync_weights(
        from_worker_or_learner_group=algorithm.learner_group,
        inference_only=True,
        timeout_seconds=None,
    )


def trained_modules(learner: Any) -> list[str]:
    """ModuleIDs of a learner's networks, without those that are not to be trained, in order."""
    return sorted(name for name in learner.module.keys() if learner.should_module_be_updated(name))  # noqa: SIM118


def unwrapped(learner: Any, module_id: str = DEFAULT_MODULE_ID) -> RLModule:
    """A learner's network, without the wrapper it has beside other learners."""
    return learner.module[module_id].unwrapped()


def process_settings(threads: int) -> None:
    """Torch's threads in this process: with more trials than one, its default starves them all."""
    torch.set_num_threads(threads)
