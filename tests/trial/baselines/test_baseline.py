"""The dense policy: the same whether it was looked at, killed on its way, or neither."""

from __future__ import annotations

import queue
import re
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ray.rllib.algorithms.impala.impala_learner import _GPULoaderThread
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from prune_search.errors import NoBetterThanRandom, UserError
from prune_search.experiment.schema import Experiment
from prune_search.rllib.configuration.algorithms import MODULE_PATH
from prune_search.rllib.learners import masks as learner
from prune_search.rllib.pausing import use_up_batches
from prune_search.rllib.running import TRAINING_SEEDS, env_steps, first_env_seed, reseed
from prune_search.trial.baselines import baseline as module
from prune_search.trial.baselines.baseline import BaselineTrainer
from tests.algorithms import built, experiment, small
from tests.faults.environments import faulty

SHORT = ("baseline.env_steps=1200", "evaluation.episodes=4", "evaluation.envs=4")
BATCHES = {
    "ppo": ("algorithm.training.train_batch_size_per_learner=200",),
    "dqn": ("algorithm.training.training_intensity=1",),
}
LOOKED_AT = ("baseline.until_return=1e6", "evaluation.actions=sampled")


@pytest.fixture
def short_legs(monkeypatch: pytest.MonkeyPatch) -> None:
    """States are kept every 400 env steps, of two environments."""
    monkeypatch.setattr(module, "_LEAST_OF_A_LEG", 200)
    monkeypatch.setattr(module, "_SAVE_EVERY_S", 0.0)


def trained(settings: Experiment, storage: Path, stop_at: float = np.inf) -> BaselineTrainer:
    """A trainer at its end, or where it was killed."""
    trainer = BaselineTrainer(storage, settings)
    while not trainer.step().done and env_steps(trainer._algorithm) < stop_at:
        pass
    return trainer


def weights(trainer: BaselineTrainer) -> dict[str, torch.Tensor]:
    found = learner.weights(trainer._algorithm)
    trainer._algorithm.stop()
    return found


@pytest.mark.parametrize("name", ["ppo", pytest.param("dqn", marks=pytest.mark.slow)])
def test_neither_looks_nor_a_kill_change_a_baseline(
    local_ray: None, tmp_path: Path, short_legs: None, name: str
) -> None:
    changes = (*SHORT, *BATCHES[name])
    settings = experiment(name, *changes)
    undisturbed = weights(trained(settings, tmp_path / "a"))
    looked_at = weights(trained(experiment(name, *changes, *LOOKED_AT), tmp_path / "b"))
    trained(settings, tmp_path / "c", stop_at=1000)._algorithm.stop()
    torch.manual_seed(0)
    taken_up = BaselineTrainer(tmp_path / "c", settings)
    assert 0 < env_steps(taken_up._algorithm) < 1100
    assert taken_up._train_s > 0
    taken_up._algorithm.stop()
    killed = weights(trained(settings, tmp_path / "c"))
    for other in (looked_at, killed):
        assert all(torch.equal(value, other[name]) for name, value in undisturbed.items())


def test_one_no_better_than_random_is_told_kept_and_trained_on(
    local_ray: None, tmp_path: Path
) -> None:
    settings = experiment("ppo", *SHORT, "algorithm.training.lr=1e-9")
    trainer, notes = BaselineTrainer(tmp_path, settings), []
    while not (state := trainer.step()).done:
        notes += [state.note] if state.note else []
    assert len(notes) == 1 and "no better than random actions" in notes[0]
    before = learner.weights(trainer._algorithm)
    steps = env_steps(trainer._algorithm)
    with pytest.raises(
        NoBetterThanRandom, match=f"{steps:,} env steps; .* another 1,200: it is kept in"
    ):
        trainer.finish()
    again = BaselineTrainer(tmp_path, settings)
    after = learner.weights(again._algorithm)
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not again.step().done
    assert env_steps(again._algorithm) > steps
    again._algorithm.stop()


def test_one_that_chance_could_have_brought_about_is_kept_with_a_note(
    local_ray: None, tmp_path: Path
) -> None:
    """Two episodes each, of a policy that has hardly learned."""
    changes = ("algorithm.training.lr=1e-9", "evaluation.episodes=2", "evaluation.actions=sampled")
    for seed in range(20):
        settings = experiment("ppo", "baseline.env_steps=64", *changes, f"baseline.seed={seed}")
        try:
            *_, record = module.train_baseline(tmp_path, settings)
            break
        except NoBetterThanRandom:
            continue
    assert record.random.value < record.returned.value and record.returned.low <= record.random.high
    assert len(record.notes) == 1 and "retention is mostly noise" in record.notes[0]
    kept = module.baseline_folder(tmp_path, settings).record()
    assert kept is not None and kept.notes == record.notes


