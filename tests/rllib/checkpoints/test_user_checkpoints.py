"""Checkpoints of the user's own RLlib, and files that are none."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.env_to_module import FlattenObservations
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

from prune_search.errors import UserError
from prune_search.experiment.file import parse
from prune_search.records.folder import StudyFolder
from prune_search.rllib.configuration.algorithms import algorithm_config
from prune_search.rllib.configuration.environments import environment_for
from prune_search.rllib.evaluation.checkpoint_meter import CheckpointMeter
from prune_search.trial.baselines.baseline import BaselineTrainer
from prune_search.trial.preflight import check
from prune_search.trial.rounds import TrialRounds
from tests.plans import plan

USERS = """
environment: {{id: "{id}", config: {{sees: dict}}}}
baseline: {{checkpoint: "{path}"}}
pruning: {{granularity: weight, criterion: magnitude, env_steps: 128, floor: 0}}
evaluation: {{episodes: 4, envs: 4}}
resources: {{envs_per_env_runner: 4}}
"""
RUNNERS = "{{environment: {{id: {id}}}, algorithm: {{env_runners: {{{settings}}}}}}}"


def users(path: Path, *overrides: str, id: str = "tests.environments:AnyKind-v0") -> Any:
    return parse(USERS.format(path=path, id=id), list(overrides)).trusting()


def rllibs(env: Any = "tests.environments:AnyKind-v0", **runners: Any) -> AlgorithmConfig:
    """As a user of RLlib's writes it, who knows nothing of this package."""
    config = PPOConfig().environment(env, env_config={"sees": "dict"})
    config.env_runners(num_env_runners=0, num_envs_per_env_runner=4, **runners)
    config.rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[8], head_fcnet_hiddens=[8]))
    return config.training(
        lr=0.02, train_batch_size_per_learner=128, minibatch_size=64, num_epochs=4
    )


def test_a_checkpoints_own_connectors_are_taken(
    built: Callable[[AlgorithmConfig], Algorithm], tmp_path: Path
) -> None:
    """A Dict environment that only they make fit; its id imports a module."""
    theirs = built(rllibs(env_to_module_connector=lambda *_: FlattenObservations()))
    for _ in range(4):
        theirs.train()
    theirs.save_to_path(tmp_path / "theirs")

    experiment = users(tmp_path / "theirs", f"storage={tmp_path}")
    check(experiment)
    trainer = BaselineTrainer(tmp_path, experiment)
    assert trainer.step().done
    baseline, folder = trainer.finish(), StudyFolder(tmp_path, "study")
    assert baseline.wrappers == []
    assert "RLlib's env runner" in baseline.notes[-1] and "connector" in baseline.notes[-1]
    chosen = plan(schedule="one_shot", rounds=1, env_steps=128, ratio=0.3)
    rounds = TrialRounds(experiment, folder, baseline, 1, chosen)
    point = rounds.step()
    rounds.stop()
    checkpoint = folder.path / point.checkpoint / "algorithm"
    meter = CheckpointMeter(experiment, tmp_path)
    assert meter.measure(checkpoint, 0, 4).returned == point.returned


def test_a_checkpoint_of_ours_knows_its_wrappers(
    built: Callable[[AlgorithmConfig], Algorithm], tmp_path: Path
) -> None:
    """What was converted by itself is converted again; wrappers that differ are refused."""
    text = USERS.replace('baseline: {{checkpoint: "{path}"}}', "")
    flat = "{name: gymnasium.wrappers.FlattenObservation}"
    reward = "{name: gymnasium.wrappers.ClipReward, kwargs: {max_reward: 1}}"
    id = "tests.environments:AnyKind-v0"
    ours = parse(text.format(id=id))
    built(algorithm_config(ours, seed=1)).save_to_path(tmp_path / "ours")
    check(users(tmp_path / "ours"))
    check(users(tmp_path / "ours", f"environment.wrappers=[{flat}]"))
    with pytest.raises(UserError, match=r"environment.wrappers: .* was trained with gymnasium"):
        check(users(tmp_path / "ours", f"environment.wrappers=[{flat}, {reward}]"))


@pytest.mark.parametrize(
    ("name", "inside", "told"),
    [
        ("ppo.zip", ["data", "policy.pth", "_stable_baselines3_version"], "Stable-Baselines3"),
        ("ppo.cleanrl_model", None, "a model of CleanRL"),
        ("agent.pt", None, "a torch file, as CleanRL and others write them"),
        ("notes.txt", None, "RLlib's checkpoints are folders, this is a file"),
    ],
)
@pytest.mark.parametrize("folder", [False, True])
def test_files_of_other_libraries_are_told_apart(
    tmp_path: Path, name: str, inside: list[str] | None, told: str, folder: bool
) -> None:
    """Also where the folder that holds one is given."""
    if inside is None:
        (tmp_path / name).write_bytes(b"x")
    else:
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for item in inside:
                archive.writestr(item, "")
    with pytest.raises(UserError) as error:
        check(users(tmp_path if folder else tmp_path / name))
    if folder and name == "notes.txt":
        told = "is not a readable checkpoint"
    assert str(error.value).startswith("baseline.checkpoint: ") and told in str(error.value)


def test_an_id_may_import_its_module(tmp_path: Path) -> None:
    settings = users(tmp_path).environment
    assert environment_for(settings, convert=False) == "tests.environments:AnyKind-v0"
    wrong = settings.model_copy(update={"id": "tests.environments:Nothing-v0"})
    with pytest.raises(UserError, match=r"environment.id: unknown 'tests.environments:Nothing-v0'"):
        environment_for(wrong)
    wrong = settings.model_copy(update={"id": "tests.nowhere:AnyKind-v0"})
    with pytest.raises(UserError, match=r"environment.id: cannot import 'tests.nowhere'"):
        environment_for(wrong)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("num_env_runners: 2", "num_env_runners: can't be set here; set resources.env_runners"),
        ("num_envs_per_env_runner: 2", "set resources.envs_per_env_runner"),
        ("env_to_module_connector: x", "environment.wrappers, or give a baseline.checkpoint"),
        ("observation_filter: Kalman", "must be MeanStdFilter or NoFilter, got 'Kalman'"),
        ("num_rollout_workers: 2", "unknown 'num_rollout_workers'"),
        ("batch_mode: whole", "algorithm.env_runners: "),
    ],
)
def test_settings_of_env_runners_that_are_not_the_files(settings: str, told: str) -> None:
    with pytest.raises(UserError) as error:
        algorithm_config(parse(RUNNERS.format(id="CartPole-v1", settings=settings)), 0)
    assert told in str(error.value)


def test_vectors_of_environments_that_wrappers_cannot_reach_are_refused() -> None:
    given = RUNNERS.format(id="Taxi-v3", settings="gym_env_vectorize_mode: vector_entry_point")
    with pytest.raises(UserError, match=r"gym_env_vectorize_mode: vector_entry_point takes"):
        algorithm_config(parse(given), 0)


def test_settings_of_env_runners_reach_rllib() -> None:
    given = "batch_mode: complete_episodes, normalize_actions: false, sample_timeout_s: 5"
    config = algorithm_config(parse(RUNNERS.format(id="Pendulum-v1", settings=given)), 0)
    assert config.batch_mode == "complete_episodes" and config.sample_timeout_s == 5
    assert config.normalize_actions is False and config.num_envs_per_env_runner == 16
