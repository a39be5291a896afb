"""Actions for many environments in one pass: what RLlib's default connectors do, on whole arrays.

RLlib takes its batches apart into items, and copies and times what passes from one connector to
the next. Here a batch stays a batch. All that decides an action is RLlib's own: the network, its
distribution and the unsquashing, called in its order, with as many rows in a pass and as many
random numbers drawn; so actions are its, bit for bit. Where that can't be had, `obstacles` says
why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import TorchCategorical
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.utils.numpy import convert_to_numpy
from ray.rllib.utils.spaces.space_utils import clip_action, unsquash_action
from torch import nn

from prune_search.rllib.connectors.obstacles import connectors

Outputs = dict[str, Any]
"""Columns of RLlib's, arrays [environments, ...], as its connectors leave them."""


@contextmanager
def acting(module: RLModule) -> Iterator[None]:
    """Turns gradients and a network's training mode off for a block, as RLlib does in each pass."""
    training = isinstance(module, nn.Module) and module.training
    if training:
        module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        if training:
            module.train()


class Actor:
    """Asks an env runner's network for actions; within `acting`.

    Args:
        runner: one that `obstacles.of_network` says nothing about.
        logp: whether the actions' log-probabilities are wanted, as training does.
    """

    def __init__(self, runner: SingleAgentEnvRunner, *, logp: bool = True) -> None:
        self._runner, self._logp = runner, logp
        self._bounds = list(connectors(runner._module_to_env))[-2]

    def act(self, observations: NDArray[Any], *, explore: bool, steps: int) -> tuple[Any, Outputs]:
        """Actions for all environments.

        Args:
            observations: what the network reads, [environments, ...].
            explore: whether actions are sampled, not greedy.
            steps: env steps that exploration schedules are at; of no account if not `explore`.

        Returns:
            Actions as the environments take them, and the network's outputs, its actions among
            them.
        """
        module = self._runner.module  # another one where networks have changed shape
        # As RLlib's NumpyToTensor converts them.
        tensor = torch.from_numpy(observations)
        if tensor.is_floating_point() and tensor.dtype != torch.float16:
            tensor = tensor.float()
        batch = {Columns.OBS: tensor.to(self._runner._device)}
        if explore:
            outputs = _inner(module, "forward_exploration")(batch, t=steps)
        else:
            outputs = _inner(module, "forward_inference")(batch)
        if Columns.ACTIONS not in outputs and Columns.ACTION_DIST_INPUTS in outputs:
            self._choose(module, outputs, explore)
        found = {name: _array(value) for name, value in outputs.items()}
        actions = found[Columns.ACTIONS]
        for_environments = found.pop(Columns.ACTIONS_FOR_ENV, actions)
        # What RLlib applies to one action takes rows as well.
        if self._bounds.normalize_actions:
            return unsquash_action(actions, self._bounds._action_space_struct), found
        if self._bounds.clip_actions:
            return clip_action(actions, self._bounds._action_space_struct), found
        return for_environments, found

    def _choose(self, module: RLModule, outputs: Outputs, explore: bool) -> None:
        """As RLlib's GetActions does."""
        if explore:
            kind = module.get_exploration_action_dist_cls()
        else:
            kind = module.get_inference_action_dist_cls()
        if kind is TorchCategorical and explore:
            _draw(outputs, self._logp)
            return
        distribution = kind.from_logits(outputs[Columns.ACTION_DIST_INPUTS])
        if not explore:
            distribution = distribution.to_deterministic()
        outputs[Columns.ACTIONS] = distribution.sample()
        if self._logp and Columns.ACTION_LOGP not in outputs:
            outputs[Columns.ACTION_LOGP] = distribution.logp(outputs[Columns.ACTIONS])


def _draw(outputs: Outputs, logp: bool) -> None:
    """What torch's Categorical draws, and its log-probability, without the object's checks."""
    logits = outputs[Columns.ACTION_DIST_INPUTS]
    logits = logits - logits.logsumexp(dim=-1, keepdim=True)
    actions = torch.multinomial(logits.softmax(dim=-1), 1, True)
    outputs[Columns.ACTIONS] = actions[:, 0]
    if logp and Columns.ACTION_LOGP not in outputs:
        outputs[Columns.ACTION_LOGP] = logits.gather(-1, actions)[:, 0]


def _array(value: Any) -> Any:
    """What `convert_to_numpy` gives, in less time for the usual tensor."""
    if not isinstance(value, torch.Tensor) or not value.ndim:
        return convert_to_numpy(value)
    array = value.detach().cpu().numpy()
    if array.dtype == np.int64:
        return array.astype(np.int32)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _inner(module: RLModule, name: str) -> Callable[..., Outputs]:
    """A pass without RLlib's switching of modes around it, which takes as long as a small pass."""
    switches = getattr(type(module), name) is getattr(TorchRLModule, name)
    found: Callable[..., Outputs] = getattr(module, f"_{name}" if switches else name)
    return found
