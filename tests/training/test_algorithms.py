"""Every algorithm of RLlib's: what is pruned is zero wherever it lies, and stays zero."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from torch import Tensor

from prune_search.experiment import Experiment
from prune_search.experiment_file import parse
from prune_search.sparsity.criteria import Evidence, criterion
from prune_search.sparsity.selection import select
from prune_search.training import learner
from prune_search.training.algorithm import (
    algorithm_config,
    each_learner,
    env_steps,
    sync_weights,
)
from prune_search.training.evaluation import Evaluator
from prune_search.training.inside import optimizers, target_parameters, trained_parameters
from prune_search.training.networks import ACTOR, CRITIC

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

GRANULARITIES = [
    (name, granularity)
    for name in EXPERIMENTS
    for granularity in ("weight", "neuron", "filter")
    if granularity != "filter" or "images" in name
]


def experiment(name: str, *overrides: str) -> Experiment:
    return parse(EXPERIMENTS[name], ["resources.envs_per_env_runner=2", *overrides])


def small(name: str, *overrides: str) -> AlgorithmConfig:
    """RLlib's configuration, with iterations of a few steps."""
    config = algorithm_config(experiment(name, *overrides), seed=1)
    return config.reporting(min_sample_timesteps_per_iteration=20)


@pytest.fixture
def build(local_ray: None) -> Iterator[Callable[..., Any]]:
    """Builds algorithms, and stops them at the end."""
    built = []

    def make(config: AlgorithmConfig) -> Any:
        built.append(config.build_algo())
        return built[-1]

    yield make
    for algorithm in built:
        algorithm.stop()


def prune(algorithm: Any, granularity: str, ratio: float = 0.5) -> dict[str, Tensor]:
    """Masks every network to a ratio by the size of its weights: the masks."""
    learner.attach(algorithm)
    found = learner.one(
        algorithm, lambda held: learner.networks_of(held, units=granularity != "weight")
    )
    weights = learner.weights(algorithm)
    magnitude, masks = criterion("magnitude"), {}
    for network in found.values():
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

    def alive(tensor: Tensor, name: str) -> bool:
        return bool(torch.count_nonzero(tensor[~masks[name]]))

    def in_learner(held: Any) -> list[str]:
        parameters = trained_parameters(held)
        bad = [name for name in masks if alive(parameters[name], name)]
        bad += [
            f"target of {name}"
            for name, value in target_parameters(held)
            if name in masks and alive(value, name)
        ]
        moments = 0
        for optimizer in optimizers(held):
            for name in masks:
                state = optimizer.state.get(parameters[name], {})
                for key in state.keys() & {"exp_avg", "exp_avg_sq"}:
                    moments += 1
                    bad += [f"{key} of {name}"] if alive(state[key], name) else []
        return bad if moments >= 2 * len(masks) else [*bad, "moments were not found"]

    several = algorithm.config.is_multi_agent

    def in_runner(runner: Any) -> list[str]:
        modules = dict(runner.module.items()) if several else {"default_policy": runner.module}
        parameters = {
            f"{module_id}/{name}" if several else name: parameter
            for module_id, module in modules.items()
            for acting in [module.get_state(inference_only=True)]
            for name, parameter in module.named_parameters()
            if name in acting
        }
        seen = masks.keys() & parameters.keys()
        return [name for name in seen if alive(parameters[name], name)] if seen else ["no masks"]

    assert each_learner(algorithm, in_learner) == [[]] * max(1, algorithm.config.num_learners)
    if algorithm.env_runner_group is not None:
        answers = algorithm.env_runner_group.foreach_env_runner(in_runner)
        assert answers == [[]] * (1 + algorithm.config.num_env_runners)


@pytest.mark.parametrize(("name", "granularity"), GRANULARITIES)
def test_masks_hold_over_updates_and_restores(
    build: Any, tmp_path: Path, name: str, granularity: str
) -> None:
    config = small(name)
    algorithm = build(config)
    algorithm.train()  # optimizers have moments, so that there is something to mask
    masks = prune(algorithm, granularity)
    check_zeros(algorithm, masks)
    for _ in range(2):
        algorithm.train()
        check_zeros(algorithm, masks)
    before = learner.weights(algorithm)
    lost = sum(int((~mask).sum()) for mask in masks.values())
    assert lost > 0.3 * sum(masks[layer].numel() for layer in masks if before[layer].ndim >= 2)
    # Nothing else became zero, and nothing came back.
    assert sum(int((before[layer] == 0).sum()) for layer in masks) == lost

    algorithm.save_to_path(tmp_path / "algorithm")
    state, adaptive = learner.mask_state(algorithm), learner.adaptive_state(algorithm)
    torch.save(state, tmp_path / "masks.pt")
    steps = env_steps(algorithm)
    again = build(small(name))
    learner.attach(again)
    again.restore_from_path(tmp_path / "algorithm")
    learner.load_mask_state(again, torch.load(tmp_path / "masks.pt", weights_only=True))
    learner.load_adaptive_state(again, adaptive)
    sync_weights(again)
    assert env_steps(again) == steps > 0
    assert learner.adaptive_state(again) == adaptive
    after = learner.weights(again)
    assert all(torch.equal(before[key], after[key]) for key in before)
    check_zeros(again, masks)
    again.train()
    check_zeros(again, masks)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_actor_is_what_acts_and_the_critic_the_rest(build: Any, name: str) -> None:
    algorithm = build(small(name))
    found = learner.one(algorithm, lambda held: learner.networks_of(held, units=False))
    evaluator = Evaluator(algorithm.config, experiment(name).evaluation)
    assert set(found[ACTOR].parameters) == set(evaluator.parameters())
    assert set().union(*(n.parameters for n in found.values())) == set(learner.weights(algorithm))
    assert (CRITIC in found) == (not name.startswith("dqn"))
    evaluator.load(learner.module_state(algorithm))
    assert len(evaluator.returns(range(2**30, 2**30 + 3))) == 3