NAN = "environment: step() returned a reward that is not finite"
LOSS = "baseline: its training has failed: the loss of default_policy is not finite"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ((), NAN),
        (("resources.runner=rllib",), LOSS),
        pytest.param(("resources.env_runners=1",), NAN, marks=pytest.mark.slow),
    ],
    ids=["lean", "rllib", "in a process of its own"],
)
def test_one_trained_on_rewards_that_are_not_finite_is_refused_and_not_kept(
    local_ray: None, tmp_path: Path, changes: tuple[str, ...], told: str
) -> None:
    """RLlib sets the gradients that come of them to zero, and goes on."""
    mark = tmp_path / "mark"
    mark.write_text("nan_reward training")
    settings = experiment("ppo", *SHORT, *faulty(mark), *changes)
    with pytest.raises(UserError, match=re.escape(told)) as raised:
        list(module.train_baseline(tmp_path, settings))
    assert not isinstance(raised.value, NoBetterThanRandom)
    assert not mark.exists()  # it was met
    folder = module.baseline_folder(tmp_path, settings)
    assert folder.record() is None and not folder.partial.exists()


def test_a_reward_that_is_not_finite_is_named_in_the_measurement(
    local_ray: None, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    settings = experiment("ppo", *SHORT, *faulty(mark))
    mark.write_text("nan_reward evaluation")
    with pytest.raises(UserError, match=re.escape(NAN)):
        list(module.train_baseline(tmp_path, settings))


@pytest.mark.parametrize("name", ["appo", "impala"])
def test_what_is_recorded_is_what_is_saved(local_ray: None, tmp_path: Path, name: str) -> None:
    """Also where batches wait for a learner's thread when training ends."""
    settings = experiment(name, "baseline.env_steps=400", "evaluation.episodes=2")
    trainer = trained(settings, tmp_path)
    try:
        path = Path(trainer.finish().checkpoint)
    except NoBetterThanRandom:  # which is saved as well
        path = trainer._folder.partial / "algorithm"
    saved = dict(RLModule.from_checkpoint(path / MODULE_PATH).named_parameters())
    measured = trainer._evaluator.named_parameters()
    assert all(torch.equal(value, saved[name]) for name, value in measured.items())


def test_a_batch_on_its_way_to_the_device_is_waited_for() -> None:
    class Batch:
        def to_device(self, *_: Any, **__: Any) -> Batch:
            time.sleep(0.2)
            return self

    arrived, incoming, outgoing = [], queue.Queue(), queue.Queue()
    loader = _GPULoaderThread(
        in_queue=incoming, out_queue=outgoing, device=None, metrics_logger=MetricsLogger()
    )

    def update() -> None:
        while (item := outgoing.get()) is not None:
            time.sleep(0.1)
            arrived.append(item)
            del item

    worker = threading.Thread(target=update, daemon=True)
    worker._in_queue = outgoing
    loader.start()
    worker.start()
    held = SimpleNamespace(
        _gpu_loader_in_queue=incoming, _gpu_loader_threads=[loader], _learner_thread=worker
    )
    incoming.put((Batch(), {}))
    while incoming.qsize():  # the loader has it in hand
        time.sleep(0.001)
    use_up_batches(held)
    assert len(arrived) == 1
    outgoing.put(None)


@given(st.integers(0, 2**32 - 1), st.integers(0, 50), st.integers(1, 70), st.integers(1, 10**6))
def test_env_seeds_of_a_round_are_apart(seed: int, runners: int, envs: int, step: int) -> None:
    def block(seed: int) -> list[int]:
        firsts = [first_env_seed(seed, runner, runners, envs) for runner in range(runners + 1)]
        return [first + number for first in firsts for number in range(envs)]

    own = block(seed)
    assert len(set(own)) == len(own) == (runners + 1) * envs
    assert min(own) >= 0 and max(own) < TRAINING_SEEDS
    blocks = TRAINING_SEEDS // (1 << (len(own) - 1).bit_length())
    if step % blocks:
        assert not set(own) & set(block(seed + step))


@pytest.mark.slow
def test_environments_of_all_env_runners_have_seeds_of_their_own(local_ray: None) -> None:
    config = small("ppo", "resources.env_runners=2", "resources.envs_per_env_runner=3")
    with built(config) as algorithm:
        reseed(algorithm, 7)
        algorithm.train()
        seeds = algorithm.env_runner_group.foreach_env_runner(
            lambda runner: list(runner.env.unwrapped.np_random_seed), local_env_runner=False
        )
    found = [seed for of_one in seeds for seed in of_one]
    assert len(set(found)) == len(found) == 6
