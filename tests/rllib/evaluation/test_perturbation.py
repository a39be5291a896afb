"""Tasks made harder while a policy is measured: what is changed, and what stays as it was."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv

from prune_search.errors import UserError
from prune_search.experiment.file import load, parse
from prune_search.rllib.configuration.algorithms import algorithm_config
from prune_search.rllib.configuration.environments import environment_for, make_environment
from prune_search.rllib.evaluation.evaluator import Evaluator
from prune_search.rllib.evaluation.perturbation import perturbation, perturbed
from tests.rllib.evaluation.test_lean import SEEDS, check_same, evaluation, pair, with_wrapper
from tests.shifting import NORMAL, set_physics

SHIFTING = "environment.modules=[tests.shifting]"


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
        ("sticky=1", "must give a number from 0 to 0.99"),
        ("delay=0.5", "must give a whole number from 1 to 1000"),
        ("delay=0", "must give a whole number from 1 to 1000"),
        ("noise=0", "'noise=0' changes nothing"),
        ("delay=1,sticky=0.0", "'sticky=0.0' changes nothing"),
        ("physics.gravity=1", "'physics.gravity=1' changes nothing"),
        ("physics.gravity=inf", "'physics.gravity=inf' must give a number"),
        ("noise=0.1,noise=0.2", "noise is given twice"),
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
    plain, noisy = made("delay=1"), made("noise=0.5")
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
    free, stuck = played(made("delay=1"), 3)[1], played(made("sticky=0.5"), 3)[1]
    assert not np.allclose(free, stuck)


def test_physics_and_arguments() -> None:
    heavy = made("physics.gravity=2,config.sutton_barto_reward=true")
    assert heavy.unwrapped.gravity == pytest.approx(2 * 9.8)
    assert heavy.unwrapped._sutton_barto_reward is True
    with pytest.raises(UserError, match=r"no number gravitas; there are: .*gravity"):
        made("physics.gravitas=2")
    with pytest.raises(UserError, match="cannot make"):
        made("config.wings=2")
    wide = load("cartpole", ["environment.config={sutton_barto_reward: true}"])
    with pytest.raises(UserError, match=r"^under: config.sutton_barto_reward is True already$"):
        made("config.sutton_barto_reward=true", wide)


class OneWorld(CartPoleEnv):
    """Its physics are in one object that all environments have."""

    world = SimpleNamespace(wind=1.0)

    @property
    def dt(self) -> float:
        return self.tau


gym.register("OneWorld-v0", entry_point=OneWorld, max_episode_steps=20)


def test_physics_that_would_be_undone_are_refused(tmp_path: Path) -> None:
    """By a reset, as what is changed is only a copy, or by another environment of the process: the
    task that is measured would be another than the one that is named."""
    set_physics(tmp_path / "world.json", NORMAL)
    config = f"environment.config={{physics: {tmp_path / 'world.json'}}}"
    shifting = load("cartpole", ["environment.id=Shifting-v0", SHIFTING, config])
    shared = load("cartpole", ["environment.id=OneWorld-v0"])
    for change, experiment, message in (
        ("force_mag=0.5", shifting, "is 10.0 after a reset, in place of 5.0"),
        ("world.wind=2", shared, "is 4.0 after a reset, in place of 2.0"),
        ("dt=2", shared, "can't be set"),
        ("torque_noise_max=2", load("acrobot"), "is 0.0: no factor changes it"),
    ):
        with pytest.raises(UserError) as refused:
            made(f"physics.{change}", experiment)
        name = change.partition("=")[0]
        assert str(refused.value).startswith(f"under: physics.{name} {message}"), refused.value
    made("physics.gravity=0.5", shifting).reset(seed=0)  # what stays is at work


def test_physics_of_a_copy_are_refused() -> None:
    """Box2D gives its vectors as copies: what is set on one is lost."""
    pytest.importorskip("Box2D", reason="needs prune-search[box2d]")
    with pytest.raises(UserError, match=r"y is -10\.0 after a reset, in place of -5\.0"):
        made("physics.world.gravity.y=0.5", load("lunarlander"))
    made("physics.gravity=0.5", load("lunarlander")).reset(seed=0)


@pytest.mark.parametrize("text", ["noise=0.2", "sticky=0.3", "delay=1", "physics.gravity=1.5"])
def test_the_lean_evaluation_plays_as_rllibs_under_each(text: str) -> None:
    """Bit for bit, and an episode is the same whoever plays beside it."""
    experiment = perturbed(with_wrapper(load("cartpole")), perturbation(text))
    check_same(pair(algorithm_config(experiment, seed=1), evaluation()), lengths=3)


CONTINUOUS = """
environment: {id: Pendulum-v1, config: {max_episode_steps: 30}}
algorithm: {training: {}, model: {fcnet_hiddens: [8]}}
"""


@pytest.mark.parametrize(
    "text",
    ["noise=0.2", "sticky=0.3", "delay=1", "physics.g=1.5", "physics.m=1.5", "config.g=3"],
)
def test_each_changes_what_continuous_actions_return(text: str) -> None:
    """Every episode of the same policy, and of random actions unless it is about observations; and
    RLlib's env runner plays alike."""
    experiment, settings = parse(CONTINUOUS), evaluation()
    harder = algorithm_config(perturbed(experiment, perturbation(text)), seed=1)
    plain = Evaluator(algorithm_config(experiment, seed=1), settings)
    lean, stock = (Evaluator(harder, settings, stock=stock) for stock in (False, True))
    policy = {name: module.get_state() for name, module in plain.modules().items()}
    for random in (False, True):
        for evaluator in (plain, lean, stock):
            evaluator.load(policy)
        before, *after = (each.returns(SEEDS, random=random) for each in (plain, lean, stock))
        assert lean.obstacle(random=random) == "" and np.array_equal(*after)
        unseen = random and text.startswith(("noise", "delay"))
        assert np.array_equal(before, after[0]) if unseen else (before != after[0]).all()
