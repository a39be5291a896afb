"""Algorithms that learn from a replay buffer: rounds resume exactly, and an empty one is filled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray.rllib.utils.metrics import NUM_ENV_STEPS_TRAINED_LIFETIME

from prune_search.record import BaselineRecord, StudyFolder
from prune_search.training.algorithm import algorithm_config
from prune_search.training.rounds import REPLAY, TrialRounds
from tests.plans import plan
from tests.training.test_strategies import figures, resumed, run

DQN = (
    "algorithm.name=DQN",
    "algorithm.training={lr: 0.001, train_batch_size_per_learner: 16, training_intensity: 4,"
    " num_steps_sampled_before_learning_starts: 64, target_network_update_freq: 50,"
    " replay_buffer_config: {type: EpisodeReplayBuffer, capacity: 2000}}",
    "algorithm.model={fcnet_hiddens: [16], head_fcnet_hiddens: []}",
)
SAC = (
    "environment.id=Pendulum-v1",
    "algorithm.name=SAC",
    "algorithm.training={train_batch_size_per_learner: 16, training_intensity: 4,"
    " num_steps_sampled_before_learning_starts: 64,"
    " replay_buffer_config: {type: EpisodeReplayBuffer, capacity: 2000}}",
    "algorithm.model={fcnet_hiddens: [16], head_fcnet_hiddens: []}",
)
SHORT = ("evaluation.episodes=4", "evaluation.envs=4", "evaluation.max_steps=100")
CHOSEN = plan(
    schedule="cubic", end=0.6, rounds=3, env_steps=3000, allocation="erk", scope="actor",
    critic_ratio=None,
)  # fmt: skip


def stand_in(experiment: Any, baseline: BaselineRecord, path: Path) -> BaselineRecord:
    """A checkpoint of this algorithm, without its replay buffer, under the figures of another."""
    algorithm = algorithm_config(experiment, seed=5).build_algo()
    algorithm.train()
    algorithm.save_to_path(path / "algorithm")
    algorithm.stop()
    return baseline.model_copy(update={"checkpoint": str(path / "algorithm")})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "origin"), [(DQN, "baseline"), (SAC, "scratch")], ids=["DQN", "SAC"]
)
def test_rounds_with_a_replay_buffer_resume_exactly(
    tiny: Any, baseline: Any, tmp_path: Path, settings: tuple[str, ...], origin: str
) -> None:
    experiment = tiny(*settings, *SHORT)
    chosen = CHOSEN.model_copy(update={"origin": origin})
    start = stand_in(experiment, baseline, tmp_path / "dense")
    whole = run(experiment, folder := StudyFolder(tmp_path, "whole"), start, chosen)
    parts = resumed(experiment, StudyFolder(tmp_path, "parts"), start, chosen)
    assert [figures(point) for point in parts] == [figures(point) for point in whole]
    assert whole[-1].weight_sparsity > 0.5
    # Only the round that a trial would go on from has its buffer.
    kept = [(folder.path / point.checkpoint / REPLAY).is_file() for point in whole]
    assert kept == [False] * (len(whole) - 1) + [True]


def test_an_empty_buffer_is_filled_before_updates(tiny: Any, baseline: Any, tmp_path: Path) -> None:
    experiment = tiny(*DQN, *SHORT)
    start = stand_in(experiment, baseline, tmp_path / "dense")
    rounds = TrialRounds(experiment, StudyFolder(tmp_path, "study"), start, 0, CHOSEN)
    algorithm = rounds._algorithm
    assert algorithm is not None
    before = rounds._start
    assert algorithm.config.num_steps_sampled_before_learning_starts == 64 + before > 64
    key = ("learners", "__all_modules__", NUM_ENV_STEPS_TRAINED_LIFETIME)
    trained = algorithm.metrics.peek(key, default=0)
    algorithm.training_step()
    assert algorithm.metrics.peek(key, default=0) == trained
    rounds.stop()
