"""The lean env runner hands on what RLlib's does: every field of every episode, and the metrics."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from prune_search.experiment.file import parse
from prune_search.rllib.configuration.algorithms import algorithm_config
from prune_search.rllib.runners.lean import LeanEnvRunner
from tests.algorithms import experiment as of_algorithm
from tests.environments import ACTIONS, KINDS
from tests.rllib.evaluation.test_lean import filtered, with_wrapper
from tuners.benchmarks.methods.setups import SETUPS, Setup, small_config, small_experiment

ONLINE = [setup for setup in SETUPS if not small_experiment(setup).algorithm.offline]
NOT_COMPARED = ("timer", "duration", "time_between", "/sample", "env_to_module", "module_to_env")


def pair(config: AlgorithmConfig) -> tuple[SingleAgentEnvRunner, LeanEnvRunner]:
    """RLlib's and ours, with the same weights, of a policy that is no constant."""
    kinds = SingleAgentEnvRunner, LeanEnvRunner
    runners = tuple(kind(config=config, worker_index=0) for kind in kinds)
    weights = torch.Generator().manual_seed(3)
    for value in runners[0].module.parameters():
        value.data += 0.5 * torch.randn(value.shape, generator=weights)
    for runner in runners:
        runner.set_state({"rl_module": runners[0].module.get_state(), "weights_seq_no": 4})
        runner.num_env_steps_sampled_lifetime = 40
    return runners


def data(buffer: Any) -> tuple[Any, ...]:
    """All that a buffer holds."""
    return buffer.data, buffer.lookback, buffer.finalized, buffer.space


def check_buffer(found: Any, expected: Any, name: str, tolerance: float) -> None:
    for one, other in zip(data(found), data(expected), strict=True):
        if isinstance(other, np.ndarray):
            assert (one.dtype, one.shape) == (other.dtype, other.shape), name
            np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance, err_msg=name)
        else:
            assert one == other, name


def check_same(
    found: list[SingleAgentEpisode], expected: list[SingleAgentEpisode], tolerance: float = 0.0
) -> None:
    assert [len(each) for each in found] == [len(each) for each in expected]
    for one, other in zip(found, expected, strict=True):
        one.validate()
        for name in ("is_terminated", "is_truncated", "t", "t_started", "is_numpy"):
            assert getattr(one, name) == getattr(other, name), name
            assert type(getattr(one, name)) is type(getattr(other, name)), name
        for name in ("agent_id", "module_id", "observation_space", "action_space", "custom_data"):
            assert getattr(one, name) == getattr(other, name), name
        for name in ("observations", "actions", "rewards", "infos"):
            check_buffer(getattr(one, name), getattr(other, name), name, tolerance)
        assert one.extra_model_outputs.keys() == other.extra_model_outputs.keys()
        for name, buffer in one.extra_model_outputs.items():
            check_buffer(buffer, other.extra_model_outputs[name], name, tolerance)
        assert (one.get_duration_s() > 0) == (other.get_duration_s() > 0)


def seed(number: int) -> None:
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


def sampled(runner: SingleAgentEnvRunner, number: int, **asked: Any) -> list[SingleAgentEpisode]:
    seed(number)
    runner.env.action_space.seed(number)
    found: list[SingleAgentEpisode] = runner.sample(**asked)
    return found


def metrics(runner: SingleAgentEnvRunner) -> dict[str, Any]:
    def flat(held: Any, path: str = "") -> Any:
        if isinstance(held, dict):
            for name, value in held.items():
                yield from flat(value, f"{path}/{name}")
        else:
            yield path, held.get_state() if hasattr(held, "get_state") else held

    return {
        name: value
        for name, value in flat(runner.get_metrics())
        if not any(word in name for word in NOT_COMPARED)
    }


