"""Returns: held out, unbiased towards short episodes, the same for the same seeds."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prune_search.rllib.configuration.algorithms import algorithm_config
from prune_search.rllib.evaluation.evaluator import LOOK, Evaluator, evaluation_seeds
from prune_search.rllib.learners import masks as learner
from prune_search.rllib.running import TRAINING_SEEDS


@given(st.integers(LOOK, 9999), st.integers(LOOK, 9999), st.integers(1, 500))
def test_seeds_are_held_out_and_disjoint(first: int, second: int, episodes: int) -> None:
    a, b = evaluation_seeds(first, episodes), evaluation_seeds(second, episodes)
    assert min(a) > TRAINING_SEEDS and max(a) < 2**31
    assert (first == second) or not set(a) & set(b)
    assert len(set(a)) == episodes


@pytest.mark.parametrize(("seed", "episodes"), [(-2, 5), (10_000, 5), (0, 0), (0, 100_001)])
def test_seeds_out_of_range_are_refused(seed: int, episodes: int) -> None:
    with pytest.raises(ValueError, match=r"0\.\.9999"):
        evaluation_seeds(seed, episodes)


def test_returns_are_those_of_a_plain_gymnasium_loop(tiny: Any, algorithm: Any) -> None:
    """One whole episode for each seed, in order, whichever ends first."""
    experiment = tiny("evaluation.envs=4")
    evaluator = Evaluator(algorithm_config(experiment, seed=0), experiment.evaluation)
    # A policy whose episodes differ in length.
    evaluator.load(learner.module_state(algorithm))
    for weight in evaluator.named_parameters().values():
        weight.data += 0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(3))
    seeds = evaluation_seeds(0, 7)
    module = evaluator._runner.module
    expected = []
    for seed in seeds:
        environment = gym.make("CartPole-v1")
        observation, _ = environment.reset(seed=seed)
        total, ended = 0.0, False
        while not ended:
            batch = {"obs": torch.as_tensor(observation).unsqueeze(0)}
            logits = module.forward_inference(batch)["action_dist_inputs"]
            observation, reward, terminated, truncated, _ = environment.step(int(logits.argmax()))
            total, ended = total + float(reward), terminated or truncated
        expected.append(total)
    assert len(set(expected)) > 1
    assert evaluator.returns(seeds).tolist() == expected
    assert evaluator.returns(seeds).tolist() == expected  # and again
    assert evaluator.returns(seeds[2:3]).tolist() == expected[2:3]  # and alone


def test_random_actions_are_reproducible_and_bad(tiny: Any) -> None:
    experiment = tiny()
    evaluator = Evaluator(algorithm_config(experiment, seed=0), experiment.evaluation)
    first, again = (evaluator.measure(0, 20, random=True) for _ in range(2))
    assert first == again
    assert 10 < first.value < 40


@pytest.mark.parametrize(("random", "most"), [(False, 9), (True, 20)])
def test_max_steps_cuts_episodes(tiny: Any, random: bool, most: int) -> None:
    """Exactly there, whatever others have ended before; each step pays 1."""
    returns = []
    for limit in (100_000, most):
        experiment = tiny(f"evaluation.max_steps={limit}")
        evaluator = Evaluator(algorithm_config(experiment, seed=0), experiment.evaluation)
        weights = torch.Generator().manual_seed(3)
        for weight in evaluator.named_parameters().values():
            weight.data = torch.randn(weight.shape, generator=weights)
        returns.append(evaluator.returns(evaluation_seeds(0, 18), random=random))
    assert returns[0].min() < most < returns[0].max()
    assert returns[1].tolist() == returns[0].clip(max=most).tolist()
