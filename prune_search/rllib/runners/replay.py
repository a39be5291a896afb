"""Batches drawn from RLlib's replay buffer with less Python around the same numbers.

RLlib slices an episode out of the buffer for each row, makes another one of it, and hands these to
learner connectors, which take them apart again. Here rows go straight into arrays: the same ones,
from the same random numbers, bit for bit. Like the lean update this is put on a living algorithm,
and what the buffer holds and saves stays RLlib's.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.dqn.dqn import calculate_rr_weights
from ray.rllib.connectors.common import (
    AddObservationsFromEpisodesToBatch,
    AddStatesFromEpisodesToBatch,
    AddTimeDimToBatchAndZeroPad,
    BatchIndividualItems,
    NumpyToTensor,
)
from ray.rllib.connectors.learner import (
    AddColumnsFromEpisodesToTrainBatch,
    AddNextObservationsFromEpisodesToTrainBatch,
)
from ray.rllib.core import DEFAULT_AGENT_ID, DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils import force_list
from ray.rllib.utils.replay_buffers.episode_replay_buffer import EpisodeReplayBuffer
from ray.rllib.utils.replay_buffers.prioritized_episode_buffer import (
    PrioritizedEpisodeReplayBuffer,
)
from ray.rllib.utils.torch_utils import convert_to_torch_tensor

_CONNECTORS = {
    AddObservationsFromEpisodesToBatch,
    AddNextObservationsFromEpisodesToTrainBatch,
    AddColumnsFromEpisodesToTrainBatch,
    AddTimeDimToBatchAndZeroPad,
    AddStatesFromEpisodesToBatch,
    BatchIndividualItems,
    NumpyToTensor,
}
"""RLlib's own, which do to its episodes what is done here; any other is a user's."""
_BUFFERS = (EpisodeReplayBuffer, PrioritizedEpisodeReplayBuffer)


class _Row(NamedTuple):
    """What begins at a step of an episode."""

    episode: Any
    at: int
    weight: float = 1.0


class Drawn:
    """A batch, where RLlib has a list of episodes of one step each.

    Args:
        columns: arrays [rows, ...], by RLlib's names.
    """

    def __init__(self, columns: dict[str, NDArray[Any]]) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns[Columns.REWARDS])


def lighten_replay(algorithm: Algorithm) -> None:
    """Lets an algorithm draw batches in less time, where its buffer, learner and connectors are
    RLlib's plain ones, in this process."""
    buffer = getattr(algorithm, "local_replay_buffer", None)
    group = algorithm.learner_group
    if type(buffer) not in _BUFFERS or group is None or not group.is_local:
        return
    learner: Any = group._learner
    connectors = getattr(learner._learner_connector, "connectors", ())
    if (
        {type(one) for one in connectors} == _CONNECTORS  # SAC has one of them twice
        and type(learner)._make_batch_if_necessary is TorchLearner._make_batch_if_necessary
        and not any(module.is_stateful() for module in learner.module.values())
    ):
        if "_make_batch_if_necessary" not in vars(learner):
            stock = learner._make_batch_if_necessary
            learner._make_batch_if_necessary = partial(_batch, learner, stock)
        _, times = calculate_rr_weights(algorithm.config)
        LeanReplay(buffer, int(times))


def is_lean(buffer: Any) -> bool:
    """Whether batches are drawn from it in less time; a buffer in its place is to be lightened."""
    return isinstance(getattr(getattr(buffer, "sample", None), "__self__", None), LeanReplay)


def draws_lean(algorithm: Algorithm) -> bool:
    """Whether an algorithm's batches are drawn in less time; where `n_step` is drawn, too, none."""
    drawn = isinstance(getattr(algorithm.config, "n_step", 1), (tuple, list))
    return is_lean(algorithm.local_replay_buffer) and not drawn


