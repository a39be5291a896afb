"""The tasks on which random plans are recorded, and the space that the plans are drawn from."""

from __future__ import annotations

from typing import Any, NamedTuple

from prune_search.experiment import file as experiment_file
from prune_search.experiment.schema import Experiment

_PENDULUM = """
environment: {id: Pendulum-v1}
algorithm:
  name: PPO
  training: {lr: 0.001, gamma: 0.9, lambda_: 0.95, train_batch_size_per_learner: 2048,
             minibatch_size: 256, num_epochs: 10, grad_clip: 0.5, vf_clip_param: .inf}
  model: {fcnet_hiddens: [64, 64], fcnet_activation: tanh, vf_share_layers: false}
baseline: {env_steps: 300_000}
evaluation: {episodes: 40, envs: 40}
resources: {envs_per_env_runner: 32}
"""
MINATAR = """
environment: {id: MinAtar/Breakout-v1, modules: ["minatar.gym:register_envs"]}
algorithm:
  name: PPO
  training: {lr: 0.0007, train_batch_size_per_learner: 2048, minibatch_size: 512, num_epochs: 3,
             entropy_coeff: 0.01, grad_clip: 0.5, vf_clip_param: .inf}
  model:
    conv_filters: [[16, 3, 1]]
    conv_activation: relu
    head_fcnet_hiddens: [128]
    head_fcnet_activation: relu
    vf_share_layers: true
baseline: {env_steps: 600_000}
evaluation: {episodes: 40, envs: 40, max_steps: 2500}
resources: {envs_per_env_runner: 32}
"""
"""The task and network of examples/minatar.yaml, trained for a fifth as long: here what counts is
many trials, there the policies of one study."""


class RecordedTask(NamedTuple):
    """A task with a budget."""

    source: str
    """A preset, or the text of an experiment file."""
    env_steps: tuple[int, ...]
    """What a trial may take; each as likely."""
    seed: int
    """Of its plans; the same seed draws the same plans, with other env steps."""
    images: bool = False
    """Whether there are filters to be pruned."""


TASKS = {
    "cartpole": RecordedTask("cartpole", (30_000, 60_000, 120_000), seed=0),
    "noisy-cartpole": RecordedTask("noisy-cartpole", (30_000, 60_000, 120_000), seed=0),
    "acrobot": RecordedTask("acrobot", (40_000, 80_000, 160_000), seed=0),
    "lunarlander": RecordedTask("lunarlander", (100_000, 200_000, 400_000), seed=1),
    "pendulum": RecordedTask(_PENDULUM, (40_000, 80_000, 160_000), seed=2),
    "minatar-breakout": RecordedTask(MINATAR, (40_000, 80_000, 160_000), seed=3, images=True),
}

_SPACE: dict[str, Any] = {
    "origin": ["baseline", "scratch"],
    "granularity": ["weight", "neuron"],
    "criterion": [
        "magnitude", "random", "gradient", "saliency", "movement", "fisher", "threshold",
        "activation", "dormant", "l2_norm", "geometric_median",
    ],
    "allocation": ["uniform", "global", "erk", "lamp"],
    "scope": ["actor", "both"],
    "ratio": {"low": 0.5, "high": 0.997, "log": True},
    "critic_ratio": {"low": 0.2, "high": 0.9},
    "threshold": {"low": 0.3, "high": 3.0, "log": True},
    "schedule": ["one_shot", "linear", "cubic", "cosine", "geometric"],
    "start": 0.0,
    "end": {"low": 0.4, "high": 1.0},
    "regrowth": ["none", "set", "rigl"],
    "rewind": ["none", "early", "initial"],
    "rounds": [4, 8],
    "lr_scale": {"low": 0.25, "high": 1.0, "log": True},
    "distillation": [0.0, 1.0],
    # Nothing is given up, not even what is worse than random for long: how a policy falls is worth
    # knowing, and how it comes back.
    "floor": 0.0,
    "patience": 1_000,
}  # fmt: skip


def experiment(name: str, trials: int, storage: str) -> Experiment:
    """A study of random plans on a task: whole trials, none of them stopped.

    Args:
        name: a key of `TASKS`.
        trials: how many plans.
        storage: where studies lie.

    Raises:
        UserError: the environment is missing.
    """
    task = TASKS[name]
    read = experiment_file.parse if "\n" in task.source else experiment_file.load
    found = read(task.source)
    space = {**_SPACE, "env_steps": list(task.env_steps), "regrow_every": task.env_steps[0] // 40}
    if task.images:
        space["granularity"] = [*_SPACE["granularity"], "filter"]
        space["criterion"] = [*_SPACE["criterion"], "l1_norm"]
    search = {
        "sampler": "random", "seed": task.seed, "trials": trials, "probes": 0, "stopping": None,
        "objectives": ["log_hypervolume"],
    }  # fmt: skip
    whole = found.model_dump(mode="json", exclude_unset=True)
    whole |= {"pruning": space, "search": search, "storage": storage}
    return Experiment.model_validate(whole)
