"""Every algorithm of RLlib's: what is pruned is zero wherever it lies, and stays zero."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from prune_search.errors import UserError
from prune_search.rllib.checkpoints import saving
from prune_search.rllib.configuration.algorithms import algorithm_config
from prune_search.rllib.evaluation.evaluator import Evaluator
from prune_search.rllib.learners import masks as learner
from prune_search.rllib.learners.parameters import optimizers, trained_parameters
from prune_search.rllib.learners.schedules import follow
from prune_search.rllib.networks.roles import ACTOR, CRITIC
from prune_search.rllib.running import each_learner, env_steps, sync_weights
from tests.algorithms import EXPERIMENTS, built, check_zeros, experiment, prune, small

GRANULARITIES = [
    (name, granularity)
    for name in EXPERIMENTS
    for granularity in ("weight", "neuron", "filter")
    if granularity == "weight"
    or (granularity == "filter" and "images" in name)
    or (granularity == "neuron" and name in ("ppo-shared", "dqn", "sac"))
]


@pytest.mark.parametrize(
    ("name", "granularity"),
    [
        pytest.param(*each, marks=pytest.mark.slow if each == ("sac", "neuron") else ())
        for each in GRANULARITIES
    ],
)
def test_masks_hold_over_updates_and_restores(
    local_ray: None, tmp_path: Path, name: str, granularity: str
) -> None:
    with built(small(name)) as algorithm:
        algorithm.train()  # optimizers have moments, so that there is something to mask
        masks = prune(algorithm, granularity)
        check_zeros(algorithm, masks)
        for _ in range(2):
            algorithm.train()
            check_zeros(algorithm, masks)
        before = learner.weights(algorithm)
        lost = sum(int((~mask).sum()) for mask in masks.values())
        assert lost > 0.3 * sum(masks[layer].numel() for layer in masks if before[layer].ndim >= 2)
        # Nothing else became zero, and nothing came back.
        assert sum(int((before[layer] == 0).sum()) for layer in masks) == lost

        saving.save(algorithm, tmp_path)
        state, adaptive = learner.mask_state(algorithm), learner.adaptive_state(algorithm)
        torch.save(state, tmp_path / "masks.pt")
        steps = env_steps(algorithm)
    with built(small(name)) as again:
        learner.attach(again)
        saving.load(again, tmp_path / "algorithm")
        learner.load_mask_state(again, torch.load(tmp_path / "masks.pt", weights_only=True))
        sync_weights(again)
        assert env_steps(again) == steps > 0
        assert learner.adaptive_state(again) == adaptive
        after = learner.weights(again)
        assert all(torch.equal(before[key], after[key]) for key in before)
        check_zeros(again, masks)
        again.train()
        check_zeros(again, masks)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_actor_is_what_acts_and_the_critic_the_rest(local_ray: None, name: str) -> None:
    with built(small(name)) as algorithm:
        found = learner.one(algorithm, lambda held: learner.networks_of(held, units=False))
        evaluator = Evaluator(algorithm.config, experiment(name).evaluation)
        assert set(found[ACTOR].parameters) == set(evaluator.named_parameters())
        assert set().union(*(n.parameters for n in found.values())) == set(
            learner.weights(algorithm)
        )
        assert (CRITIC in found) == (not name.startswith("dqn"))
        evaluator.load(learner.module_state(algorithm))
        assert len(evaluator.returns(range(2**30, 2**30 + 3))) == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["appo", "sac"])  # APPO is an IMPALA and a PPO, SAC a DQN
def test_masks_hold_on_a_remote_runner_and_two_learners(local_ray: None, name: str) -> None:
    """And what is clipped there are the gradients of kept weights, of both learners' batches."""
    places = ["resources.env_runners=1", "resources.learners=2"]
    with built(small(name, *places).training(grad_clip=1e-3)) as algorithm:
        algorithm.train()
        # Single weights: units without any have gradients of exactly zero by themselves.
        masks = prune(algorithm, "weight", needs=frozenset({"gradient"}))
        for _ in range(2):
            algorithm.train()
            check_zeros(algorithm, masks)
        one, other = each_learner(algorithm, gradients)
        seen = learner.evidence(algorithm)
    assert one.keys() == other.keys() >= masks.keys() and seen is not None
    for key, mask in masks.items():
        assert torch.equal(one[key], other[key]) and not one[key][~mask].any()
    assert any(seen["gradient"][key][~mask].any() for key, mask in masks.items())


def gradients(held: Any) -> dict[str, Tensor]:
    """What a learner's optimizers were given last."""
    found = trained_parameters(held)
    return {name: value.grad for name, value in found.items() if value.grad is not None}


def test_learning_rates_are_scaled_each(local_ray: None) -> None:
    config = algorithm_config(experiment("sac"), seed=0, lr_scale=0.5)
    assert (config.lr, config.actor_lr, config.critic_lr, config.alpha_lr) == (
        None,
        0.0015,
        0.001,
        0.0005,
    )
    with built(config) as algorithm:
        assert rates(algorithm) == {"qf": 0.001, "qf_twin": 0.001, "policy": 0.0015, "alpha": 5e-4}

        def spoil(held: Any) -> None:
            for optimizer in optimizers(held):
                optimizer.param_groups[0]["lr"] = 1.0

        each_learner(algorithm, spoil)
        follow(algorithm)
        assert rates(algorithm) == {"qf": 0.001, "qf_twin": 0.001, "policy": 0.0015, "alpha": 5e-4}


def rates(algorithm: Any) -> dict[str, float]:
    def run(held: Any) -> dict[str, float]:
        return {
            name: optimizer.param_groups[0]["lr"]
            for name, optimizer in held.get_optimizers_for_module("default_policy")
        }

    return learner.one(algorithm, run)


def test_a_mask_needs_an_optimizer(local_ray: None) -> None:
    """Networks that nobody trains can't be kept at zero by hooks on optimizers."""
    with built(small("sac")) as algorithm:

        def forget(held: Any) -> None:
            held._module_optimizers["default_policy"].remove("default_policy_policy")

        each_learner(algorithm, forget)
        with pytest.raises(ValueError, match=r"no optimizer updates the parameters \['pi"):
            prune(algorithm, "weight")


@pytest.mark.parametrize("name", ["CQL", "BC"])
def test_recorded_episodes_are_asked_for(name: str) -> None:
    with pytest.raises(UserError, match=rf"algorithm\.offline: {name} learns from recorded"):
        algorithm_config(experiment("ppo", f"algorithm.name={name}", "algorithm.training={}"), 0)
    with pytest.raises(UserError, match=r"algorithm\.offline: PPO samples its own"):
        algorithm_config(experiment("ppo", "algorithm.offline={input_: [x]}"), 0)
