"""A description does what RLlib's evaluation does, for every algorithm and kind of observation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray.rllib.connectors.common.frame_stacking import FrameStacking
from ray.rllib.core.rl_module.rl_module import RLModule

from prune_search.errors import UserError
from prune_search.experiment.file import parse
from prune_search.export.describing import Described, describe, describe_module
from prune_search.export.policy import Policy
from prune_search.policy.actions import Continuous
from prune_search.policy.layers import (
    LSTM,
    ChannelsLast,
    Convolution,
    Dense,
    Encoding,
    Expectation,
    FrameStack,
    Layer,
    Normalisation,
    Scaling,
)
from prune_search.policy.reference import act, draw_noise
from prune_search.rllib.configuration.algorithms import MODULE_PATH, algorithm_config
from tests import algorithms
from tests.exporting import played
from tests.rllib.configuration import test_observations
from tests.rllib.configuration.test_multi_agent import small as small_pursuit
from tuners.benchmarks.methods.setups import SETUPS, Setup, small_config, small_experiment
from tuners.benchmarks.untrained import filtered, saved

pytestmark = pytest.mark.usefixtures("local_ray")


def agrees(checkpoint: Path, *, rows: int = 60) -> Described:
    """The description of a checkpoint, whose greedy actions are RLlib's."""
    found = describe(checkpoint)
    seen, want, begins = played(checkpoint, found.surroundings, rows)
    state, got = None, []
    for observation, begin in zip(seen, begins, strict=True):
        action, state = act(found.policy, observation[None], None if begin else state)
        got.append(action[0])
    np.testing.assert_allclose(np.stack(got), want, atol=1e-5)
    assert len(np.unique(want, axis=0)) > 1, "a policy that always does the same shows nothing"
    return found


def kinds(found: Described) -> list[type[Layer]]:
    return [type(step) for step in found.policy.steps]


FIRST = list({setup.algorithm: setup for setup in SETUPS[::3]}.values())
SLOW = pytest.mark.slow
CELLS = [
    pytest.param(
        setup,
        with_filter,
        # One of each algorithm is quick enough; `benchmark exports` runs all.
        marks=[] if with_filter == number % 2 and setup in FIRST else [SLOW],
        id=f"{setup}{', filter' * with_filter}",
    )
    for number, setup in enumerate(SETUPS)
    for with_filter in (False, True)
    if setup in FIRST or ((number + with_filter) % 2 and setup.algorithm in ("PPO", "SAC"))
]


@pytest.mark.parametrize(("setup", "with_filter"), CELLS)
def test_each_algorithm(setup: Setup, with_filter: bool, tmp_path: Path) -> None:
    config = small_config(small_experiment(setup))
    found = agrees(saved(filtered(config) if with_filter else config, tmp_path / "a"))
    assert (Normalisation in kinds(found)) == with_filter
    assert (Convolution in kinds(found)) == (setup.network == "image")
    assert found.policy.nonzero < found.policy.parameters


@pytest.mark.parametrize("free", [False, True])
def test_what_gives_deviations_is_counted_and_left_out(free: bool, tmp_path: Path) -> None:
    """What RLlib's network has, and the policy not: as many as its tables count more."""
    config = small_config(small_experiment(Setup("PPO", "continuous", "vector")))
    config.rl_module(model_config={"fcnet_hiddens": [8], "free_log_std": free})
    checkpoint = saved(config, tmp_path / "a", sparsity=0.0)
    found = describe(checkpoint)
    whole = Policy(checkpoint)
    assert whole.nonzero == whole.parameters == (80 if free else 112)
    assert found.deviations > 0
    assert found.policy.nonzero + found.deviations == whole.nonzero
    assert describe(checkpoint, sampled=True).deviations == 0


@pytest.mark.parametrize(
    ("sees", "does", "steps"),
    [
        ("bytes", "two", [Scaling]),
        ("grey", "from_one", [ChannelsLast, Scaling]),
        ("frames", "two", [ChannelsLast, Scaling]),
        ("double", "pair_from_one", []),
        ("one_of", "from_one", [Encoding]),
        ("several", "two", [Encoding]),
        ("dict", "two", [Encoding]),
    ],
)
def test_each_kind_of_observation(
    sees: str, does: str, steps: list[type[Layer]], tmp_path: Path
) -> None:
    experiment = test_observations.small(sees, f"environment.config.does={does}")
    found = agrees(saved(algorithm_config(experiment, seed=1), tmp_path / "a", sparsity=0.0))
    assert kinds(found)[: len(steps)] == steps
    assert found.surroundings.wrappers == ()


def test_the_users_wrappers_stay_the_environments(tmp_path: Path) -> None:
    experiment = test_observations.small(
        "matrix", "environment.wrappers=[{name: tests.environments.Thrifty}]"
    )
    found = describe(saved(algorithm_config(experiment, seed=1), tmp_path / "a"))
    assert [step["name"] for step in found.surroundings.wrappers] == ["tests.environments.Thrifty"]
    assert found.policy.observation_shape == (5, 4)


@pytest.mark.parametrize("name", ["ppo-shared", "ppo-lstm", "dqn-images", "sac"])
def test_networks_of_other_shapes(name: str, tmp_path: Path) -> None:
    found = agrees(saved(algorithms.small(name), tmp_path / "a", sparsity=0.0))
    assert (LSTM in kinds(found)) == (name == "ppo-lstm")
    assert bool(found.policy.state_size) == (name == "ppo-lstm")


