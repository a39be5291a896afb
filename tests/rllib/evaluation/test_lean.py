"""The lean loop plays what RLlib's env runner plays, bit for bit, and says where it can't."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.connectors.env_to_module import MeanStdFilter
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from prune_search.errors import TrialError
from prune_search.experiment.file import parse
from prune_search.experiment.schema import Evaluation, Experiment
from prune_search.rllib.configuration.algorithms import algorithm_config
from prune_search.rllib.evaluation.evaluator import CONNECTORS, Evaluator, evaluation_seeds
from tests.algorithms import experiment as of_algorithm
from tests.rllib.configuration.test_multi_agent import pursuit
from tests.rllib.connectors.test_filters import Drift
from tests.rllib.evaluation.played import Played
from tuners.benchmarks.methods.setups import SETUPS, Setup, small_config, small_experiment

PLAYED = f"{Played.__module__}.{Played.__name__}"
SEEDS = evaluation_seeds(0, 7)  # not a multiple of the environments
STEPS = 20_000  # of the policy's life: epsilon is where it stays


def with_wrapper(experiment: Experiment, name: str = PLAYED, **kwargs: Any) -> Experiment:
    described = experiment.environment.model_dump()
    described["wrappers"] = [{"name": name, "kwargs": kwargs}]
    environment = type(experiment.environment).model_validate(described)
    return experiment.model_copy(update={"environment": environment})


def evaluation(**settings: Any) -> Evaluation:
    return Evaluation.model_validate({"envs": 4, **settings})


def filtered(config: AlgorithmConfig) -> AlgorithmConfig:
    return config.env_runners(env_to_module_connector=lambda env, spaces, device: MeanStdFilter())


def state_of_play(config: AlgorithmConfig) -> dict[str, Any]:
    """Of connectors that have seen something, late in a policy's life."""
    runner = SingleAgentEnvRunner(config=config.copy(copy_frozen=False).env_runners(explore=True))
    runner.sample(num_timesteps=40, random_actions=True)
    found: dict[str, Any] = runner.get_state(components=CONNECTORS)
    return {**found, "num_env_steps_sampled_lifetime": STEPS}


def pair(config: AlgorithmConfig, settings: Evaluation) -> list[Evaluator]:
    """With the same weights, of a policy that is no constant: the lean one, and RLlib's."""
    evaluators = [Evaluator(config, settings, stock=stock) for stock in (False, True)]
    weights = torch.Generator().manual_seed(3)
    for value in evaluators[0].named_parameters().values():
        value.data += 0.5 * torch.randn(value.shape, generator=weights)
    states = {name: module.get_state() for name, module in evaluators[0].modules().items()}
    state = state_of_play(config)
    for evaluator in evaluators:
        evaluator.load(states, state)
    assert evaluators[1].obstacle() == "it was asked for"
    return evaluators


def watched(evaluator: Evaluator, **kwargs: Any) -> tuple[list[float], dict[int, Any]]:
    """Returns, and what the environments saw."""
    Played.episodes.clear()
    returns = evaluator.returns(SEEDS, **kwargs).tolist()
    return returns, dict(Played.episodes)


def check_same(evaluators: list[Evaluator], lengths: int = 4, **kwargs: Any) -> None:
    lean, stock = evaluators
    assert lean.obstacle(**kwargs) == ""
    found, expected = (watched(evaluator, **kwargs) for evaluator in (lean, stock))
    assert found[1] == expected[1] and set(found[1]) == set(SEEDS)
    assert found[0] == pytest.approx(expected[0], rel=1e-12, abs=1e-12)
    assert len({len(episode) for episode in found[1].values()}) >= lengths
    assert watched(lean, **kwargs) == found  # and again


PLAYERS = {"PPO", "DQN", "SAC"}
KINDS = [setup for setup in SETUPS if setup.algorithm in PLAYERS]


def test_the_other_algorithms_act_by_the_same_functions() -> None:
    """What is played below is played by all: nothing that acts is their own."""

    def acts(setup: Setup) -> tuple[Any, ...]:
        spec = small_config(small_experiment(setup)).get_default_rl_module_spec()
        names = (
            "_forward_inference",
            "_forward_exploration",
            "get_inference_action_dist_cls",
            "get_exploration_action_dist_cls",
        )
        return tuple(getattr(spec.module_class, name) for name in names)

    assert {acts(setup) for setup in SETUPS} == {acts(setup) for setup in KINDS}


@pytest.mark.parametrize("setup", KINDS, ids=str)
def test_every_algorithm_plays_as_with_rllibs_env_runner(setup: Setup) -> None:
    """Actions, observations and rewards bit for bit, greedy and sampled, filtered and not."""
    experiment = with_wrapper(small_experiment(setup))
    for actions, filters in (("greedy", False), ("sampled", True)):
        config = small_config(experiment)
        if filters:
            filtered(config)
        check_same(pair(config, evaluation(actions=actions)))


@pytest.mark.parametrize(
    ("actions", "normalize", "clip"),
    [
        ("greedy", True, True),
        ("sampled", True, False),
        ("sampled", False, True),
        ("greedy", False, False),
    ],
)
def test_continuous_actions_are_scaled_and_clipped_alike(
    actions: str, normalize: bool, clip: bool
) -> None:
    """Pendulum's are in [-2, 2], and float64 rewards of any size come of them."""
    runners = f"{{normalize_actions: {normalize}, clip_actions: {clip}}}".lower()
    experiment = with_wrapper(
        of_algorithm("ppo-shared", f"algorithm.env_runners={runners}"), shortest=30, spread=20
    )
    config = filtered(algorithm_config(experiment, seed=1))
    check_same(pair(config, evaluation(actions=actions)))


