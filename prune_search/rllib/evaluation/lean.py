"""Evaluation episodes without RLlib's connectors and episodes: the same play in less time.

RLlib's env runner keeps an object for every step and episode, copies and times what passes from
one connector to the next, and goes on with environments whose one episode has ended until the
slowest has. Here observations are one array and actions another (see `acting`), and an environment
rests once its episode is over. Environments and observation filters are RLlib's own, called in its
order; so trajectories are its, bit for bit. Where that can't be had, `obstacles` says why.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import tree  # type: ignore[import-untyped]  # dm-tree, which RLlib requires
from gymnasium.vector.utils import concatenate, iterate
from numpy.typing import NDArray
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from prune_search.errors import not_finite
from prune_search.rllib.connectors.acting import Actor, acting
from prune_search.rllib.connectors.obstacles import connectors, is_filter
from prune_search.rllib.connectors.policy_parts import observation_filter

CHUNK = 32
"""Steps of each environment that RLlib's env runner is asked for at a time."""


def check_finite(what: str, values: Any) -> None:
    """Greedy actions exist for observations that are NaN too, and so would a return.

    Args:
        what: `observation` or `reward`.
        values: any structure of arrays and numbers; of these only floats are looked at.

    Raises:
        EnvironmentFault: not all are finite.
    """
    leaves = [np.asarray(leaf) for leaf in tree.flatten(values)]
    if not all(np.isfinite(leaf).all() for leaf in leaves if leaf.dtype.kind == "f"):
        raise not_finite(what)


class LeanRunner:
    """Plays blocks of episodes with what an env runner has: environments, network and filters.

    Args:
        runner: one that `obstacles.of_surroundings` says nothing about.
        sampled: whether actions are sampled, not greedy.
        max_steps: an episode that has not ended after so many steps is cut there.
    """

    def __init__(self, runner: SingleAgentEnvRunner, *, sampled: bool, max_steps: int) -> None:
        self._runner, self._sampled, self._max_steps = runner, sampled, max_steps
        self._actor = Actor(runner, logp=False)
        self._vector: gym.vector.SyncVectorEnv = runner.env.env
        self._filters = [each for each in connectors(runner._env_to_module) if is_filter(each)]
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
            EnvironmentFault: an observation or a reward is not finite.
        """
        with acting(self._runner.module):
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
            EnvironmentFault: something in it is not finite.
        """
        self._rows = concatenate(self._vector.single_observation_space, seen, self._rows)
        inputs = self._rows
        for each in self._filters:  # what RLlib applies to one observation takes rows as well
            inputs = observation_filter(each)(inputs, update=False)
        check_finite("observation", inputs)
        return inputs

    def _act(self, inputs: NDArray[Any], step: int) -> Any:
        """Actions as environments take them, [environments, ...]."""
        # RLlib counts from zero in each chunk that it is asked for.
        steps = self._runner.num_env_steps_sampled_lifetime + step % CHUNK * len(inputs)
        return self._actor.act(inputs, explore=self._sampled, steps=steps)[0]


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