@pytest.mark.parametrize("dueling", ["true", "false"])
def test_distributions_of_values(dueling: str, tmp_path: Path) -> None:
    changes = [f"algorithm.training.{key}" for key in ("num_atoms=5", "v_min=-3.0", "v_max=9.0")]
    config = algorithms.small("dqn", *changes, f"algorithm.training.dueling={dueling}")
    assert Expectation in kinds(agrees(saved(config, tmp_path / "a"), rows=1500))


@pytest.mark.parametrize("frames", [3, 1])
def test_stacked_frames(frames: int, tmp_path: Path) -> None:
    experiment = parse(STACKED)
    config = algorithm_config(experiment, seed=1)
    config.env_runners(
        env_to_module_connector=lambda env, spaces, device: FrameStacking(num_frames=frames)
    )
    found = agrees(saved(config, tmp_path / "a", sparsity=0.0))
    assert found.policy.state_size == (frames - 1) * 8 * 8
    assert (FrameStack in kinds(found)) == (frames > 1)  # one is the observation itself


STACKED = """
environment: {id: Film-v0, modules: [tests.export.films]}
algorithm:
  training: {train_batch_size_per_learner: 32, minibatch_size: 16, num_epochs: 1}
  model: {conv_filters: [[4, 3, 2]], conv_activation: relu, head_fcnet_hiddens: [8]}
evaluation: {episodes: 4, envs: 4}
"""


def test_units_that_nothing_reads_are_taken_out(tmp_path: Path) -> None:
    setup = Setup("PPO", "discrete", "vector")
    path = saved(small_config(small_experiment(setup)), tmp_path / "a", sparsity=0.9)
    found = describe(path)
    widths = [step.weight.shape[0] for step in found.policy.steps if isinstance(step, Dense)]
    assert widths[0] < 16 and found.policy.notes == ()


def test_sampled_actions_follow_the_policys_distribution(tmp_path: Path) -> None:
    discrete = saved(small_config(small_experiment(Setup("PPO", "discrete", "vector"))), tmp_path)
    policy = describe(discrete, sampled=True).policy
    seen = np.full((20_000, 4), 0.4, np.float32)
    noise = draw_noise(policy, len(seen), np.random.default_rng(1))
    actions, _ = act(policy, seen, noise=noise)
    module = RLModule.from_checkpoint(discrete / MODULE_PATH)
    chance = _chances(module, seen[:1])
    assert actions.mean() == pytest.approx(chance, abs=0.02)


def _chances(module: Any, seen: Any) -> float:
    import torch

    with torch.no_grad():
        logits = module.forward_inference({"obs": torch.from_numpy(seen)})["action_dist_inputs"]
        return float(logits.softmax(-1)[0, 1])


@pytest.mark.parametrize(
    ("algorithm", "model"),
    [
        ("PPO", {}),
        ("SAC", {}),
        ("PPO", {"free_log_std": True}),
        ("BC", {"free_log_std": True}),  # whose head has another name
        ("BC", {"log_std_clip_param": 0.1}),
    ],
)
def test_sampled_continuous_actions(algorithm: str, model: dict[str, Any], tmp_path: Path) -> None:
    import torch

    experiment = small_experiment(Setup(algorithm, "continuous", "vector"))
    experiment.algorithm.model.update(model)
    path = saved(small_config(experiment), tmp_path / "a")
    policy = describe(path, sampled=True).policy
    free = isinstance(policy.action, Continuous) and policy.action.sampling
    assert free and (free.log_deviation is not None) == ("free_log_std" in model)
    assert policy.action.noise_size == 4
    seen = np.full((20_000, 4), 0.4, np.float32)
    noise = draw_noise(policy, len(seen), np.random.default_rng(1))
    actions, _ = act(policy, seen, noise=noise)
    module = RLModule.from_checkpoint(path / MODULE_PATH)
    with torch.no_grad():
        logits = module.forward_inference({"obs": torch.from_numpy(seen)})["action_dist_inputs"]
        kind = module.get_exploration_action_dist_cls()
        want = kind.from_logits(logits).sample().clamp(-1, 1).numpy()  # bounds are -1 and 1
    np.testing.assert_allclose(actions.mean(0), want.mean(0), atol=0.03)
    np.testing.assert_allclose(actions.std(0), want.std(0), atol=0.03)


def test_a_network_by_itself(tmp_path: Path) -> None:
    path = saved(small_config(small_experiment(Setup("BC", "continuous", "image"))), tmp_path)
    whole = describe(path).policy
    alone = describe_module(RLModule.from_checkpoint(path / MODULE_PATH))
    seen = np.random.default_rng(0).random((5, 8, 8, 4), np.float32)
    np.testing.assert_allclose(act(alone, seen)[0], act(whole, seen)[0], atol=1e-5)


def test_what_has_no_description_is_named(tmp_path: Path) -> None:
    several = saved_as_is(small_pursuit(), tmp_path / "several")
    with pytest.raises(UserError, match="has chasers, runner; prune-search restore"):
        describe(several)
    q_network = saved(algorithms.small("dqn"), tmp_path / "dqn")
    with pytest.raises(UserError, match="epsilon-greedy"):
        describe(q_network, sampled=True)
    text = algorithms.EXPERIMENTS["ppo"].replace(algorithms.MLP + ", vf_share_layers: false}", "")
    own = algorithm_config(parse(text, ["algorithm.module=tests.own_networks.Residual"]), seed=1)
    with pytest.raises(UserError, match="network class Residual"):
        describe(saved_as_is(own, tmp_path / "own"))


def saved_as_is(config: Any, folder: Path) -> Path:
    with algorithms.built(config) as algorithm:
        algorithm.save_to_path(folder)
    return folder