@pytest.mark.parametrize(("sees", "does"), [("double", "pair_from_one"), ("dict", "from_one")])
@pytest.mark.parametrize("actions", ["greedy", "sampled"])
def test_converted_observations_and_several_actions(sees: str, does: str, actions: str) -> None:
    experiment = parse(
        """
environment: {id: AnyKind-v0, modules: [tests.environments]}
algorithm: {training: {}, model: {fcnet_hiddens: [8]}}
""",
        [f"environment.config={{sees: {sees}, does: {does}}}"],
    )
    check_same(pair(algorithm_config(with_wrapper(experiment), 1), evaluation(actions=actions)))


@pytest.mark.parametrize("name", ["ppo", "ppo-lstm"])
def test_random_actions_are_the_same(name: str) -> None:
    """Of any network, as none is asked."""
    experiment = with_wrapper(of_algorithm(name))
    check_same(pair(algorithm_config(experiment, seed=1), evaluation()), random=True)


@pytest.mark.parametrize("most", [1, 4, 40])
def test_max_steps_cuts_alike(most: int) -> None:
    """More steps than RLlib is asked for at a time, too."""
    experiment = with_wrapper(of_algorithm("ppo-shared"), shortest=most - 1 or 1, spread=4)
    evaluators = pair(algorithm_config(experiment, seed=1), evaluation(max_steps=most))
    returns = [evaluator.returns(SEEDS) for evaluator in evaluators]
    np.testing.assert_allclose(*returns, rtol=1e-12)
    _, episodes = watched(evaluators[0])
    assert max(len(episode) - 1 for episode in episodes.values()) == most


@pytest.mark.parametrize("wrong", ["observation", "reward"])
@pytest.mark.parametrize("random", [False, True])
def test_what_is_not_finite_is_refused_alike(wrong: str, random: bool) -> None:
    experiment = with_wrapper(of_algorithm("ppo"), at=2, wrong=wrong)
    for evaluator in pair(algorithm_config(experiment, seed=1), evaluation()):
        with pytest.raises(TrialError, match=f"returned an? {wrong} that is not finite"):
            evaluator.returns(SEEDS, random=random)


def test_an_episode_is_the_same_alone_and_leaves_no_trace() -> None:
    experiment = with_wrapper(of_algorithm("ppo"))
    lean, _ = pair(algorithm_config(experiment, seed=1), evaluation(actions="sampled"))
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    module = lean.modules()["default_policy"]
    assert module.training
    returns = lean.returns(SEEDS).tolist()
    assert lean.returns(SEEDS[4:]).tolist() == returns[4:]
    assert module.training
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    assert before == after


class Watching(RLlibCallback):
    """Looks at each step."""

    def on_episode_step(self, **_: Any) -> None:
        """Nothing comes of it."""


def _drifting(config: AlgorithmConfig) -> None:
    config.env_runners(env_to_module_connector=lambda env, spaces, device: Drift())


@pytest.mark.parametrize(
    ("experiment", "change", "told"),
    [
        (pursuit(), None, "there are several agents"),
        (of_algorithm("ppo-lstm"), None, "the network has a state"),
        (of_algorithm("ppo"), _drifting, "connectors are not RLlib's default ones: Drift"),
        (
            of_algorithm("ppo"),
            lambda config: config.callbacks(Watching),
            "Watching.on_episode_step watches episodes",
        ),
        (
            of_algorithm("ppo"),
            lambda config: config.callbacks(on_episode_end=lambda **_: None),
            "callbacks_on_episode_end watches episodes",
        ),
        (
            of_algorithm("ppo"),
            lambda config: config.fault_tolerance(restart_failed_sub_environments=True),
            "environments that fail are made anew",
        ),
        (
            with_wrapper(of_algorithm("ppo"), "gymnasium.wrappers.NormalizeObservation"),
            None,
            "NormalizeObservation learns from one episode for the next",
        ),
        (of_algorithm("dqn"), None, "epsilon still changes after 0 env steps"),
    ],
    ids=lambda value: value.split(" ")[0] if isinstance(value, str) else "",
)
def test_where_rllibs_env_runner_plays_it_is_told_why(
    experiment: Experiment, change: Callable[[AlgorithmConfig], Any] | None, told: str
) -> None:
    config = algorithm_config(experiment, seed=1)
    if change is not None:
        change(config)
    evaluator = Evaluator(config, evaluation(actions="sampled", max_steps=20))
    assert evaluator.obstacle().startswith(told)
    assert len(evaluator.returns(SEEDS)) == len(SEEDS)


def test_environments_that_share_random_numbers_are_played_by_rllib() -> None:
    """Which of them an environment gets depends on whether the others are still stepped."""
    experiment = with_wrapper(of_algorithm("ppo"), "tests.rllib.evaluation.played.Global")
    lean, stock = pair(algorithm_config(experiment, seed=1), evaluation(max_steps=12))
    assert lean.obstacle() == ""
    assert lean.returns(SEEDS).tolist() == stock.returns(SEEDS).tolist()
    assert lean.obstacle().startswith("environments draw from the process's random numbers")


def test_a_networks_own_actions_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it gives actions, no distribution is asked."""
    experiment = with_wrapper(of_algorithm("ppo-shared"))
    evaluators = pair(algorithm_config(experiment, seed=1), evaluation())
    for evaluator in evaluators:
        module = evaluator.modules()["default_policy"]
        inner = module._forward_inference

        def acting(batch: Any, inner: Any = inner) -> dict[str, Any]:
            outputs = inner(batch)
            return {Columns.ACTIONS: outputs[Columns.ACTION_DIST_INPUTS][:, :1].sin().double()}

        monkeypatch.setattr(module, "_forward_inference", acting)
    check_same(evaluators)
