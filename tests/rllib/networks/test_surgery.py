"""Units taken out of running algorithms: same function, fewer parameters, training goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.core.columns import Columns

from prune_search.modules import ShrunkPPOTorchRLModule
from prune_search.rllib.configuration.algorithms import MODULE_PATH
from prune_search.rllib.networks.surgery import shaped, shrink
from prune_search.rllib.running import env_steps
from prune_search.sparsity.masks import MaskSet
from prune_search.sparsity.structure.resizing import Layout
from tests.shrinking import (
    CASES,
    MID,
    actor_and_critic,
    check_acts_by_the_learners_weights,
    clear_units,
    dqn,
    everything,
    held,
    moments,
    parameters,
    ppo,
    q_values,
    shapes,
    trained,
)


@pytest.mark.parametrize(
    "case",
    [pytest.param(name, marks=pytest.mark.slow if name == "sac" else ()) for name in CASES],
)
def test_a_smaller_network_of_the_same_function_trains_on(
    built: Any, case: str, tmp_path: Path
) -> None:
    config, outputs = CASES[case]
    algorithm = built(config())
    for _ in range(2):
        algorithm.train()
    removed = clear_units(held(algorithm), outputs)
    before, state = everything(held(algorithm), outputs), moments(algorithm)
    whole, steps, dense = parameters(algorithm), env_steps(algorithm), held(algorithm)
    rates = [group["lr"] for group in _groups(algorithm)]
    episodes = [episode.id_ for episode in algorithm.env_runner._ongoing_episodes]
    buffer = getattr(algorithm, "local_replay_buffer", None)
    stored = buffer and buffer.get_num_timesteps()

    shrink(algorithm, {MID: removed})

    small = parameters(algorithm)
    assert sum(p.numel() for p in small.values()) < 0.8 * sum(p.numel() for p in whole.values())
    torch.testing.assert_close(everything(held(algorithm), outputs), before, rtol=0, atol=1e-5)
    after = moments(algorithm)
    assert after.keys() == state.keys()
    for name, held_state in state.items():
        assert torch.equal(after[name]["exp_avg"], removed.take(name, held_state["exp_avg"]))
        assert torch.equal(after[name]["exp_avg_sq"], removed.take(name, held_state["exp_avg_sq"]))
        assert after[name]["step"] == held_state["step"] > 0
    assert [group["lr"] for group in _groups(algorithm)] == rates
    check_acts_by_the_learners_weights(algorithm)
    assert env_steps(algorithm) == steps
    assert [episode.id_ for episode in algorithm.env_runner._ongoing_episodes] == episodes
    assert (buffer and algorithm.local_replay_buffer.get_num_timesteps()) == stored
    for new, old in zip(held(algorithm).parameters(), dense.parameters(), strict=True):
        assert new.requires_grad == old.requires_grad

    # All that is left of a dying ReLU's layer may be without gradient, so not each tensor moves.
    assert len(trained(algorithm)) > 0.8 * len(small)
    assert env_steps(algorithm) > steps
    check_acts_by_the_learners_weights(algorithm)

    algorithm.save_to_path(tmp_path / "saved")
    again = Algorithm.from_checkpoint(tmp_path / "saved")
    try:
        for name, param in parameters(again).items():
            assert torch.equal(param, parameters(algorithm)[name]), name
        assert len(trained(again)) > 0.8 * len(small)
        check_acts_by_the_learners_weights(again)
    finally:
        again.stop()


def _groups(algorithm: Algorithm) -> list[dict[str, Any]]:
    optimizers = algorithm.learner_group._learner._optimizer_parameters
    return [group for optimizer in optimizers for group in optimizer.param_groups]


def test_target_networks_lose_what_they_follow_though_no_unit_reaches_them(built: Any) -> None:
    algorithm = built(dqn())
    algorithm.train()
    module = held(algorithm)
    removed = clear_units(module, q_values)
    assert not any("_target" in name for name in removed.kept)
    expected = {
        f"_target_{name}": removed.take(name, parameters(algorithm)[f"_target_{name}"])
        for name in removed.kept
    }
    whole = shrink(algorithm, {MID: removed})[MID]
    assert shapes(module) == whole.dense
    assert shapes(held(algorithm)) == whole.shapes
    for name, value in expected.items():
        assert torch.equal(parameters(algorithm)[name], value), name


def test_twice_in_sequence(built: Any) -> None:
    algorithm = built(ppo())
    algorithm.train()
    dense = parameters(algorithm)
    first = clear_units(held(algorithm), actor_and_critic, seed=1)
    shrink(algorithm, {MID: first})
    algorithm.train()
    second = clear_units(held(algorithm), actor_and_critic, seed=2)
    before = everything(held(algorithm), actor_and_critic)
    shrink(algorithm, {MID: second})
    torch.testing.assert_close(
        everything(held(algorithm), actor_and_critic), before, rtol=0, atol=1e-5
    )
    whole = first.then(second)
    assert shapes(held(algorithm)) == whole.shapes
    assert whole.dense == {name: tuple(param.shape) for name, param in dense.items()}
    assert trained(algorithm) == set(dense)
    assert type(held(algorithm)) is ShrunkPPOTorchRLModule


@pytest.mark.slow
def test_the_network_alone_opens_where_only_rllib_is_known(built: Any, tmp_path: Path) -> None:
    algorithm = built(ppo())
    shrink(algorithm, {MID: clear_units(held(algorithm), actor_and_critic)})
    algorithm.save_to_path(tmp_path / "saved")
    program = (
        "import sys, torch\n"
        "from ray.rllib.core.rl_module.rl_module import RLModule\n"
        "module = RLModule.from_checkpoint(sys.argv[1])\n"
        "rooms = ('prune_search.rllib', 'prune_search.trial')\n"
        "assert not any(name.startswith(rooms) for name in sys.modules)\n"
        "print(module.forward_inference({'obs': torch.ones(1, 4)})['action_dist_inputs'].tolist())"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "saved" / MODULE_PATH)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    ones = {Columns.OBS: torch.ones(1, 4)}
    ours = held(algorithm).forward_inference(ones)[Columns.ACTION_DIST_INPUTS]
    theirs = torch.tensor(eval(run.stdout.splitlines()[-1]))
    torch.testing.assert_close(theirs, ours)


def test_a_configuration_of_given_shapes(built: Any, tmp_path: Path) -> None:
    """What an evaluator or a restored trial is built from; settings of the network stay."""
    algorithm = built(ppo())
    algorithm.train()
    removed = clear_units(held(algorithm), actor_and_critic)
    shrink(algorithm, {MID: removed})
    algorithm.save_to_path(tmp_path / "saved")
    config = shaped(ppo(fcnet_activation="relu"), {MID: removed.shapes})
    again = built(config)
    assert shapes(held(again)) == removed.shapes
    assert any(isinstance(layer, torch.nn.ReLU) for layer in held(again).modules())
    again.restore_from_path(tmp_path / "saved")
    check_acts_by_the_learners_weights(again)
    assert moments(again).keys() == moments(algorithm).keys()
    for name, state in moments(again).items():
        assert torch.equal(state["exp_avg"], moments(algorithm)[name]["exp_avg"])
    assert trained(again) == set(parameters(again))
    # RLlib's own ways to copy a configuration keep the shapes.
    for copied in (config.copy(), AlgorithmConfig.from_state(config.get_state())):
        assert copied.rl_module_spec.model_config["shapes"] == removed.shapes
    revived = PPOConfig.from_dict(config.to_dict())
    assert revived.rl_module_spec.module_class is ShrunkPPOTorchRLModule


def test_a_new_algorithm_from_a_shrunk_ones_configuration(built: Any) -> None:
    """Whatever is rebuilt from the algorithm's own configurations is small."""
    algorithm = built(ppo().evaluation(evaluation_interval=100, evaluation_num_env_runners=0))
    removed = clear_units(held(algorithm), actor_and_critic)
    shrink(algorithm, {MID: removed})
    assert algorithm.config._is_frozen
    learner = algorithm.learner_group._learner
    spaces = {MID: (held(algorithm).observation_space, held(algorithm).action_space)}
    for config in (
        algorithm.config,
        algorithm.evaluation_config,
        algorithm.learner_group.config,
        learner.config,
        algorithm.env_runner.config,
        algorithm.env_runner_group._remote_config,
    ):
        assert shapes(config.get_rl_module_spec(spaces=spaces).build()) == removed.shapes
    for spec in (algorithm.learner_group._module_spec, learner._module_spec):
        assert shapes(spec.build()[MID]) == removed.shapes
    assert algorithm.eval_env_runner_group is not None
    (evaluated,) = algorithm.eval_env_runner_group.foreach_env_runner(
        lambda runner: dict(runner.module.named_parameters())
    )
    assert all(torch.equal(p, parameters(algorithm)[n]) for n, p in evaluated.items())


