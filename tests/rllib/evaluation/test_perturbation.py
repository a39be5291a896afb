"""Tasks made harder while a policy is measured: what is changed, and what stays as it was."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from prune_search.errors import UserError
from prune_search.experiment.file import load, parse
from prune_search.rllib.configuration.algorithms import algorithm_config
from prune_search.rllib.configuration.environments import environment_for, make_environment
from prune_search.rllib.evaluation.perturbation import perturbation, perturbed
from tests.rllib.evaluation.test_lean import check_same, evaluation, pair, with_wrapper


def made(text: str, experiment: Any = None) -> gym.Env[Any, Any]:
    """CartPole, or another experiment's environment, under a change."""
    harder = perturbed(experiment or load("cartpole"), perturbation(text)).environment
    return make_environment(harder, environment_for(harder, convert=False))


def played(environment: gym.Env[Any, Any], seed: int, steps: int = 9) -> tuple[Any, Any]:
    """What is observed, and in which states the environment itself is, under the same actions."""
    seen, states = [environment.reset(seed=seed)[0]], [environment.unwrapped.state]
    for step in range(steps):
        seen.append(environment.step(step % 2)[0])
        states.append(environment.unwrapped.state)
    return np.array(seen), np.array(states)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nose=0.1", "did you mean noise?"),
        ("noise", "must be NAME=VALUE"),
        ("noise=loud", "'noise=loud' must give a number from 0 to 100"),
        ("sticky=2", "must give a number from 0 to 1"),
        ("delay=0.5", "must give a whole number from 1 to 1000"),
        ("physics=2", "unknown"),
        ("physics.=2", "must be NAME=VALUE"),
        ("gravity=2", "unknown"),
        ("", "unknown"),
    ],
)
def test_mistakes_are_one_line(text: str, message: str) -> None:
    with pytest.raises(UserError) as refused:
        perturbation(text)
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_noise_is_a_share_of_each_components_own_and_the_task_stays_as_it_was() -> None:
    plain, noisy = made("delay=1,noise=0"), made("noise=0.5")
    assert np.array_equal(played(plain, 5)[1], played(noisy, 5)[1])
    seen, states = played(noisy, 5)
    assert np.array_equal(seen, played(noisy, 5)[0]) and not np.allclose(seen, states)
    assert not np.allclose(seen - states, played(noisy, 6)[0] - played(noisy, 6)[1])
    gaps = np.concatenate([np.subtract(*played(noisy, seed)) for seed in range(300)])
    wide = make_environment(load("cartpole").environment, "CartPole-v1")
    wide.action_space.seed(0)
    random = []
    for seed in range(500):
        observation, over = wide.reset(seed=seed)[0], False
        while not over:
            observation, _, terminated, truncated, _ = wide.step(wide.action_space.sample())
            random.append(observation)
            over = terminated or truncated
    np.testing.assert_allclose(np.std(gaps, axis=0), 0.5 * np.std(random, axis=0), rtol=0.1)


def test_delayed_observations_and_sticky_actions_are_gymnasiums() -> None:
    seen, states = played(made("delay=2"), 3)
    assert (seen[:2] == 0).all()
    np.testing.assert_allclose(seen[2:], states[:-2], rtol=1e-6)
    free, stuck = played(made("noise=0"), 3)[1], played(made("sticky=0.5"), 3)[1]
    assert not np.allclose(free, stuck)


def test_physics_and_arguments() -> None:
    heavy = made("physics.gravity=2,config.sutton_barto_reward=true")
    assert heavy.unwrapped.gravity == pytest.approx(2 * 9.8)
    assert heavy.unwrapped._sutton_barto_reward is True
    with pytest.raises(UserError, match=r"no number gravitas; there are: .*gravity"):
        made("physics.gravitas=2")
    with pytest.raises(UserError, match="cannot make"):
        made("config.wings=2")


def test_noise_is_refused_for_observations_of_whole_numbers() -> None:
    bytes_ = parse(
        """
environment: {id: AnyKind-v0, modules: [tests.environments]}
algorithm: {training: {}, model: {fcnet_hiddens: [8]}}
""",
        ["environment.config={sees: bytes, does: from_one}"],
    )
    with pytest.raises(UserError, match="noise is for observations of real numbers"):
        perturbed(bytes_, perturbation("noise=0.1"))


@pytest.mark.parametrize("text", ["noise=0.2", "sticky=0.3", "delay=1", "physics.gravity=1.5"])
def test_the_lean_evaluation_plays_as_rllibs_under_each(text: str) -> None:
    """Bit for bit, and an episode is the same whoever plays beside it."""
    experiment = perturbed(with_wrapper(load("cartpole")), perturbation(text))
    check_same(pair(algorithm_config(experiment, seed=1), evaluation()), lengths=3)
