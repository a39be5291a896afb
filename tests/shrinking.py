"""Small algorithms of each kind, and units taken out of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import TargetNetworkAPI
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModule
from torch import Tensor

from prune_search.rllib.running import unwrapped
from prune_search.sparsity.structure.resizing import Layout, layout
from prune_search.sparsity.structure.tracing import couplings

MID = DEFAULT_MODULE_ID
Outputs = Callable[[RLModule, dict[str, Any]], list[Tensor]]


class Pixels(gym.Env):
    """Images of channels last, as RLlib's convolutions take them."""

    observation_space = gym.spaces.Box(0, 1, (12, 12, 3), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, config: Any) -> None:
        self._steps = 0

    def reset(self, **_: Any) -> Any:
        self._steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: int) -> Any:
        self._steps += 1
        return self.observation_space.sample(), float(action), self._steps >= 16, False, {}


def actor_and_critic(module: RLModule, batch: dict[str, Any]) -> list[Tensor]:
    return [module.forward_train(batch)[Columns.ACTION_DIST_INPUTS], module.compute_values(batch)]


def q_values(module: RLModule, batch: dict[str, Any]) -> list[Tensor]:
    return [module.compute_q_values(batch)["qf_preds"]]


def actor_and_twin_q(module: RLModule, batch: dict[str, Any]) -> list[Tensor]:
    policy = module.pi(module.pi_encoder(batch)["encoder_out"])
    pairs = [(module.qf_encoder, module.qf), (module.qf_twin_encoder, module.qf_twin)]
    return [policy] + [module._qf_forward_train_helper(batch, *pair) for pair in pairs]


def local(config: AlgorithmConfig) -> AlgorithmConfig:
    config.env_runners(num_env_runners=0, num_envs_per_env_runner=2)
    return config.learners(num_learners=0).debugging(seed=0, log_level="ERROR")


def ppo(environment: Any = "CartPole-v1", **model: Any) -> AlgorithmConfig:
    settings = {"fcnet_hiddens": [16, 16], "vf_share_layers": False, **model}
    config = PPOConfig().environment(environment)
    config.training(train_batch_size_per_learner=128, minibatch_size=64, num_epochs=2, lr=1e-3)
    return local(config.rl_module(model_config=DefaultModelConfig(**settings)))


def off_policy(config: AlgorithmConfig, environment: str) -> AlgorithmConfig:
    config.environment(environment)
    config.training(
        train_batch_size_per_learner=16,
        num_steps_sampled_before_learning_starts=32,
        target_network_update_freq=16,
        replay_buffer_config={"type": "PrioritizedEpisodeReplayBuffer", "capacity": 2000},
        training_intensity=1,
    )
    config.env_runners(rollout_fragment_length=16)
    config.reporting(min_sample_timesteps_per_iteration=32, min_time_s_per_iteration=0)
    model = DefaultModelConfig(fcnet_hiddens=[16, 16], head_fcnet_hiddens=[12])
    return local(config.rl_module(model_config=model))


def dqn() -> AlgorithmConfig:
    return off_policy(DQNConfig().training(double_q=True, dueling=True), "CartPole-v1")


def sac() -> AlgorithmConfig:
    return off_policy(SACConfig().training(twin_q=True), "Pendulum-v1")


def batch(module: RLModule) -> dict[str, Tensor]:
    """Some observations, their successors and actions."""
    generator = torch.Generator().manual_seed(0)

    def sample(space: gym.Space) -> Tensor:
        if isinstance(space, gym.spaces.Discrete):
            return torch.zeros(8, dtype=torch.long)
        return torch.rand((8, *space.shape), generator=generator)

    return {
        Columns.OBS: sample(module.observation_space),
        Columns.NEXT_OBS: sample(module.observation_space),
        Columns.ACTIONS: sample(module.action_space),
    }


def held(algorithm: Algorithm, module_id: str = MID) -> RLModule:
    """The network of a learner in this process."""
    return unwrapped(algorithm.learner_group._learner, module_id)


def parameters(algorithm: Algorithm) -> dict[str, Tensor]:
    return dict(held(algorithm).named_parameters())


def shapes(module: RLModule) -> dict[str, tuple[int, ...]]:
    return {name: tuple(param.shape) for name, param in module.named_parameters()}


def clear_units(module: RLModule, outputs: Outputs, seed: int = 0) -> Layout:
    """Zeroes a third of the units of each layer, in targets as well; where the rest lies."""
    generator = torch.Generator().manual_seed(seed)
    params = dict(module.named_parameters())
    masks = {name: torch.ones_like(p, dtype=torch.bool) for name, p in params.items()}
    units = couplings(module, batch(module), outputs, heads=())
    assert units
    for unit in units:
        chosen = torch.randperm(unit.units, generator=generator)[: max(1, unit.units // 3)]
        for part in unit.slices:
            masks[part.parameter].index_fill_(part.dim, part.index[chosen].flatten(), False)
    found = layout(params, units, masks)
    names = {id(param): name for name, param in params.items()}
    if isinstance(module, TargetNetworkAPI):
        for main, target in module.get_target_network_pairs():
            for followed, follower in zip(main.parameters(), target.parameters(), strict=True):
                masks[names[id(follower)]] = masks[names[id(followed)]]
    with torch.no_grad():
        for name, param in params.items():
            param.mul_(masks[name])
    return found


def everything(module: RLModule, outputs: Outputs) -> list[Tensor]:
    with torch.no_grad():
        given = batch(module)
        found = outputs(module, given)
        if isinstance(module, TargetNetworkAPI):
            target = module.forward_target(given)
            found += [target] if isinstance(target, Tensor) else list(target.values())
        return found


def moments(algorithm: Algorithm) -> dict[str, dict[str, Tensor]]:
    """State of all optimizers, by the names of the network's parameters."""
    names = {id(param): name for name, param in held(algorithm).named_parameters()}
    return {
        names[id(param)]: dict(state)
        for _, optimizer in algorithm.learner_group._learner.get_optimizers_for_module(MID)
        for param, state in optimizer.state.items()
        if id(param) in names
    }


def trained(algorithm: Algorithm) -> set[str]:
    """Names of the parameters that a training iteration changes."""
    before = {name: param.detach().clone() for name, param in parameters(algorithm).items()}
    algorithm.train()
    return {n for n, param in parameters(algorithm).items() if not torch.equal(param, before[n])}


def check_acts_by_the_learners_weights(algorithm: Algorithm) -> None:
    ours = parameters(algorithm)
    for theirs in algorithm.env_runner_group.foreach_env_runner(
        lambda runner: dict(runner.module.named_parameters())
    ):
        assert theirs
        for name, param in theirs.items():
            assert torch.equal(param, ours[name]), name


CASES: dict[str, tuple[Callable[[], AlgorithmConfig], Outputs]] = {
    "ppo": (ppo, actor_and_critic),
    "ppo-shared": (lambda: ppo(vf_share_layers=True), actor_and_critic),
    "ppo-cnn": (
        lambda: ppo(
            Pixels, conv_filters=[[6, 3, 2], [8, 3, 2]], head_fcnet_hiddens=[12], fcnet_hiddens=[]
        ),
        actor_and_critic,
    ),
    "dqn": (dqn, q_values),
    "sac": (sac, actor_and_twin_q),
}
