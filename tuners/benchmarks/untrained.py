"""Checkpoints of untrained policies of any algorithm, to be exported: their actions vary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.connectors.env_to_module import MeanStdFilter
from ray.rllib.core import DEFAULT_MODULE_ID
from torch import Tensor, nn

from prune_search.rllib.connectors.obstacles import connectors, is_filter
from prune_search.rllib.connectors.policy_parts import observation_filter


def filtered(config: AlgorithmConfig) -> AlgorithmConfig:
    """With RLlib's mean-std filter in front of the network."""
    config = config.copy(copy_frozen=False)
    config.env_runners(env_to_module_connector=lambda env, spaces, device: MeanStdFilter())
    return config


def saved(
    config: AlgorithmConfig, folder: Path, *, sparsity: float = 0.5, least: float = 0.1
) -> Path:
    """A checkpoint of an untrained policy whose actions vary.

    Args:
        config: of its algorithm.
        folder: where to.
        sparsity: share of its weights that are zero.
        least: deviation of an output over observations; smaller ones are stretched only as if they
            had it, since rounding is stretched with them.
    """
    algorithm = config.build_algo()
    try:
        seen = _seen(config)
        for each in connectors(algorithm.env_runner._env_to_module):
            if is_filter(each):
                each.get_state()  # else it has no filter yet
                seen = [observation_filter(each)(one) for one in seen]
        module = algorithm.learner_group._learner.module[DEFAULT_MODULE_ID].unwrapped()
        _vary(module, np.stack(seen), sparsity, least)
        algorithm.save_to_path(folder)
        return folder
    finally:
        algorithm.stop()


def _seen(config: AlgorithmConfig) -> list[Any]:
    """Observations of random play."""
    environment: Any = (
        config.env(config.env_config)
        if isinstance(config.env, type)
        else gym.make(config.env, **config.env_config)
    )
    environment.action_space.seed(0)
    found: list[Any] = []
    while len(found) < 100:
        observation, over = environment.reset(seed=len(found))[0], False
        while not over:
            found.append(observation)
            observation, _, terminated, truncated, _ = environment.step(
                environment.action_space.sample()
            )
            over = terminated or truncated
    return found


@torch.no_grad()
def _vary(module: Any, seen: NDArray[Any], sparsity: float, least: float) -> None:
    """Weights with zeros among them, under which actions are not all the same."""
    generator = torch.Generator().manual_seed(3)
    for weight in module.parameters():
        weight.add_(torch.randn(weight.shape, generator=generator) / weight[0].numel() ** 0.5)
        if weight.ndim > 1:
            weight.mul_(torch.rand(weight.shape, generator=generator) >= sparsity)
    frames = module.observation_space.shape[-1] // seen.shape[-1]
    batch: dict[str, Any] = {"obs": torch.from_numpy(np.repeat(seen, frames, axis=-1)).float()}
    if module.is_stateful():
        batch["obs"] = batch["obs"][:, None]
        batch["state_in"] = {
            name: torch.as_tensor(value)[None].repeat(len(seen), 1, 1)
            for name, value in module.get_initial_state().items()
        }
    head = next(getattr(module, name) for name in ("af", "pi", "_pi_head") if hasattr(module, name))
    last = [layer for layer in head.net.mlp if isinstance(layer, nn.Linear)][-1]
    given: list[Tensor] = []
    hook = last.register_forward_hook(lambda *call: given.append(call[2].flatten(0, -2)))
    module.forward_inference(batch)
    hook.remove()
    spread = given[0].std(0).clamp_min(least)
    last.weight.div_(spread[:, None])
    last.bias.sub_(given[0].mean(0)).div_(spread)
