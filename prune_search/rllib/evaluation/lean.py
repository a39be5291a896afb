"""Evaluation episodes without RLlib's connectors and episodes: the same play in less time.

RLlib's env runner keeps an object for every step and episode, copies and times what passes from
one connector to the next, and goes on with environments whose one episode has ended until the
slowest has. Here observations are one array and actions another, and an environment rests once its
episode is over. All that decides what is played is RLlib's own: its environments, network, action
distributions, observation filters and the unsquashing of actions, called in its order, with as
many rows in each pass and as many random numbers drawn. So trajectories are its, bit for bit.
Where that can't be had, `obstacles` says why.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tree  # type: ignore[import-untyped]  # dm-tree, which RLlib requires
from gymnasium.vector.utils import concatenate, iterate
from numpy.typing import NDArray
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.utils.numpy import convert_to_numpy
from ray.rllib.utils.spaces.space_utils import clip_action, unsquash_action
from torch import nn

from prune_search.errors import TrialError
from prune_search.rllib.evaluation.obstacles import connectors, is_filter

CHUNK = 32
"""Steps of each environment that RLlib's env runner is asked for at a time."""


def check_finite(what: str, values: Any) -> None:
    """Greedy actions exist for observations that are NaN too, and so would a return.

    Args:
        what: `observation` or `reward`.
        values: any structure of arrays and numbers; of these only floats are looked at.

    Raises:
        TrialError: not all are finite.
    """
    leaves = [np.asarray(leaf) for leaf in tree.flatten(values)]
    if not all(np.isfinite(leaf).all() for leaf in leaves if leaf.dtype.kind == "f"):
        raise TrialError(f"the environment returned a {what} that is not finite")


class LeanRunner:
    """Plays blocks of episodes with what an env runner has: environments, network and filters.

    Args:
        runner: one that `obstacles.of_surroundings` says nothing about.
        sampled: whether actions are sampled, not greedy.
        max_steps: an episode that has not ended after so many steps is cut there.
    """

    def __init__(self, runner: SingleAgentEnvRunner, *, sampled: bool, max_steps: int) -> None:
        self._runner, self._sampled, self._max_steps = runner, sampled, max_steps
        self._vector: gym.vector.SyncVectorEnv = runner.env.env
        self._filters = [each for each in connectors(runner._env_to_module) if is_filter(each)]
        self._bounds = list(connectors(runner._module_to_env))[-2]
        # Written anew in each step.
        self._rows = gym.vector.utils.create_empty_array(
            self._vector.single_observation_space, n=self._vector.num_envs, fn=np.zeros
        )
        self.obstacle = ""
        """Why blocks can't be played here after all, found in playing one."""

    def play(self, seeds: Sequence[int], count: int, random_actions: bool) -> list[float] | None:
        """Undiscounted returns of one episode for each of the first env seeds.

        The process's generators, and the action space's for random actions, are seeded before.

        Args:
            seeds: as many as there are environments.
            count: of these, episodes that are asked for; the rest fills the network's passes.
            random_actions: whether actions are random, and no network is asked.

        Returns:
            `count` returns; None, and the reason in `obstacle`, where environments turn out to
            share random numbers, so that one depends on whether another is stepped.

        Raises:
            TrialError: an observation or a reward is not finite.
        """
        with _evaluating(self._runner.module):
            return self._play(seeds, count, random_actions)

    def _play(self, seeds: Sequence[int], count: int, random_actions: bool) -> list[float] | None:
        environments, space = self._vector.envs, self._vector.action_space
        drawn = _process_numbers()
        seen = [
            environment.reset(seed=seed, options=None)[0]
            for environment, seed in zip(environments, seeds, strict=True)
        ]
        inputs = self._inputs(seen)
        totals, going = np.zeros(len(seeds)), list(range(count))
        for step in range(self._max_steps):
            chosen = space.sample() if random_actions else self._act(inputs, step)
            actions = list(iterate(space, chosen))
            rewards, unfinished = np.zeros(len(seeds)), []
            for row in going:
                seen[row], rewards[row], terminated, truncated, _ = environments[row].step(
                    actions[row]
                )
                if not (terminated or truncated):
                    unfinished.append(row)
            inputs, going = self._inputs(seen), unfinished
            check_finite("reward", rewards)
            totals += rewards
            if not going:
                break
        if _process_numbers() != drawn:
            self.obstacle = "environments draw from the process's random numbers, which they share"
            return None
        found: list[float] = totals[:count].tolist()
        return found

    def _inputs(self, seen: list[Any]) -> Any:
        """What the network reads: an array [environments, ...], filtered.

        Raises:
            TrialError: something in it is not finite.
        """
        self._rows = concatenate(self._vector.single_observation_space, seen, self._rows)
        inputs = self._rows
        for each in self._filters:  # what RLlib applies to one observation takes rows as well
            inputs = each._filters[None](inputs, update=False)
        check_finite("observation", inputs)
        return inputs

    def _act(self, inputs: NDArray[Any], step: int) -> Any:
        """Actions as environments take them, [environments, ...]."""
        module = self._runner.module
        # As RLlib's NumpyToTensor converts them.
        tensor = torch.from_numpy(inputs)
        if tensor.is_floating_point() and tensor.dtype != torch.float16:
            tensor = tensor.float()
        batch = {Columns.OBS: tensor.to(self._runner._device)}
        if self._sampled:
            # RLlib counts from zero in each chunk that it is asked for.
            steps = self._runner.num_env_steps_sampled_lifetime + step % CHUNK * len(inputs)
            outputs = _inner(module, "forward_exploration")(batch, t=steps)
        else:
            outputs = _inner(module, "forward_inference")(batch)
        if Columns.ACTIONS not in outputs:
            kind = (
                module.get_exploration_action_dist_cls()
                if self._sampled
                else module.get_inference_action_dist_cls()
            )
            distribution = kind.from_logits(outputs[Columns.ACTION_DIST_INPUTS])
            if not self._sampled:
                distribution = distribution.to_deterministic()
            outputs[Columns.ACTIONS] = distribution.sample()
        actions = convert_to_numpy(outputs[Columns.ACTIONS])
        # What RLlib applies to one action takes rows as well.
        if self._bounds.normalize_actions:
            return unsquash_action(actions, self._bounds._action_space_struct)
        if self._bounds.clip_actions:
            return clip_action(actions, self._bounds._action_space_struct)
        return convert_to_numpy(outputs.get(Columns.ACTIONS_FOR_ENV, actions))


@contextmanager
def _evaluating(module: RLModule) -> Iterator[None]:
    """Turns a network's training mode off for a block, as RLlib does for every pass."""
    training = isinstance(module, nn.Module) and module.training
    if training:
        module.eval()
    try:
        yield
    finally:
        if training:
            module.train()


def _inner(module: RLModule, name: str) -> Callable[..., dict[str, Any]]:
    """A pass without RLlib's switching of modes around it, which takes as long as a small pass."""
    switches = getattr(type(module), name) is getattr(TorchRLModule, name)
    found: Callable[..., dict[str, Any]] = getattr(module, f"_{name}" if switches else name)
    return found


def _process_numbers() -> tuple[Any, ...]:
    """State of Python's and NumPy's generators; torch's is the networks'."""
    numpy = np.random.get_state(legacy=False)
    words = numpy["state"]
    return (
        random.getstate(),
        words["key"].tobytes(),
        words["pos"],
        numpy["has_gauss"],
        numpy["gauss"],
    )
