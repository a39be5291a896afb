"""Algorithms that learn from a replay buffer: rounds resume exactly, and an empty one is filled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray.rllib.utils.metrics import NUM_ENV_STEPS_TRAINED_LIFETIME

from prune_search.records.checkpoint import REPLAY
from prune_search.records.folder import StudyFolder
from prune_search.records.models import BaselineRecord
from prune_search.rllib.checkpoints import saving
from prune_search.rllib.checkpoints.replay import load_replay, save_replay
from prune_search.rllib.configuration.algorithms import algorithm_config
from prune_search.rllib.learners import masks as learner
from prune_search.rllib.recovery import moments
from prune_search.rllib.running import env_steps
from prune_search.trial.rounds import TrialRounds
from tests.plans import plan
from tests.trial.test_strategies import figures, resumed, run

DQN = (
    "algorithm.name=DQN",
    "algorithm.training={lr: 0.001, train_batch_size_per_learner: 16, training_intensity: 2,"
    " num_steps_sampled_before_learning_starts: 64, target_network_update_freq: 50, n_step: 1,"
    " replay_buffer_config: {type: EpisodeReplayBuffer, capacity: 1500}}",
    "algorithm.model={fcnet_hiddens: [16], head_fcnet_hiddens: []}",
)
N_STEP = "algorithm.training.n_step=3"
PRIORITIZED = "algorithm.training.replay_buffer_config.type=PrioritizedEpisodeReplayBuffer"
SAC = (
    "environment.id=Pendulum-v1",
    "algorithm.name=SAC",
    "algorithm.training={train_batch_size_per_learner: 8, training_intensity: 0.5, n_step: 1,"
    " num_steps_sampled_before_learning_starts: 64,"
    " replay_buffer_config: {type: EpisodeReplayBuffer, capacity: 1500}}",
    "algorithm.model={fcnet_hiddens: [16], head_fcnet_hiddens: []}",
)
FALLING = [[0, 0.002], [6000, 0.0]]
EPSILON = "algorithm.training.epsilon=[[0, 1.0], [4000, 0.02]]"
RATES = tuple(f"algorithm.training.{kind}_lr={FALLING}" for kind in ("actor", "critic", "alpha"))
SHORT = ("evaluation.episodes=4", "evaluation.envs=4", "evaluation.max_steps=100")
CHOSEN = plan(
    schedule="cubic", end=0.6, rounds=3, env_steps=3000, allocation="erk", scope="actor",
    critic_ratio=None,
)  # fmt: skip


def stand_in(
    experiment: Any, baseline: BaselineRecord, path: Path, *, buffer: bool
) -> BaselineRecord:
    """A checkpoint of this algorithm, with or without a buffer, under the figures of another."""
    algorithm = algorithm_config(experiment, seed=5).build_algo()
    algorithm.train()
    saving.save(algorithm, path)
    if not buffer:
        (path / REPLAY).unlink()
    algorithm.stop()
    return baseline.model_copy(update={"checkpoint": str(path / "algorithm")})


def check_buffer(algorithm: Any) -> None:
    """A buffer holds what it counts, and knows each of its steps by one index."""
    buffer = algorithm.local_replay_buffer
    held = sum(len(episode) for episode in buffer.episodes)
    assert held == buffer.get_num_timesteps() == len(buffer._indices) > 0
    assert len(buffer.episode_id_to_index) == len(buffer.episodes)
    if hasattr(buffer, "_tree_idx_to_sample_idx"):
        assert sorted(buffer._tree_idx_to_sample_idx.values()) == list(range(held))


def rewards(algorithm: Any) -> list[tuple[str, list[float]]]:
    """Ids and rewards of the episodes that a buffer holds."""
    return [(each.id_, list(each.get_rewards())) for each in algorithm.local_replay_buffer.episodes]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "origin"),
    [
        ((*DQN, PRIORITIZED, N_STEP, f"algorithm.training.lr={FALLING}", EPSILON), "scratch"),
        ((*SAC, *RATES), "baseline"),
    ],
    ids=["DQN prioritized n-step", "SAC"],
)
def test_rounds_with_a_replay_buffer_resume_exactly(
    tiny: Any, baseline: Any, tmp_path: Path, settings: tuple[str, ...], origin: str
) -> None:
    experiment = tiny(*settings, *SHORT)
    chosen = CHOSEN.model_copy(update={"origin": origin})
    start = stand_in(experiment, baseline, tmp_path / "dense", buffer=True)
    whole = run(experiment, folder := StudyFolder(tmp_path, "whole"), start, chosen)
    parts = resumed(experiment, StudyFolder(tmp_path, "parts"), start, chosen)
    assert [figures(point) for point in parts] == [figures(point) for point in whole]
    assert whole[-1].weight_sparsity > 0.5
    # Only the round that a trial would go on from has its buffer.
    kept = [(folder.path / point.checkpoint / REPLAY).is_file() for point in whole]
    assert kept == [False] * (len(whole) - 1) + [True]


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        "EpisodeReplayBuffer",
        "PrioritizedEpisodeReplayBuffer",
    ],
)
def test_a_buffer_that_is_loaded_replaces_what_was_there(
    tiny: Any, local_ray: None, tmp_path: Path, kind: str
) -> None:
    """RLlib would keep the episodes, and take the other buffer's counts."""
    experiment = tiny(*DQN, f"algorithm.training.replay_buffer_config.type={kind}")
    algorithm = algorithm_config(experiment, seed=5).build_algo()
    for _ in range(3):
        algorithm.training_step()
    save_replay(algorithm, tmp_path / REPLAY)
    saved = rewards(algorithm)
    for _ in range(3):
        algorithm.training_step()
    load_replay(algorithm, tmp_path / REPLAY)
    assert rewards(algorithm) == saved
    check_buffer(algorithm)
    for _ in range(300):  # beyond the buffer's capacity
        algorithm.training_step()
    check_buffer(algorithm)
    algorithm.stop()