def test_masks_of_the_old_shapes_are_taken_off_the_optimizers(built: Any) -> None:
    algorithm = built(ppo())
    masks, (_, optimizer) = MaskSet(), _optimizers(algorithm)[0]
    masks.attach(optimizer, parameters(algorithm))
    removed = clear_units(held(algorithm), actor_and_critic)
    name = next(iter(removed.kept))
    masks.update(parameters(algorithm), {name: torch.zeros(removed.dense[name], dtype=torch.bool)})
    old = parameters(algorithm)[name]
    shrink(algorithm, {MID: removed})
    assert not optimizer._optimizer_step_post_hooks
    with torch.no_grad():
        old.fill_(1.0)
    algorithm.train()
    assert torch.all(old == 1)  # nothing keeps masking what is no longer trained
    fresh = MaskSet()
    fresh.attach(optimizer, parameters(algorithm))
    keep_none = torch.zeros(removed.shapes[name], dtype=torch.bool)
    fresh.update(parameters(algorithm), {name: keep_none})
    algorithm.train()
    assert not parameters(algorithm)[name].any()


def _optimizers(algorithm: Algorithm) -> list[tuple[str, torch.optim.Optimizer]]:
    found: list[tuple[str, torch.optim.Optimizer]] = (
        algorithm.learner_group._learner.get_optimizers_for_module(MID)
    )
    return found


