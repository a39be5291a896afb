"""Algorithms that learn from recorded episodes. Ray Data alone takes seconds to start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from prune_search.experiment.file import parse
from prune_search.rllib.configuration.algorithms import algorithm_config
from prune_search.rllib.evaluation.evaluator import Evaluator
from prune_search.rllib.learners import masks as learner
from prune_search.rllib.learners.evidence import STATISTICS
from prune_search.rllib.learners.parameters import optimizers
from prune_search.rllib.learners.schedules import follow
from prune_search.rllib.networks.roles import CRITIC
from prune_search.rllib.running import env_steps, reseed, sync_weights
from tests.algorithms import built, check_zeros, prune
from tests.recorded import record

SCHEDULE = [[0, 0.002], [2000, 0.001]]
RATES = "actor_lr: 0.001, critic_lr: 0.002"
ALGORITHMS = {
    "BC": ("CartPole-v1", f"lr: {SCHEDULE}"),
    "MARWIL": ("CartPole-v1", "lr: 0.002, beta: 0.5"),
    "CQL": ("Pendulum-v1", f"{RATES}, alpha_lr: 0.003, num_actions: 2"),
    "IQL": ("Pendulum-v1", f"{RATES}, value_lr: 0.003, tau: 0.5"),
}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("recorded")
    episodes = {"CartPole-v1": 20, "Pendulum-v1": 2}
    return {name: record(name, count, folder / name) for name, count in episodes.items()}


def small(name: str, recorded: dict[str, Path]) -> Any:
    environment, training = ALGORITHMS[name]
    return parse(
        f"""
environment: {{id: {environment}}}
algorithm:
  name: {name}
  training: {{train_batch_size_per_learner: 32, {training}}}
  model: {{fcnet_hiddens: [16, 16], head_fcnet_hiddens: [12]}}
  offline: {{input_: ["{recorded[environment]}"]}}
evaluation: {{episodes: 4, envs: 2, max_steps: 40}}
resources: {{envs_per_env_runner: 2}}
""",
        [],
    ).trusting()


@pytest.mark.slow
# BC is a MARWIL, IQL another, and CQL reads as SAC does; the matrix has the four, without files.
@pytest.mark.parametrize("name", ["MARWIL"])
def test_masks_hold_over_updates_from_recorded_episodes(
    local_ray: None, tmp_path: Path, recorded: dict[str, Path], name: str
) -> None:
    experiment = small(name, recorded)
    config = algorithm_config(experiment, seed=1)
    with built(config) as algorithm:
        assert env_steps(algorithm) == 0
        algorithm.train()
        steps = env_steps(algorithm)
        assert steps > 0 and steps % 32 == 0
        masks = prune(algorithm, "neuron")
        critic = learner.one(algorithm, lambda held: learner.networks_of(held, units=False))
        assert (CRITIC in critic) == (name != "BC")
        learner.attach(algorithm, frozenset(STATISTICS))
        learner.set_masks(algorithm, masks)
        before = learner.weights(algorithm)
        with learner.frozen(algorithm):
            algorithm.train()
        after = learner.weights(algorithm)
        assert all(torch.equal(before[key], after[key]) for key in before)
        found = learner.evidence(algorithm)
        assert found is not None and set(found["gradient"]) == set(before)
        reseed(algorithm, 3)
        sync_weights(algorithm)
        for _ in range(2):
            algorithm.train()
            check_zeros(algorithm, masks)
        total = env_steps(algorithm)
        if name == "BC":  # RLlib passes no env steps, and would be at the schedule's end by now
            follow(algorithm)
            for _ in range(2):
                rates = learner.one(
                    algorithm, lambda held: [o.param_groups[0]["lr"] for o in optimizers(held)]
                )
                assert rates == [pytest.approx(0.002 - 0.001 * total / 2000)]
                algorithm.train()
            total = env_steps(algorithm)
        assert total >= 3 * steps  # RLlib ends a pass through the data with what is left
        evaluator = Evaluator(algorithm.config, experiment.evaluation)
        evaluator.load(learner.module_state(algorithm))
        returned = evaluator.measure(0, 4)
        assert returned.episodes == 4
        weights, state = learner.weights(algorithm), learner.mask_state(algorithm)
        adaptive = learner.adaptive_state(algorithm)
        algorithm.save_to_path(tmp_path)
    with built(algorithm_config(experiment, seed=1)) as again:
        learner.attach(again)
        again.restore_from_path(tmp_path)
        learner.load_mask_state(again, state)
        learner.load_adaptive_state(again, adaptive)
        assert env_steps(again) == total
        assert learner.adaptive_state(again) == adaptive
        after = learner.weights(again)
        assert all(torch.equal(weights[key], after[key]) for key in weights)
        again.train()
        check_zeros(again, masks)
        assert env_steps(again) > total
