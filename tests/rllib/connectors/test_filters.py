"""Observation filters learn from training, and from nothing else; what they learned is kept."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.connectors.env_to_module import MeanStdFilter

from prune_search.errors import UserError
from prune_search.records.folder import StudyFolder
from prune_search.rllib.configuration.algorithms import algorithm_config
from prune_search.rllib.connectors.policy_parts import observation_filter
from prune_search.rllib.evaluation.checkpoint_meter import CheckpointMeter
from prune_search.rllib.evaluation.evaluator import Evaluator, evaluation_seeds, runner_state
from prune_search.rllib.learners import masks as learner
from prune_search.trial.algorithm import measure
from prune_search.trial.baselines.baseline import BaselineTrainer
from prune_search.trial.rounds import TrialRounds
from tests.algorithms import built, experiment, small
from tests.plans import plan
from tests.rllib.configuration.test_multi_agent import pursuit
from tests.rllib.configuration.test_multi_agent import small as small_pursuit


class Drift(ConnectorV2):
    """Moves observations by how often it was called: state without a switch that holds it."""

    calls = 0

    def __call__(self, *, batch: Any, episodes: Any, **_: Any) -> Any:
        self.calls += 1
        for episode in self.single_agent_episode_iterator(episodes):
            seen = episode.get_observations(-1) + np.float32(self.calls % 7 - 3)
            episode.set_observations(at_indices=-1, new_data=seen)
        return batch

    def get_state(self, components: Any = None, **_: Any) -> dict[str, Any]:
        return {"calls": self.calls}

    def set_state(self, state: dict[str, Any]) -> None:
        self.calls = state["calls"]


LIMITS = ("evaluation.envs=3", "evaluation.max_steps=60", "evaluation.episodes=5")
CASES = {
    "filter": (small, experiment, ("ppo",), MeanStdFilter),
    "agents": (small_pursuit, pursuit, (), lambda: MeanStdFilter(multi_agent=True)),
    "other": (small, experiment, ("ppo",), Drift),
}


@pytest.mark.parametrize("case", CASES)
def test_measuring_teaches_connectors_nothing(local_ray: None, tmp_path: Path, case: str) -> None:
    """An episode's return is the same alone, among others and from the checkpoint."""
    make, described, name, connector = CASES[case]
    settings = described(*name, *LIMITS)
    config = make(*name)
    config.env_runners(env_to_module_connector=lambda env, spaces, device: connector())
    with built(config) as algorithm:
        algorithm.train()
        held = runner_state(algorithm)
        evaluator = Evaluator(algorithm.config, settings.evaluation)
        evaluator.load(learner.module_state(algorithm), held)
        for weight in evaluator.named_parameters().values():
            weight.data += 0.5 * torch.randn(
                weight.shape, generator=torch.Generator().manual_seed(1)
            )
        seeds = evaluation_seeds(0, 9)
        returns = evaluator.returns(seeds).tolist()
        assert evaluator.returns(seeds).tolist() == returns
        assert evaluator.returns(seeds[6:]).tolist() == returns[6:]
        assert repr(runner_state(algorithm)) == repr(held)
        measured = measure(algorithm, evaluator, settings.evaluation)
        algorithm.save_to_path(tmp_path)
    saved = described(*name, *LIMITS, f"baseline.checkpoint={tmp_path}").trusting()
    again = CheckpointMeter(saved).measure(tmp_path, 0, settings.evaluation.episodes)
    assert again.returned == measured


ASKED = "algorithm.env_runners.observation_filter=MeanStdFilter"


def seen(algorithm: Any) -> int:
    """How many observations the filter has learned from."""
    first = algorithm.env_runner._env_to_module.connectors[0]
    assert type(first) is MeanStdFilter
    first.get_state()  # which makes the filter where nothing was seen
    return int(observation_filter(first).running_stats.num_pushes)


@pytest.mark.parametrize("origin", ["baseline", pytest.param("scratch", marks=pytest.mark.slow)])
def test_a_filter_that_the_file_asks_for_is_the_policy_s(
    local_ray: None, tmp_path: Path, origin: str
) -> None:
    """Learned in the baseline's training, and on in trials that start from it; sampled leanly."""
    learning = ("baseline.env_steps=2000", "algorithm.training.lr=0.003")
    settings = experiment(
        "ppo", ASKED, *LIMITS, *learning, "pruning.floor=0", f"pruning.origin={origin}"
    )
    trainer = BaselineTrainer(tmp_path, settings)
    while not trainer.step().done:
        pass
    baseline, folder = trainer.finish(), StudyFolder(tmp_path, "study")
    trainer.stop()
    assert baseline.sampled_by == baseline.updated_by == "lean"
    chosen = plan(origin=origin, schedule="one_shot", rounds=1, env_steps=64, ratio=0.3)
    rounds = TrialRounds(settings, folder, baseline, 1, chosen)
    assert rounds.trained is not None
    algorithm = rounds.trained.algorithm
    before = seen(algorithm)
    assert (before >= baseline.env_steps) is (origin == "baseline")
    point = rounds.step()
    assert seen(algorithm) >= before + 64
    rounds.stop()
    again = CheckpointMeter(settings, tmp_path).measure(
        folder.path / point.checkpoint / "algorithm", 0, settings.evaluation.episodes
    )
    assert again.returned == point.returned


def test_a_filter_that_would_be_another_s_is_refused(tmp_path: Path) -> None:
    given = experiment("ppo", ASKED, f"baseline.checkpoint={tmp_path}").trusting()
    with built(small("ppo")) as algorithm:
        algorithm.save_to_path(tmp_path)
    with pytest.raises(UserError, match="comes with its own connectors"):
        algorithm_config(given, 0)


def test_sampled_actions_explore_as_the_policy_does_by_then(local_ray: None) -> None:
    """At the end of its schedule, epsilon is 0, and sampled actions are the greedy ones."""
    epsilon = "algorithm.training.epsilon=[[0, 1.0], [20, 0.0]]"
    returns = []
    with built(small("dqn", epsilon)) as algorithm:
        algorithm.train()
        for actions in ("greedy", "sampled"):
            settings = experiment("dqn", f"evaluation.actions={actions}", *LIMITS)
            evaluator = Evaluator(algorithm.config, settings.evaluation)
            returns.append(measure(algorithm, evaluator, settings.evaluation).each)
    assert returns[0] == returns[1]


def test_a_measurement_leaves_the_random_numbers_of_the_process(algorithm: Any, tiny: Any) -> None:
    def drawn() -> tuple[float, float, float]:
        return random.random(), float(np.random.random()), float(torch.rand(()))

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    expected = drawn()
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    evaluator = Evaluator(algorithm.config, tiny("evaluation.actions=sampled").evaluation)
    evaluator.load(learner.module_state(algorithm))
    first = evaluator.returns(evaluation_seeds(0, 3))
    assert drawn() == expected
    assert evaluator.returns(evaluation_seeds(0, 3)).tolist() == first.tolist()