class LeanReplay:
    """Takes the place of some of a buffer's methods.

    Args:
        buffer: RLlib's.
        times: how many samples the algorithm draws after each `add`.
    """

    def __init__(self, buffer: Any, times: int) -> None:
        self._buffer, self._times = buffer, times
        self._drawn, self._resamples = [0, 0, 0, 0, 0], 0  # since figures were told
        self._add, self._sample, self._metrics = buffer.add, buffer.sample, buffer.get_metrics
        buffer.add, buffer.sample, buffer.get_metrics = self.add, self.sample, self.get_metrics

    def add(self, episodes: Any, **kwargs: Any) -> None:
        """RLlib's `add`, with no copy of what our env runner has made and does not change."""
        self._add([_lent(episode) for episode in force_list(episodes)], **kwargs)

    def get_metrics(self) -> Any:
        """RLlib's `get_metrics`; figures of several samples that follow an `add` come at once."""
        samples = self._drawn[0]
        if 0 < samples < self._times:
            return {}
        if samples:
            self._tell()
        return self._metrics()

    def sample(self, **kwargs: Any) -> Any:
        """RLlib's `sample`, for what DQN and SAC ask of it; else RLlib's does it.

        Args:
            kwargs: RLlib's.
        """
        buffer, steps = self._buffer, kwargs.get("n_step", 0)
        plain = bool(
            kwargs.get("sample_episodes")
            and isinstance(steps, int)
            and not kwargs.get("batch_length_T")
            and not kwargs.get("lookback")
            and not kwargs.get("min_batch_length_T")
            and not kwargs.get("include_extra_model_outputs")
            and buffer.episodes
            and _in_arrays(buffer.episodes[0])
        )
        if not plain:
            return self._sample(**kwargs)
        size = kwargs.get("num_items") or kwargs.get("batch_size_B") or buffer.batch_size_B
        buffer._last_sampled_indices = []
        if isinstance(buffer, PrioritizedEpisodeReplayBuffer):
            rows = self._draw_by_priority(size, steps, kwargs["beta"])
        else:
            rows = self._draw(size, steps)
        self._count(rows, size, steps)
        return Drawn(_columns(rows, steps, kwargs["gamma"]))

    def _draw(self, size: int, steps: int) -> list[_Row]:
        buffer, counted = self._buffer, 0
        rows: list[_Row] = []
        indices, episodes, gone = buffer._indices, buffer.episodes, buffer._num_episodes_evicted
        while counted < size:
            # A row counts as one at most, so that there are never too many.
            for index in buffer.rng.integers(len(indices), size=size - counted).tolist():
                number, at = indices[index]
                episode = episodes[number - gone]
                rows.append(_Row(episode, at))
                # RLlib's count: less than one where the steps go far beyond the episode's end.
                beyond = at + steps - 1 - len(episode)
                counted += (1 - beyond) or 1 if beyond > 0 else 1
        return rows

    def _draw_by_priority(self, size: int, steps: int, beta: float) -> list[_Row]:
        """Schaul et al. 2016, with rows drawn anew where the steps go beyond an episode's end."""
        buffer = self._buffer
        rows: list[_Row] = []
        episodes, gone = buffer.episodes, buffer._num_episodes_evicted
        tree, all_steps = buffer._sum_segment, buffer.get_num_timesteps()
        whole = tree.sum()
        most = (buffer._min_segment.min() / whole * all_steps) ** (-beta)
        while len(rows) < size:
            leaf = tree.find_prefixsum_idx(buffer.rng.random() * whole)
            number, at = buffer._indices[buffer._tree_idx_to_sample_idx[leaf]][:2]
            episode = episodes[number - gone]
            if at + steps > len(episode):
                self._resamples += 1
                continue
            weight = (tree[leaf] / whole * all_steps) ** (-beta)
            rows.append(_Row(episode, at, weight / most * 1))
            buffer._last_sampled_indices.append(leaf)
        return rows

    def _count(self, rows: Sequence[_Row], size: int, steps: int) -> None:
        """RLlib's figures of a sample."""
        self._buffer.sampled_timesteps += size
        episodes = len({id(row.episode) for row in rows})
        distinct = len({(id(row.episode), row.at) for row in rows})
        new = (1, size, episodes, distinct, steps * len(rows))
        self._drawn = [so_far + more for so_far, more in zip(self._drawn, new, strict=True)]

    def _tell(self) -> None:
        """Logs them, added up."""
        _, size, episodes, distinct, steps = self._drawn
        self._drawn = [0, 0, 0, 0, 0]
        figures = {
            "steps_sampled": size,
            "episodes_per_sample": episodes,
            "steps_per_sample": distinct,
            "resamples": self._resamples,
        }
        agents, modules = (
            {f"{of}_to_num_{name}": {key: value} for name, value in figures.items()}
            for of, key in (("agent", DEFAULT_AGENT_ID), ("module", DEFAULT_MODULE_ID))
        )
        self._buffer._update_sample_metrics(
            num_env_steps_sampled=size,
            num_episodes_per_sample=episodes,
            num_env_steps_per_sample=distinct,
            sampled_n_step=steps / size,
            num_resamples=self._resamples,
            agent_to_sampled_n_step={DEFAULT_AGENT_ID: steps / size},
            module_to_sampled_n_step={DEFAULT_MODULE_ID: steps / size},
            **agents,
            **modules,
        )
        self._resamples = 0


