"""An env runner that keeps its steps in arrays: RLlib's episodes in a fraction of its time."""

from __future__ import annotations

import copyreg
import math
from abc import ABCMeta
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics import RLMODULE_INFERENCE_TIMER, WEIGHTS_SEQ_NO

from prune_search.errors import not_finite
from prune_search.rllib.connectors.acting import Actor, Outputs, acting
from prune_search.rllib.connectors.obstacles import connectors, is_filter, of_sampling
from prune_search.rllib.runners.filters import filtered
from prune_search.rllib.runners.fragment import Fragment

Figures = tuple[int, float, float]
"""Length, return and seconds of an episode, or of a part of one."""


class _Portable(ABCMeta):
    """A class that checkpoints find again where this package is, and RLlib's own elsewhere."""


def _found(_: _Portable) -> tuple[Callable[[], type], tuple[()]]:
    def here() -> Any:  # local, so that cloudpickle takes its code along
        try:
            from prune_search.rllib.runners.lean import LeanEnvRunner
        except ImportError:
            from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

            return SingleAgentEnvRunner
        return LeanEnvRunner

    return here, ()


copyreg.pickle(_Portable, _found)  # type: ignore[arg-type]  # a class of classes is one of objects


class LeanEnvRunner(SingleAgentEnvRunner, metaclass=_Portable):
    """RLlib's env runner, sampling by arrays wherever `obstacle` is empty.

    What it hands on is what RLlib's does: the same episodes, from the same random numbers, with
    the same keys, types, lookbacks and boundaries, and the same metrics but those that time
    connectors, which are not run. Where there is an obstacle it is RLlib's env runner.
    """

    _inputs: NDArray[Any]  # what the network sees next, [environments, ...]
    _needs_initial_reset: bool
    metrics: Any  # RLlib's MetricsLogger, or what stands in for it

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._parts: dict[str, list[Figures]] = {}  # of episodes that go on
        self._figures: list[Figures] = []  # of those that have ended
        self.obstacle = of_sampling(self) if self.env is not None else "it has no environments"
        """Why RLlib's connectors are run after all."""
        if self.obstacle:
            return
        self._actor = Actor(self)
        self._filters = [each for each in connectors(self._env_to_module) if is_filter(each)]
        self._fragment = Fragment(self.num_envs, self.config.episode_lookback_horizon)
        # Others may write each step's observations where the last one's were, or across rows,
        # which networks round in another way.
        copying = gym.vector.SyncVectorEnv | gym.vector.AsyncVectorEnv
        self._copied = isinstance(self.env.unwrapped, copying)

    def _sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool,
        random_actions: bool = False,
        force_reset: bool = False,
    ) -> list[SingleAgentEpisode]:
        if self.obstacle:
            stock: list[SingleAgentEpisode] = super()._sample(
                num_timesteps=num_timesteps,
                num_episodes=num_episodes,
                explore=explore,
                random_actions=random_actions,
                force_reset=force_reset,
            )
            for episode in stock:
                _check_rewards(float(np.sum(episode.get_rewards())))
            return stock
        if force_reset or num_episodes is not None or self._needs_initial_reset:
            self._reset_envs_and_episodes(explore)
        if num_episodes is not None:
            self._needs_initial_reset = True
        fragment, steps = self._fragment, 0
        number = np.full(self.num_envs, self._weights_seq_no)
        with acting(self.module):
            while (
                steps < (num_timesteps or 0)
                if num_episodes is None
                else fragment.ended < num_episodes
            ):
                if random_actions:
                    for_environments = self.env.action_space.sample()
                    outputs = {Columns.ACTIONS: for_environments}
                else:
                    for_environments, outputs = self._act(explore, steps)
                actions = outputs.pop(Columns.ACTIONS)
                outputs[WEIGHTS_SEQ_NO] = number
                observations, rewards, *rest = self._try_env_step(for_environments)
                self._inputs = self._filtered(observations)
                found = self._inputs, np.array(rewards), *rest
                steps += fragment.add(actions, outputs, found, num_episodes)
        seen = (self._filters or [self._env_to_module])[-1].observation_space
        ended, going = fragment.cut(seen, self.env.single_action_space)
        for episode in ended:
            self._figures.append(_added([_figures(episode), *self._parts.pop(episode.id_, ())]))
        self._log_env_steps(metric=self._metrics_num_env_steps_sampled, num_steps=steps)
        self._increase_sampled_metrics(steps, len(ended))
        if num_episodes is not None:
            return ended
        for episode in going:
            self._parts.setdefault(episode.id_, []).append(_figures(episode))
        return [*ended, *going]

    def _act(self, explore: bool, steps: int) -> tuple[Any, Outputs]:
        """As `Actor.act`, so many env steps into a fragment.

        Raises:
            EnvironmentFault: the network has failed at observations that are not finite.
        """
        runners = self.config.num_env_runners or 1
        lifetime = (self.num_env_steps_sampled_lifetime // runners + steps) * runners
        try:
            with self.metrics.log_time(RLMODULE_INFERENCE_TIMER):
                return self._actor.act(self._inputs, explore=explore, steps=lifetime)
        except Exception:
            if np.isfinite(self._inputs).all():
                raise
            raise not_finite("observation") from None

    def _reset_envs(self, episodes: Any, shared_data: Any, explore: bool) -> None:
        if self.obstacle:
            super()._reset_envs(episodes, shared_data, explore)
            return
        seed = self._seed if self._needs_initial_reset else None
        observations, infos = self._try_env_reset(seed=seed, options=None)
        self._parts.clear()
        self._inputs = self._filtered(observations)
        self._fragment.begin(self._inputs, infos)

    def _filtered(self, observations: NDArray[Any]) -> NDArray[Any]:
        """What the network sees, [environments, ...]; filters learn from it."""
        if not self._copied:
            observations = np.array(observations, order="C")
        for connector in self._filters:
            observations = filtered(connector, observations)
        return observations

    def apply(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Calls a function with this env runner, and hands on what it raises.

        RLlib's would end the process, so that nobody learns more than that it died; that is left
        to where it is to be started again.
        """
        if self.config.restart_failed_env_runners:
            return super().apply(func, *args, **kwargs)
        return func(self, *args, **kwargs)

    def get_metrics(self) -> Any:
        """RLlib's, of the episodes that have ended since the last call."""
        metrics = self.metrics
        self.metrics = Repeated(metrics)
        for figures in self._figures:
            self._log_episode_metrics(*figures)
        self.metrics = metrics
        self._figures.clear()
        return super().get_metrics()


class Repeated:
    """A MetricsLogger for figures that are logged in the same way again and again.

    Where a figure is kept is looked up at its first time only.
    """

    def __init__(self, metrics: Any) -> None:
        self._metrics = metrics
        self._kept: dict[Any, Any] = {}

    def log_value(self, key: Any, value: Any, **kwargs: Any) -> None:
        """As RLlib's, with the same `kwargs` each time."""
        if key in self._kept:
            self._kept[key].push(value)
        else:
            self._metrics.log_value(key, value, **kwargs)
            self._kept[key] = self._metrics._get_key(key)


def _figures(episode: SingleAgentEpisode) -> Figures:
    """Of an episode or a part of one.

    Raises:
        EnvironmentFault: a reward is not finite.
    """
    returned = episode.get_return()
    _check_rewards(returned)
    return len(episode), returned, episode.get_duration_s()


def _check_rewards(added: float) -> None:
    """Raises EnvironmentFault where rewards that were added up are not all finite.

    RLlib would set the gradients that come of them to zero, and go on.
    """
    if not math.isfinite(added):
        raise not_finite("reward")


def _added(parts: list[Figures]) -> Figures:
    length, total, seconds = (sum(figures) for figures in zip(*parts, strict=True))
    return length, total, seconds
