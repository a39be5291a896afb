"""The steps that several environments take together, kept in rows, and cut into episodes."""

from __future__ import annotations

import time
import uuid
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.env.utils.infinite_lookback_buffer import InfiniteLookbackBuffer

from prune_search.rllib.connectors.acting import Outputs

Stepped = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], list[dict[str, Any]]]
"""What environments return of a step: observations, rewards, terminated, truncated, infos."""


class _Begun(NamedTuple):
    """An episode that goes on."""

    name: str
    first: int
    """Row of its first observation; below 0 where that is no longer kept."""
    before: int
    """Its steps before this fragment."""
    reset: bool = True
    """In this fragment; RLlib times a part that goes on from its first step."""


class _Ended(NamedTuple):
    episode: _Begun
    environment: int
    last: int
    """Row of its last observation; its last step is the one before."""
    terminated: Any
    truncated: Any


class Fragment:
    """What was observed and done since episodes were last handed on.

    Row t holds what the environments showed before step t, and what was done in step t. An
    environment whose episode ends in step t shows its last observation in row t + 1, is reset
    there instead of stepped (gymnasium's next-step autoreset), and its next episode begins with
    row t + 2.

    Args:
        environments: how many there are.
        lookback: earlier steps that a part of an episode brings along, where there are any, as
            RLlib's `episode_lookback_horizon` says.
    """

    def __init__(self, environments: int, lookback: int) -> None:
        self._count, self._lookback = environments, lookback

    def begin(self, observations: NDArray[Any], infos: list[dict[str, Any]]) -> None:
        """All environments were reset; what was not handed on is gone."""
        self._observations, self._infos = [observations], [infos]
        self._actions: list[Any] = []
        self._rewards: list[NDArray[Any]] = []
        self._outputs: list[Outputs] = []
        self._times = [time.perf_counter()]
        self._kept = 0  # steps from before this fragment
        self._episodes = [_Begun(uuid.uuid4().hex, 0, 0) for _ in range(self._count)]
        self._resting = np.zeros(self._count, np.bool_)  # these are reset by the next step
        self._ended: list[_Ended] = []

    @property
    def ended(self) -> int:
        """Episodes that have ended in this fragment."""
        return len(self._ended)

    def add(self, actions: Any, outputs: Outputs, found: Stepped, most: int | None = None) -> int:
        """A step of all environments.

        Args:
            actions: the network's, [environments, ...].
            outputs: what else is to be kept of the step, arrays of the same length.
            found: what the environments returned.
            most: episodes that are wanted; those that end beside the last one are let go.

        Returns:
            Environments that took the step; the others were reset.
        """
        observations, rewards, terminated, truncated, infos = found
        self._observations.append(observations)
        self._infos.append(infos)
        self._actions.append(actions)
        self._rewards.append(rewards)
        self._outputs.append(outputs)
        self._times.append(time.perf_counter())
        row = len(self._actions)
        for environment in np.flatnonzero(self._resting).tolist():
            self._episodes[environment] = _Begun(uuid.uuid4().hex, row, 0)
        stepped = ~self._resting
        self._resting = (terminated | truncated) & stepped
        for environment in np.flatnonzero(self._resting).tolist():
            if most is None or len(self._ended) < most:
                over = terminated[environment], truncated[environment]
                episode = self._episodes[environment]
                self._ended.append(_Ended(episode, environment, row, *over))
        return int(np.count_nonzero(stepped))

    def cut(
        self, observation: gym.Space, action: gym.Space
    ) -> tuple[list[SingleAgentEpisode], list[SingleAgentEpisode]]:
        """Hands on what there is; the next fragment goes on from here.

        Args:
            observation: space of an observation, as the network sees it.
            action: space of an action.

        Returns:
            Episodes that have ended, in the order in which they did, and the parts of those that
            go on, of environments in their order. Their arrays are views of one that no later
            fragment changes.
        """
        last = len(self._actions)
        going = [
            _Ended(episode, environment, last, np.False_, np.False_)
            for environment, episode in enumerate(self._episodes)
            if not self._resting[environment] and last > max(episode.first, self._kept)
        ]
        spaces = {"observation_space": observation, "action_space": action}
        ended, parts = self._built([*self._ended, *going], spaces), self._ended
        self._roll(last)
        return ended[: len(parts)], ended[len(parts) :]

    def _built(self, spans: list[_Ended], spaces: dict[str, gym.Space]) -> list[SingleAgentEpisode]:
        if not spans:
            return []
        observations = np.stack(self._observations, axis=1)
        actions, rewards = np.stack(self._actions, axis=1), np.stack(self._rewards, axis=1)
        # Of each, the step that it is there from, which may be later than the first that is kept.
        outputs = {}
        for name in self._outputs[-1]:
            held = [each[name] for each in self._outputs if name in each]
            outputs[name] = len(actions[0]) - len(held), np.stack(held, axis=1)
        found = []
        for episode, environment, last, terminated, truncated in spans:
            start = max(episode.first, 0)
            steps = slice(start, last)
            built = SingleAgentEpisode(
                episode.name,
                observations=observations[environment, start : last + 1],
                infos=[row[environment] for row in self._infos[start : last + 1]],
                actions=actions[environment, steps],
                rewards=rewards[environment, steps],
                terminated=terminated,
                truncated=truncated,
                extra_model_outputs={
                    name: InfiniteLookbackBuffer(
                        values[environment, max(start - since, 0) : last - since],
                        lookback=max(self._kept - max(start, since), 0),
                    )
                    for name, (since, values) in outputs.items()
                },
                t_started=episode.before,
                len_lookback_buffer=max(self._kept - start, 0),
                **spaces,
            )
            built._start_time = self._times[episode.first if episode.reset else self._kept + 1]
            built._last_step_time = self._times[last]
            found.append(built)
        return found

    def _roll(self, last: int) -> None:
        """Only what the next fragment's episodes look back at is kept."""
        self._episodes = [
            episode._replace(before=episode.before + last - max(episode.first, self._kept))
            for episode in self._episodes
        ]
        kept = min(self._lookback, last)
        gone = last - kept
        for rows in (self._observations, self._infos, self._actions, self._rewards):
            del rows[:gone]
        del self._outputs[:gone], self._times[:gone]
        self._episodes = [
            each._replace(first=each.first - gone, reset=False) for each in self._episodes
        ]
        self._kept, self._ended = kept, []