def _batch(learner: Any, stock: Any, training_data: Any) -> Any:
    """A learner's `_make_batch_if_necessary`, where batches may have been drawn as such."""
    drawn = training_data.episodes
    if not isinstance(drawn, Drawn):
        return stock(training_data)
    (name,) = learner.module.keys()
    tensors = convert_to_torch_tensor(drawn.columns, device=learner._device)
    return MultiAgentBatch({name: SampleBatch(tensors)}, env_steps=len(drawn))


class _Lent(SingleAgentEpisode):
    """An episode that is its own copy when a buffer asks for one, as RLlib's does of all."""

    __slots__ = ()

    def __deepcopy__(self, memo: dict[int, Any]) -> SingleAgentEpisode:
        self.__class__ = SingleAgentEpisode
        return self


def _lent(episode: Any) -> Any:
    """A copy that shares arrays; a buffer that appends to one makes another."""
    if type(episode) is not SingleAgentEpisode or not _in_arrays(episode):
        return episode
    made = copy.copy(episode)
    for name in ("observations", "actions", "rewards", "infos"):
        setattr(made, name, _appendable(getattr(episode, name)))
    outputs = episode.extra_model_outputs.items()
    made.extra_model_outputs = {name: _appendable(held) for name, held in outputs}
    made._custom_data = dict(episode.custom_data)
    made.__class__ = _Lent
    return made


def _appendable(held: Any) -> Any:
    """A copy of what an episode holds of one kind; lists are appended to, arrays replaced."""
    made = copy.copy(held)
    if isinstance(made.data, list):
        made.data = list(made.data)
    return made


def _in_arrays(episode: Any) -> bool:
    """Whether observations and actions are plain arrays, and not of a composed space."""
    return isinstance(episode.observations.data, np.ndarray) and isinstance(
        episode.actions.data, np.ndarray
    )


def _columns(rows: Sequence[_Row], steps: int, gamma: float) -> dict[str, NDArray[Any]]:
    """What RLlib's connectors make of the rows."""
    seen, after, acted, rewards, terminated, truncated = [], [], [], [], [], []
    for episode, at, _ in rows:
        length, end = len(episode), at + steps
        buffer = episode.observations
        data, begin = buffer.data, buffer.lookback
        seen.append(data[begin + at])
        after.append(data[begin + min(end, length)])
        buffer = episode.actions
        acted.append(buffer.data[buffer.lookback + at])
        buffer = episode.rewards
        data, begin = buffer.data, buffer.lookback
        reward = float(data[begin + min(end, length) - 1])
        for before in range(min(end, length) - 2, at - 1, -1):
            reward = float(data[begin + before]) + gamma * reward
        rewards.append(reward)
        # RLlib's: where the steps go beyond the end, the row counts as one that goes on.
        terminated.append(end == length and episode.is_terminated)
        truncated.append(end == length and episode.is_truncated)
    return {
        Columns.OBS: np.stack(seen),
        Columns.NEXT_OBS: np.stack(after),
        Columns.ACTIONS: np.stack(acted),
        Columns.REWARDS: np.array(rewards),
        Columns.TERMINATEDS: np.array(terminated),
        Columns.TRUNCATEDS: np.array(truncated),
        "n_step": np.full(len(rows), steps),
        "weights": np.array([row.weight for row in rows]),
    }
