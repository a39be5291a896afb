"""What the lean env runner gains, measured against RLlib's on the same tasks in one process."""

from __future__ import annotations

import time
from typing import NamedTuple

from ray.rllib.algorithms.algorithm import Algorithm

from prune_search.errors import UserError
from prune_search.experiment import file as experiment_file
from prune_search.experiment.schema import Experiment
from prune_search.rllib.configuration.algorithms import algorithm_config
from prune_search.rllib.runners.choice import Runner, build, sampled_by
from prune_search.rllib.running import process_settings, train
from tuners.benchmarks.recorded.tasks import MINATAR
from tuners.benchmarks.training.paired import Ratios, paired

_STEPS = 1024  # sampled at a time where an algorithm has no fragments of its own

_PATIENCE = 100
"""Iterations until an algorithm must have begun to learn."""

_PENDULUM = """
environment: {id: Pendulum-v1}
algorithm:
  name: SAC
  training:
    train_batch_size_per_learner: 256
    training_intensity: 64
    num_steps_sampled_before_learning_starts: 1000
    replay_buffer_config: {type: EpisodeReplayBuffer, capacity: 100000}
  model: {fcnet_hiddens: [256, 256], fcnet_activation: relu}
resources: {envs_per_env_runner: 16}
"""


_32 = "resources.envs_per_env_runner=32"
_TRAINING = "algorithm.training"
_MODE = "algorithm.env_runners.gym_env_vectorize_mode"


class Task(NamedTuple):
    """What is trained."""

    source: str
    """A preset, or the text of an experiment file."""
    overrides: tuple[str, ...] = (_32,)

    def experiment(self, *more: str) -> Experiment:
        """Its experiment, with one env runner and learner in the process."""
        changes = [*self.overrides, "resources.env_runners=0", "resources.learners=0", *more]
        if "\n" in self.source:
            return experiment_file.parse(self.source, changes)
        return experiment_file.load(self.source, changes)


TASKS = {
    "cartpole-ppo": Task("cartpole"),
    "cartpole-vector-ppo": Task("cartpole", (_32, f"{_MODE}=vector_entry_point")),
    "acrobot-ppo": Task("acrobot"),
    "lunarlander-ppo": Task("lunarlander"),
    # Smaller batches than where trials are recorded: an iteration takes a second or two.
    "minatar-ppo": Task(
        MINATAR,
        (f"{_TRAINING}.train_batch_size_per_learner=1024", f"{_TRAINING}.minibatch_size=256"),
    ),
    # Fewer updates a step than the preset's, of which an iteration is seconds long.
    "acrobot-dqn": Task(
        "acrobot-dqn",
        ("resources.envs_per_env_runner=16", f"{_TRAINING}.training_intensity=8"),
    ),
    "pendulum-sac": Task(_PENDULUM, ()),
}
"""By name, small networks of each kind."""


class Gain(NamedTuple):
    """RLlib's time / ours."""

    sampling: Ratios
    iteration: Ratios


def gain(task: Task, pairs: int) -> Gain:
    """How many times the time RLlib's env runner takes of the lean one's.

    Two algorithms are built alike, but for `resources.runner`, and take turns; which of a pair goes
    first alternates. Times are those that this thread has computed for, which other processes on
    the machine do not add to.

    Args:
        pairs: of measurements, 1 or more; two more of each are run first and not counted.

    Raises:
        UserError: the lean env runner can't sample this task.
    """
    experiments: dict[Runner, Experiment] = {
        runner: task.experiment(f"resources.runner={runner}") for runner in ("rllib", "auto")
    }
    process_settings(experiments["auto"].resources.threads)
    stock, ours = (build(algorithm_config(each, 0)) for each in experiments.values())
    if not sampled_by(ours).startswith("lean"):
        raise UserError(f"benchmark sampling: only RLlib's env runner samples: {sampled_by(ours)}")
    try:
        for algorithm in (stock, ours):
            begin_to_learn(algorithm)
        iteration = paired(stock.train, ours.train, pairs, time.thread_time)
        sampling = paired(lambda: _sample(stock), lambda: _sample(ours), pairs, time.thread_time)
    finally:
        stock.stop()
        ours.stop()
    return Gain(sampling, iteration)


def begin_to_learn(algorithm: Algorithm) -> None:
    """Trains until there has been an update: off-policy algorithms only sample at first.

    Raises:
        RuntimeError: there is none in many iterations.
    """
    for _ in range(_PATIENCE):
        if train(algorithm).get("learners"):
            return
    raise RuntimeError(f"benchmark: nothing was learned in {_PATIENCE} iterations")


def _sample(algorithm: Algorithm) -> None:
    assert algorithm.config is not None and algorithm.env_runner is not None
    fragment = algorithm.config.total_train_batch_size
    algorithm.env_runner.sample(num_timesteps=max(fragment, _STEPS))
    algorithm.env_runner.get_metrics()