def compare(config: AlgorithmConfig, calls: list[dict[str, Any]], tolerance: float = 0.0) -> None:
    stock, lean = pair(config)
    assert lean.obstacle == ""
    names: list[dict[str, int]] = [{}, {}]
    for number, asked in enumerate(calls):
        expected, found = (sampled(runner, number, **asked) for runner in (stock, lean))
        check_same(found, expected, tolerance)
        # The same parts belong to the same episodes.
        orders = [
            [known.setdefault(each.id_, len(known)) for each in episodes]
            for known, episodes in zip(names, (expected, found), strict=True)
        ]
        assert orders[0] == orders[1]
        theirs, ours = metrics(stock), metrics(lean)
        assert ours.keys() == theirs.keys()
        assert repr(ours) == repr(theirs)
    assert repr(lean.get_state()) == repr(stock.get_state()) or tolerance
    for runner in (stock, lean):
        runner.stop()


FRAGMENTS = [{"num_timesteps": n} for n in (7, 30, 2, 1, 64, 9)]


@pytest.mark.parametrize("setup", ONLINE, ids=str)
def test_every_algorithm_samples_the_same(setup: Setup) -> None:
    config = small_config(small_experiment(setup)).env_runners(num_envs_per_env_runner=3)
    compare(config, FRAGMENTS)


calls = st.lists(
    st.fixed_dictionaries(
        {"num_timesteps": st.integers(1, 40)}, optional={"force_reset": st.booleans()}
    )
    | st.fixed_dictionaries(
        {"num_episodes": st.integers(1, 6)}, optional={"random_actions": st.booleans()}
    )
    | st.just({}),
    min_size=1,
    max_size=5,
)


kinds = st.sampled_from(sorted(set(KINDS) - {"text", "picture"}))


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(
    sees=kinds,
    does=st.sampled_from(sorted(set(ACTIONS) - {"steps", "table"})),
    calls=calls,
    environments=st.integers(1, 4),
    filters=st.booleans(),
    explore=st.booleans(),
    lookback=st.integers(0, 4),
    complete=st.booleans(),
    bounds=st.tuples(st.booleans(), st.booleans()),
    lengths=st.tuples(st.integers(1, 4), st.integers(1, 9)),
)
# An episode that was reset in one fragment takes its first step, its only one, in the next.
@example(
    sees="bits",
    does="push",
    calls=[
        {"num_timesteps": 15},
        {"num_timesteps": 17, "force_reset": False},
        {"num_timesteps": 31},
        {"num_episodes": 6, "random_actions": False},
        {},
    ],
    environments=4,
    filters=False,
    explore=True,
    lookback=3,
    complete=True,
    bounds=(False, True),
    lengths=(1, 5),
)
def test_all_spaces_and_ways_of_asking(
    sees: str,
    does: str,
    calls: list[dict[str, Any]],
    environments: int,
    filters: bool,
    explore: bool,
    lookback: int,
    complete: bool,
    bounds: tuple[bool, bool],
    lengths: tuple[int, int],
) -> None:
    experiment = parse(
        """
environment: {id: AnyKind-v0, modules: [tests.environments]}
algorithm:
  training: {train_batch_size_per_learner: 60, minibatch_size: 30}
  model: {fcnet_hiddens: [8], conv_filters: [[4, 3, 2], [4, 3, 2]]}
""",
        [f"environment.config={{sees: {sees}, does: {does}}}"],
    )
    experiment = with_wrapper(experiment, shortest=lengths[0], spread=lengths[1])
    config = algorithm_config(experiment, 1).env_runners(
        explore=explore,
        num_envs_per_env_runner=environments,
        episode_lookback_horizon=lookback,
    )
    if complete:
        config.env_runners(batch_mode="complete_episodes")
    # Gaussian actions that are left as they are would be refused by the environment.
    config.normalize_actions, config.clip_actions = bounds[0], bounds[1] or does == "push"
    if filters:
        filtered(config)
    # Sums of observations in another order, in the last bits of double precision.
    compare(config, calls, tolerance=1e-5 if filters else 0.0)


def test_environments_in_processes_of_their_own() -> None:
    config = small_config(small_experiment(ONLINE[0])).env_runners(
        num_envs_per_env_runner=2, gym_env_vectorize_mode="async"
    )
    compare(config, FRAGMENTS[:3])


def test_an_environments_own_vector_form() -> None:
    own = "algorithm.env_runners.gym_env_vectorize_mode=vector_entry_point"
    compare(algorithm_config(of_algorithm("ppo", own), 1), FRAGMENTS)
