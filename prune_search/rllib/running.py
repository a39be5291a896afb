"""What a running algorithm of RLlib's is asked: its learners, env steps, seeds and weights."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from ray.exceptions import RayError
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.appo.utils import CircularBuffer
from ray.rllib.core import (
    ALL_MODULES,
    DEFAULT_MODULE_ID,
)
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    LEARNER_RESULTS,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_ENV_STEPS_TRAINED_LIFETIME,
)

from prune_search.errors import EnvironmentFault, TrialError
from prune_search.ray_failures import own_error
from prune_search.rllib.pausing import paused, use_up_batches
from prune_search.rllib.randomness import seed_process

T = TypeVar("T")


# Training seeds lie below this, evaluation seeds above: see evaluation.evaluation_seeds.
TRAINING_SEEDS = 2**29


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


def train(algorithm: Algorithm) -> dict[str, Any]:
    """One of RLlib's training iterations: its result.

    Raises:
        TrialError: a network has learned from a loss that is not finite.
        EnvironmentFault: a reward was not finite. Only `LeanEnvRunner` looks at them; of others
            the loss has to tell.
    """
    try:
        result: dict[str, Any] = algorithm.train()
    except RayError as error:  # of an env runner in a process of its own
        fault = own_error(error)
        if isinstance(fault, EnvironmentFault):
            raise fault from None
        raise
    _check_losses(result)
    return result


def _check_losses(result: dict[str, Any]) -> None:
    """Raises TrialError where a network has learned from a loss that is not finite.

    RLlib sets gradients that are not finite to zero, and goes on. Without updates in an iteration
    its mean of losses is no number either.
    """
    for name, figures in result.get("learners", {}).items():
        updated = figures.get("num_module_steps_trained", 0) > 0
        if updated and not math.isfinite(figures.get("total_loss", 0.0)):
            raise TrialError(
                f"the loss of {name} is not finite: the training has diverged, or the"
                " environment returned what is not finite"
            )


def env_steps(algorithm: Algorithm) -> int:
    """Env steps of the algorithm's life, checkpoints that it was restored from included.

    Sampled ones; where recorded episodes are all there is, those that were trained on, each time
    that they were.
    """
    sampled = (ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME)
    trained = (LEARNER_RESULTS, ALL_MODULES, NUM_ENV_STEPS_TRAINED_LIFETIME)
    key = sampled if algorithm.offline_data is None else trained
    return int(algorithm.metrics.peek(key, default=0) or 0)


def training_seed(*entropy: int) -> int:
    """A seed of training, below those of evaluations: the same for the same numbers.

    Args:
        entropy: 0 or more, each; what it is for.
    """
    return int(np.random.SeedSequence(entropy).generate_state(1)[0]) % TRAINING_SEEDS


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
    quiet_rllib()
    torch.set_num_threads(threads)


def quiet_rllib() -> None:
    """RLlib warns of its own deprecated calls, which no user of ours can do anything about."""
    import ray.rllib  # noqa: F401 - sets its logger's level, which the next lines change

    for name in ("ray.rllib", "ray.tune", "ray._common.deprecation"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # Each env runner registers its environment with gymnasium under one name, RLlib's.
    warnings.filterwarnings("ignore", ".*Overriding environment rllib-single-agent-env")