def test_what_the_learner_adapts_stays(built: Any) -> None:
    algorithm = built(ppo())
    learner = algorithm.learner_group._learner
    learner.curr_kl_coeffs_per_module[MID].fill_(0.7)
    count = learner._weights_seq_no
    shrink(algorithm, {MID: clear_units(held(algorithm), actor_and_critic)})
    assert float(learner.curr_kl_coeffs_per_module[MID]) == pytest.approx(0.7)
    assert learner._weights_seq_no == count + 1 == algorithm.env_runner._weights_seq_no


def test_nothing_changes_where_a_layout_does_not_fit(built: Any) -> None:
    algorithm = built(ppo())
    module, optimizer = held(algorithm), _optimizers(algorithm)[0][1]
    name = "pi.net.mlp.0.weight"
    with pytest.raises(ValueError, match=rf"for {name} of shape \(2, 9\); the network's is"):
        shrink(algorithm, {MID: Layout({name: (2, 9)})})
    with pytest.raises(ValueError, match=r"no networks \['other'\]; there are \['default_policy'"):
        shrink(algorithm, {"other": Layout({})})
    with pytest.raises(ValueError, match=r"no networks \['other'\]; there are \['default_policy'"):
        shaped(algorithm.config, {"other": {}})
    with pytest.raises(ValueError, match="bias"):  # rows without their bias
        shrink(algorithm, {MID: Layout({name: (2, 16)}, {name: (torch.tensor([0]), None)})})
    assert held(algorithm) is module
    assert type(algorithm.env_runner.module) is DefaultPPOTorchRLModule
    owned = {id(param) for group in optimizer.param_groups for param in group["params"]}
    assert owned == {id(param) for param in module.parameters()}
