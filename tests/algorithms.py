"""Small experiments with RLlib's algorithms, pruned, and where zeros are looked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from torch import Tensor

from prune_search.experiment.file import parse
from prune_search.experiment.schema import Experiment
from prune_search.rllib.configuration.algorithms import algorithm_config
from prune_search.rllib.learners import masks as learner
from prune_search.rllib.learners.invariants import alive
from prune_search.rllib.runners.choice import build
from prune_search.rllib.running import sync_weights
from prune_search.sparsity.criteria import Evidence, criterion
from prune_search.sparsity.selection.granularities import GRANULARITIES
from prune_search.sparsity.selection.select import select

MLP = "model: {fcnet_hiddens: [16, 16], head_fcnet_hiddens: [12]"
REPLAY = """
    train_batch_size_per_learner: 16, num_steps_sampled_before_learning_starts: 16,
    training_intensity: 4, target_network_update_freq: 4, tau: 0.5,
    replay_buffer_config: {type: PrioritizedEpisodeReplayBuffer, capacity: 2000}"""

EXPERIMENTS = {
    "ppo": f"""
environment: {{id: CartPole-v1}}
algorithm:
  name: PPO
  training: {{train_batch_size_per_learner: 64, minibatch_size: 32, num_epochs: 2}}
  {MLP}, vf_share_layers: false}}
""",
    "ppo-shared": f"""
environment: {{id: Pendulum-v1}}
algorithm:
  name: PPO
  training: {{train_batch_size_per_learner: 64, minibatch_size: 32, num_epochs: 2}}
  {MLP}, vf_share_layers: true}}
""",
    "ppo-images": """
environment: {id: Pixels-v0, modules: [tests.environments]}
algorithm:
  name: PPO
  training: {train_batch_size_per_learner: 64, minibatch_size: 32, num_epochs: 1}
  model: {conv_filters: [[6, 3, 2], [8, 3, 2]], conv_activation: relu, head_fcnet_hiddens: [12]}
""",
    "ppo-lstm": """
environment: {id: CartPole-v1}
algorithm:
  name: PPO
  training: {train_batch_size_per_learner: 64, minibatch_size: 32, num_epochs: 1}
  model: {fcnet_hiddens: [16, 16], use_lstm: true, lstm_cell_size: 8, max_seq_len: 8,
          head_fcnet_hiddens: [12], vf_share_layers: true}
""",
    "appo": f"""
environment: {{id: CartPole-v1}}
algorithm:
  name: APPO
  training: {{train_batch_size_per_learner: 100}}
  {MLP}, vf_share_layers: false}}
""",
    "impala": f"""
environment: {{id: CartPole-v1}}
algorithm:
  name: IMPALA
  training: {{train_batch_size_per_learner: 100}}
  {MLP}, vf_share_layers: true}}
""",
    "dqn": f"""
environment: {{id: CartPole-v1}}
algorithm:
  name: DQN
  training: {{{REPLAY}}}
  {MLP}}}
""",
    "dqn-images": f"""
environment: {{id: Pixels-v0, modules: [tests.environments]}}
algorithm:
  name: DQN
  training: {{{REPLAY}, double_q: false, dueling: false}}
  model: {{conv_filters: [[6, 3, 2], [8, 3, 2]], conv_activation: relu, head_fcnet_hiddens: [12]}}
""",
    "sac": f"""
environment: {{id: Pendulum-v1}}
algorithm:
  name: SAC
  training: {{{REPLAY}, actor_lr: 0.003, critic_lr: 0.002, alpha_lr: 0.001}}
  {MLP}}}
""",
    "sac-discrete": f"""
environment: {{id: CartPole-v1}}
algorithm:
  name: SAC
  training: {{{REPLAY}, twin_q: true, target_entropy: 0.3}}
  {MLP}}}
""",
}
"""Small ones, by name; algorithms that learn from recorded episodes are in test_offline."""


def experiment(name: str, *overrides: str) -> Experiment:
    return parse(EXPERIMENTS[name], ["resources.envs_per_env_runner=2", *overrides])


def small(name: str, *overrides: str) -> AlgorithmConfig:
    """RLlib's configuration, with iterations of a few steps."""
    config = algorithm_config(experiment(name, *overrides), seed=1)
    return config.reporting(min_sample_timesteps_per_iteration=20)


@contextmanager
def built(config: AlgorithmConfig) -> Iterator[Algorithm]:
    """RLlib's algorithm, stopped at the end."""
    algorithm = build(config)
    try:
        yield algorithm
    finally:
        algorithm.stop()


def prune(
    algorithm: Any, granularity: str, ratio: float = 0.5, needs: frozenset[str] = frozenset()
) -> dict[str, Tensor]:
    """Masks every network to a ratio by the size of its weights: the masks."""
    learner.attach(algorithm, needs)
    found = learner.one(
        algorithm, lambda held: learner.networks_of(held, units=granularity != "weight")
    )
    weights = learner.weights(algorithm)
    magnitude, masks = criterion("magnitude"), {}
    kind = GRANULARITIES[granularity]
    for network in found.values():
        if kind.structured and not kind.units(weights, network.layers, network.units):
            continue  # a critic without filters
        scores = {
            layer: magnitude.score(Evidence(weights[layer]), torch.Generator())
            for layer in network.layers
        }
        masks |= select(
            granularity,
            weights,
            network.layers,
            network.units,
            scores,
            {},
            "uniform",
            ratio,
        )
    learner.set_masks(algorithm, masks)
    sync_weights(algorithm)
    return masks


def check_zeros(algorithm: Any, masks: dict[str, Tensor]) -> None:
    """Masked entries are exactly zero in every learner, its moments, targets and env runners."""
    assert alive(algorithm, masks) == []
