"""Surgery beyond one process: own classes, several agents, remote runners, learners, threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModule, RLModuleSpec
from ray.rllib.env.multi_agent_env import make_multi_agent
from torch import Tensor

from prune_search.modules import ShrunkModule
from prune_search.rllib.configuration.algorithms import MODULE_PATH
from prune_search.rllib.networks.surgery import shaped, shrink
from prune_search.rllib.pausing import paused
from prune_search.rllib.running import each_learner, unwrapped
from tests.shrinking import (
    MID,
    actor_and_critic,
    check_acts_by_the_learners_weights,
    clear_units,
    everything,
    held,
    local,
    parameters,
    ppo,
    shapes,
    trained,
)


class Mine(DefaultPPOTorchRLModule):
    """A network class of a user's own."""


class MineToShrink(ShrunkModule, Mine):
    """The same with the mixin."""


def test_a_users_own_network_class(built: Any) -> None:
    algorithm = built(ppo().rl_module(rl_module_spec=RLModuleSpec(module_class=Mine)))
    removed = clear_units(held(algorithm), actor_and_critic)
    with pytest.raises(ValueError, match=r"\(ShrunkModule, Mine\)"):
        shrink(algorithm, {MID: removed})
    algorithm = built(ppo().rl_module(rl_module_spec=RLModuleSpec(module_class=MineToShrink)))
    removed = clear_units(held(algorithm), actor_and_critic)
    shrink(algorithm, {MID: removed})
    assert type(held(algorithm)) is MineToShrink
    assert trained(algorithm) == set(removed.dense)


@pytest.mark.slow
def test_one_network_of_several_agents(built: Any, tmp_path: Path) -> None:
    config = ppo(make_multi_agent("CartPole-v1")).environment(env_config={"num_agents": 2})
    config.multi_agent(
        policies={"a", "b"},
        policy_mapping_fn=lambda agent, *_, **__: "ab"[agent],
    )
    algorithm = built(config)
    algorithm.train()
    removed = clear_units(held(algorithm, "b"), actor_and_critic)
    untouched = held(algorithm, "a")
    shrink(algorithm, {"b": removed})
    assert held(algorithm, "a") is untouched
    assert shapes(held(algorithm, "b")) == removed.shapes
    algorithm.train()
    algorithm.save_to_path(tmp_path / "saved")
    again = Algorithm.from_checkpoint(tmp_path / "saved")
    try:
        assert shapes(held(again, "a")) == removed.dense
        assert shapes(held(again, "b")) == removed.shapes
        again.train()
    finally:
        again.stop()


@pytest.mark.slow
def test_remote_env_runners_and_one_that_is_restarted(built: Any) -> None:
    config = ppo().env_runners(num_env_runners=2)
    dense = built(config.copy())
    with pytest.raises(ValueError, match="restarts would come back with the dense network"):
        shrink(dense, {MID: clear_units(held(dense), actor_and_critic)})

    algorithm = built(shaped(config, {MID: {}}))
    algorithm.train()
    for seed in (1, 2):
        shrink(algorithm, {MID: clear_units(held(algorithm), actor_and_critic, seed)})
        check_acts_by_the_learners_weights(algorithm)
        assert trained(algorithm) == set(parameters(algorithm))
        check_acts_by_the_learners_weights(algorithm)

    group = algorithm.env_runner_group
    victim = group._worker_manager.actors()[1]
    ray.kill(victim, no_restart=False)
    for _ in range(40):
        algorithm.train()
        if group.num_healthy_remote_env_runners() == 2 and group.num_remote_worker_restarts():
            break
    assert group.num_remote_worker_restarts() == 1
    check_acts_by_the_learners_weights(algorithm)


@pytest.mark.slow
def test_two_learners(built: Any, tmp_path: Path) -> None:
    algorithm = built(ppo().learners(num_learners=2))
    algorithm.train()
    removed = each_learner(algorithm, lambda held: clear_units(unwrapped(held), actor_and_critic))
    before = each_learner(algorithm, lambda held: everything(unwrapped(held), actor_and_critic))
    shrink(algorithm, {MID: removed[0]})
    after = each_learner(algorithm, lambda held: everything(unwrapped(held), actor_and_critic))
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)
    for _ in range(2):
        old = _all_weights(algorithm)[0]
        algorithm.train()
        weights = _all_weights(algorithm)
        assert {n: tuple(p.shape) for n, p in weights[0].items()} == removed[0].shapes
        for name, param in weights[0].items():
            assert torch.equal(param, weights[1][name]), name  # gradients are still averaged
            assert not torch.equal(param, old[name]), name
    algorithm.save_to_path(tmp_path / "saved")
    module = RLModule.from_checkpoint(tmp_path / "saved" / MODULE_PATH)
    assert shapes(module) == removed[0].shapes


def _all_weights(algorithm: Algorithm) -> list[dict[str, Tensor]]:
    return each_learner(
        algorithm,
        lambda held: {n: p.detach().clone() for n, p in unwrapped(held).named_parameters()},
    )


@pytest.mark.slow
def test_learners_that_update_in_a_thread(built: Any) -> None:
    config = APPOConfig().environment("CartPole-v1")
    config.training(train_batch_size_per_learner=64, lr=1e-3)
    config.rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[16, 16], vf_share_layers=False))
    config.reporting(min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=200)
    config = local(config).env_runners(num_env_runners=1, rollout_fragment_length=16)
    algorithm = built(shaped(config, {MID: {}}))
    for seed in range(2):
        algorithm.train()
        removed = clear_units(held(algorithm), actor_and_critic, seed)
        whole = shrink(algorithm, {MID: removed})[MID]
        assert shapes(held(algorithm)) == whole.shapes
    assert algorithm.learner_group._learner._learner_thread.is_alive()
    assert learning(algorithm, algorithm.train)

    learner = algorithm.learner_group._learner
    training = threading.Thread(target=lambda: [algorithm.train() for _ in range(2)])
    with paused(learner):
        count = learner._weights_seq_no
        assert not learning(algorithm, lambda: (training.start(), training.join(timeout=2)))
        assert training.is_alive()  # it waits for the learner
        assert learner._weights_seq_no == count
    assert learning(algorithm, training.join)
    assert learner._weights_seq_no > count


def learning(algorithm: Algorithm, run: Callable[[], Any]) -> bool:
    """Whether all that is trained changes while something runs; False: nothing does."""
    before = {name: param.detach().clone() for name, param in parameters(algorithm).items()}
    run()
    changed = {
        not torch.equal(param, before[name])
        for name, param in parameters(algorithm).items()
        if param.requires_grad
    }
    (same,) = changed
    return same