@pytest.mark.slow
@pytest.mark.parametrize("rewind", ["initial", "early"])
def test_a_ticket_has_the_buffer_of_its_weights(
    tiny: Any, baseline: Any, tmp_path: Path, rewind: str
) -> None:
    """An empty one at the beginning; learning waits until as much is in it as then."""
    experiment = tiny(*DQN, *SHORT, EPSILON, "baseline.env_steps=4000")
    algorithm = algorithm_config(experiment, seed=5).build_algo()
    moments.keep(algorithm, tmp_path, "initial")
    for _ in range(200):
        algorithm.training_step()
    moments.keep(algorithm, tmp_path, "early")
    early, held = env_steps(algorithm), rewards(algorithm)
    for _ in range(200):
        algorithm.training_step()
    saving.save(algorithm, tmp_path)
    algorithm.stop()
    start = baseline.model_copy(update={"checkpoint": str(tmp_path / "algorithm")})
    chosen = plan(schedule="one_shot", end=None, scope="actor", critic_ratio=None, rewind=rewind)
    rounds = TrialRounds(experiment, StudyFolder(tmp_path, "study"), start, 0, chosen)
    algorithm = rounds.trained.algorithm
    assert algorithm is not None and rewards(algorithm) != held
    now, position = env_steps(algorithm), early if rewind == "early" else 0
    rounds.trained.dynamics.begin(0, [])
    assert rewards(algorithm) == (held if rewind == "early" else [])
    assert algorithm.config.num_steps_sampled_before_learning_starts == 64 + now - position
    (state,) = learner.adaptive_state(algorithm).values()
    assert now - state["default_policy"] == position - (state_then(tmp_path) if position else 0)
    algorithm.training_step()
    (epsilon,) = algorithm.env_runner_group.foreach_env_runner(
        lambda runner: float(runner.module.epsilon_schedule.get_current_value())
    )
    assert epsilon == pytest.approx(1.0 - 0.98 * position / 4000, abs=0.01)
    rounds.stop()


def state_then(folder: Path) -> float:
    """Env step of the last update of the target network, at the moment `early`."""
    return moments.early(folder, 0).adaptive["last_update_ts_by_mid"]["default_policy"]


def test_an_empty_buffer_is_filled_before_updates(tiny: Any, baseline: Any, tmp_path: Path) -> None:
    experiment = tiny(*DQN, *SHORT)
    start = stand_in(experiment, baseline, tmp_path / "dense", buffer=False)
    rounds = TrialRounds(experiment, StudyFolder(tmp_path, "study"), start, 0, CHOSEN)
    algorithm = rounds.trained.algorithm
    assert algorithm is not None
    before = rounds.trained.start
    assert algorithm.config.num_steps_sampled_before_learning_starts == 64 + before > 64
    key = ("learners", "__all_modules__", NUM_ENV_STEPS_TRAINED_LIFETIME)
    trained = algorithm.metrics.peek(key, default=0)
    algorithm.training_step()
    assert algorithm.metrics.peek(key, default=0) == trained
    rounds.stop()
