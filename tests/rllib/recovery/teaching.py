"""Small algorithms with a teacher, and the divergences by their formulas."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from hypothesis import strategies as st
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from torch import Tensor

from prune_search.rllib.running import unwrapped

SMALL = DefaultModelConfig(fcnet_hiddens=[16], fcnet_activation="tanh", vf_share_layers=False)


class Steps(gym.Env[Any, Any]):
    """Ten steps of noise; the actions are the test's."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.observation_space = spaces.Box(-1, 1, (3,))
        self.action_space = config["actions"]

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._left = 10
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        self._left -= 1
        return self.observation_space.sample(), 0.0, self._left == 0, False, {}


def ppo(
    env: Any = "CartPole-v1",
    model: Any = SMALL,
    lr: float = 0.003,
    learners: int = 0,
    **env_config: Any,
) -> Any:
    config = (
        PPOConfig()
        .environment(env, env_config=env_config)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=4)
        .learners(num_learners=learners)
        .training(train_batch_size_per_learner=256, minibatch_size=64, num_epochs=2, lr=lr)
        .rl_module(model_config=model)
        .debugging(seed=0, log_level="ERROR")
    )
    return config.build_algo()


def off_policy(config: Any, env: Any, **env_config: Any) -> Any:
    return (
        config.environment(env, env_config=env_config)
        .env_runners(num_env_runners=0, rollout_fragment_length=8)
        .training(
            num_steps_sampled_before_learning_starts=16,
            train_batch_size_per_learner=16,
            replay_buffer_config={"type": "EpisodeReplayBuffer", "capacity": 1000},
        )
        .rl_module(model_config=SMALL)
        .reporting(min_sample_timesteps_per_iteration=16, min_time_s_per_iteration=0)
        .debugging(seed=0, log_level="ERROR")
        .build_algo()
    )


def teacher_of(algorithm: Any, change: float = 0.5) -> Any:
    """A network like the algorithm's, with other weights."""
    teacher = copy.deepcopy(unwrapped(algorithm.learner_group._learner))
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in teacher.parameters():
            weight.add_(change * torch.randn(weight.shape, generator=generator))
    return teacher


def categorical_kl(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    p, q = torch.softmax(p_logits, -1), torch.softmax(q_logits, -1)
    return (p * (p.log() - q.log())).sum(-1)


def gaussian_kl(ours: Tensor, theirs: Tensor, temperature: float) -> Tensor:
    nearer = ours + (theirs - ours) / temperature
    (m1, s1), (m2, s2) = (
        (mean, log_std.exp()) for mean, log_std in (ours.chunk(2, dim=-1), nearer.chunk(2, dim=-1))
    )
    return (torch.log(s2 / s1) + (s1**2 + (m1 - m2) ** 2) / (2 * s2**2) - 0.5).sum(-1)


numbers = st.lists(st.floats(-2, 2), min_size=6, max_size=6)


def one_batch(algorithm: Any) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    space = unwrapped(algorithm.learner_group._learner).observation_space
    return {Columns.OBS: torch.randn(32, *space.shape, generator=generator)}


def visited() -> dict[str, Tensor]:
    """What random actions see of CartPole."""
    env = gym.make("CartPole-v1")
    env.action_space.seed(0)
    seen = [env.reset(seed=0)[0]]
    while len(seen) < 256:
        observation, _, terminated, _, _ = env.step(env.action_space.sample())
        seen.append(env.reset()[0] if terminated else observation)
    return {Columns.OBS: torch.as_tensor(np.stack(seen))}


def divergence(algorithm: Any, teacher: Any) -> float:
    module = unwrapped(algorithm.learner_group._learner)
    with torch.no_grad():
        ours, theirs = (
            each.forward_inference(visited())[Columns.ACTION_DIST_INPUTS]
            for each in (teacher, module)
        )
        return float(categorical_kl(ours, theirs).mean())
