"""Batches that are drawn into arrays are RLlib's, and so is what its buffer holds and tells."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger
from ray.rllib.utils.replay_buffers.episode_replay_buffer import EpisodeReplayBuffer
from ray.rllib.utils.replay_buffers.prioritized_episode_buffer import (
    PrioritizedEpisodeReplayBuffer,
)

from prune_search.rllib.checkpoints.replay import empty_replay, load_replay, save_replay
from prune_search.rllib.runners.replay import Drawn, is_lean
from tests.algorithms import built, small
from tests.rllib.runners.test_update import figures

SIZE = 48


def batch_of(learner: Any, episodes: Any) -> dict[str, torch.Tensor]:
    made = learner._make_batch_if_necessary(TrainingData(episodes=episodes))
    assert made.env_steps() == len(episodes)
    (batch,) = made.policy_batches.values()
    return dict(batch)


def states(episode: Any) -> dict[str, Any]:
    return {
        "observations": episode.get_observations(),
        "actions": episode.get_actions(),
        "rewards": episode.get_rewards(),
        "infos": [sorted(info) for info in episode.get_infos()],
        "ends": [episode.t_started, episode.t, episode.is_terminated, episode.is_truncated],
    }


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, dict):
        return ours.keys() == theirs.keys() and all(same(ours[k], theirs[k]) for k in ours)
    if isinstance(ours, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return bool(np.array_equal(ours, theirs))


def a_buffer(kind: str) -> str:
    return f"algorithm.training.replay_buffer_config={{type: {kind}, capacity: 400}}"


@pytest.mark.parametrize(
    "name",
    [
        "dqn",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("dqn-images", "sac")),
    ],
)
@pytest.mark.parametrize("kind", [EpisodeReplayBuffer, PrioritizedEpisodeReplayBuffer])
def test_batches_and_buffer_are_rllibs(local_ray: None, name: str, kind: Any) -> None:
    """Of one step and of several, some beyond an episode's end; parts of episodes are joined, and
    old ones go."""
    with built(small(name, a_buffer(kind.__name__))) as algorithm:
        learner, lean = algorithm.learner_group._learner, algorithm.local_replay_buffer
        assert type(lean) is kind
        stock = kind(capacity=400)
        stock._alpha = getattr(lean, "_alpha", None)
        lean.rng, stock.rng = np.random.default_rng(3), np.random.default_rng(3)
        random = np.random.default_rng(5)
        for _ in range(8):
            sampled = algorithm.env_runner.sample(num_timesteps=100)
            before = copy.deepcopy(sampled)
            stock.add(sampled)
            lean.add(sampled)
            assert same(*([states(one) for one in each] for each in (before, sampled)))
            for steps in (1, 3, 7):
                asked = {"n_step": steps, "gamma": 0.97, "sample_episodes": True, "beta": 0.4}
                drawn = lean.sample(num_items=SIZE, **asked)
                expected = stock.sample(num_items=SIZE, **asked)
                assert isinstance(drawn, Drawn) and len(drawn) == len(expected)
                ours, theirs = batch_of(learner, drawn), batch_of(learner, expected)
                assert ours.keys() == theirs.keys()
                for column, value in theirs.items():
                    assert value.dtype == ours[column].dtype, column
                    assert torch.equal(value, ours[column]), column
                assert lean.rng.bit_generator.state == stock.rng.bit_generator.state
                assert lean._last_sampled_indices == stock._last_sampled_indices
                assert lean.get_metrics().keys() == stock.get_metrics().keys()
                if kind is PrioritizedEpisodeReplayBuffer:
                    weights = random.uniform(0.1, 2.0, SIZE)
                    lean.update_priorities(weights, DEFAULT_MODULE_ID)
                    stock.update_priorities(weights, DEFAULT_MODULE_ID)
        assert same(*([states(one) for one in each.episodes] for each in (lean, stock)))
        assert lean._indices == stock._indices and stock._num_episodes_evicted


@pytest.mark.slow
def test_what_dqn_does_not_ask_for_is_rllibs(local_ray: None) -> None:
    with built(small("dqn")) as algorithm:
        buffer = algorithm.local_replay_buffer
        buffer.add(algorithm.env_runner.sample(num_timesteps=60))
        for asked in ({"n_step": (1, 4)}, {"n_step": 1, "include_extra_model_outputs": True}):
            found = buffer.sample(num_items=4, gamma=0.9, beta=0.4, sample_episodes=True, **asked)
            assert isinstance(found, list) and len(found) == 4


@pytest.mark.slow
def test_figures_of_several_samples_come_at_once(local_ray: None) -> None:
    """They are those of all, whatever is looked at between."""
    with built(small("dqn")) as algorithm:
        lean = algorithm.local_replay_buffer
        stock = PrioritizedEpisodeReplayBuffer(capacity=lean.capacity)
        lean.rng, stock.rng = np.random.default_rng(3), np.random.default_rng(3)
        lean.sample.__self__._times = 3
        sampled = algorithm.env_runner.sample(num_timesteps=60)
        told = []
        for buffer in (lean, stock):
            buffer.add(sampled)
            whole = MetricsLogger(root=True)  # as an algorithm has one
            for _ in range(3):
                buffer.sample(num_items=SIZE, n_step=1, gamma=0.9, beta=0.4, sample_episodes=True)
                whole.aggregate([buffer.get_metrics()], key="buffer")
            told.append(figures(whole.peek()["buffer"]))
        ours, theirs = told
        assert ours == pytest.approx(theirs, nan_ok=True) and "/num_env_steps_sampled" in ours


def test_a_buffer_in_its_place_is_lean_too(local_ray: None, tmp_path: Path) -> None:
    """As trials begin with an empty one, and go on with one that was kept."""
    with built(small("dqn")) as algorithm:
        algorithm.train()
        learner = algorithm.learner_group._learner
        hook = learner._make_batch_if_necessary
        save_replay(algorithm, tmp_path / "replay")
        held = [states(one) for one in algorithm.local_replay_buffer.episodes]
        empty_replay(algorithm)
        assert is_lean(algorithm.local_replay_buffer) and not algorithm.local_replay_buffer.episodes
        assert load_replay(algorithm, tmp_path / "replay")
        assert is_lean(algorithm.local_replay_buffer)
        assert same([states(one) for one in algorithm.local_replay_buffer.episodes], held)
        assert learner._make_batch_if_necessary is hook
        algorithm.train()
    with built(small("dqn", "resources.runner=rllib")) as algorithm:
        empty_replay(algorithm)
        assert not is_lean(algorithm.local_replay_buffer)
