"""Rewinding: what remains goes back exactly, what is removed stays zero, and nothing else moves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from torch import Tensor

from prune_search.rllib.learners import masks as learner
from prune_search.rllib.learners.parameters import optimizers
from prune_search.rllib.networks.roles import targets
from prune_search.rllib.recovery.rewinding import rewind
from prune_search.rllib.running import each_learner, unwrapped
from prune_search.sparsity.rewinding import REWINDS, rewound

SMALL = DefaultModelConfig(fcnet_hiddens=[16, 16], fcnet_activation="tanh", vf_share_layers=False)


def ppo(learners: int = 0, seed: int = 0) -> Any:
    return (
        PPOConfig()
        .environment("CartPole-v1")
        .env_runners(num_env_runners=0, num_envs_per_env_runner=4)
        .learners(num_learners=learners)
        .training(train_batch_size_per_learner=256, minibatch_size=64, num_epochs=2, lr=0.003)
        .rl_module(model_config=SMALL)
        .debugging(seed=seed, log_level="ERROR")
        .build_algo()
    )


def dqn() -> Any:
    return (
        DQNConfig()
        .environment("CartPole-v1")
        .env_runners(num_env_runners=0, rollout_fragment_length=8)
        .training(
            num_steps_sampled_before_learning_starts=16,
            train_batch_size_per_learner=16,
            replay_buffer_config={"type": "EpisodeReplayBuffer", "capacity": 1000},
        )
        .rl_module(model_config=SMALL)
        .reporting(min_sample_timesteps_per_iteration=64, min_time_s_per_iteration=0)
        .debugging(seed=0, log_level="ERROR")
        .build_algo()
    )


def random_masks(weights: dict[str, Tensor], density: float, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(value.shape, generator=generator) < density
        for name, value in weights.items()
        if value.ndim >= 2
    }


@given(
    st.sampled_from(sorted(name for name in REWINDS if REWINDS[name].weights)),
    st.integers(1, 9),
    st.floats(0.05, 0.95),
    st.integers(0, 99),
)
def test_what_remains_goes_back_and_the_rest_is_zero(
    name: str, width: int, density: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"a.weight": (width, 3), "a.bias": (width,), "b.weight": (2, width, 3, 3)}
    now, then = (
        {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}
        for _ in range(2)
    )
    masks = random_masks(now, density, seed)
    kept = {key: mask.clone() for key, mask in masks.items()}
    weights, new = rewound(name, now, then, masks, generator)
    assert weights.keys() == now.keys() and new.keys() == masks.keys()
    assert torch.equal(weights["a.bias"], then["a.bias"])
    for key, mask in new.items():
        assert torch.equal(weights[key], torch.where(mask, then[key], torch.zeros(())))
        assert mask.sum() == masks[key].sum()  # each layer keeps its ratio
        assert torch.equal(masks[key], kept[key])  # and what was given is as it was
        if name != "permuted":
            assert torch.equal(mask, masks[key])


def test_permutations_are_of_the_generator_and_reach_every_entry() -> None:
    now = {"weight": torch.randn(40, 50)}
    masks = {"weight": torch.arange(2000).view(40, 50) < 200}

    def permuted(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return rewound("permuted", now, now, masks, generator)[1]["weight"]

    assert torch.equal(permuted(1), permuted(1))
    assert not torch.equal(permuted(1), permuted(2))
    rows = permuted(1).sum(dim=1)
    assert int(rows.max()) < 20 and int((rows > 0).sum()) > 30  # 200 entries in 40 rows


def test_whole_units_are_not_permuted_weight_by_weight() -> None:
    weights = {"0.weight": torch.randn(4, 3), "0.bias": torch.randn(4)}
    gone = torch.tensor([False, True, True, True])
    masks = {"0.weight": gone[:, None].expand(4, 3), "0.bias": gone}
    with pytest.raises(ValueError, match=r"permuted: entries of 0\.bias are removed"):
        rewound("permuted", weights, weights, masks, torch.Generator())


def test_absent_parameters_keep_their_values_and_nothing_is_shared() -> None:
    now, then = {"a": torch.ones(2, 2), "b": torch.ones(3)}, {"a": torch.zeros(2, 2) + 5}
    weights, _ = rewound("early", now, then, {}, torch.Generator())
    assert torch.equal(weights["b"], now["b"]) and torch.equal(weights["a"], then["a"])
    for value in weights.values():
        value.zero_()
    assert now["b"].all() and then["a"].all()


def test_what_does_not_fit_is_refused() -> None:
    now = {"a": torch.ones(2, 2)}
    generator = torch.Generator()
    with pytest.raises(
        ValueError, match="'late'; known are: initial, early, random, permuted, learning_rate"
    ):
        rewound("late", now, now, {}, generator)
    with pytest.raises(ValueError, match="weights to rewind: the network trains no parameter 'b'"):
        rewound("early", now, {"b": torch.ones(1)}, {}, generator)
    with pytest.raises(ValueError, match=r"masks to rewind: a has shape \(2,\), the network's"):
        rewound("early", now, now, {"a": torch.ones(2, dtype=torch.bool)}, generator)


def moments(algorithm: Any) -> int:
    """Parameters for which an optimizer has a state."""
    return sum(
        each_learner(algorithm, lambda held: sum(len(each.state) for each in optimizers(held)))
    )


def test_rewinding_a_running_algorithm(local_ray: None) -> None:
    built = ppo()
    initial = learner.weights(built)
    built.train()
    masks = random_masks(initial, 0.3, seed=0)
    learner.attach(built)
    learner.set_masks(built, masks)
    trained = learner.weights(built)
    assert moments(built) > 0
    weights, _ = rewound("initial", trained, initial, masks, torch.Generator())
    rewind(built, initial)  # not masked: the learner's masks hold
    found = learner.weights(built)
    for name, value in found.items():
        assert torch.equal(value, weights[name])
        if name in masks:
            assert not value[~masks[name]].any() and not torch.equal(value, trained[name])
    assert moments(built) == 0
    (acting,) = built.env_runner_group.foreach_env_runner(
        lambda runner: dict(runner.module.named_parameters())
    )
    assert acting and all(torch.equal(value, weights[name]) for name, value in acting.items())
    built.train()
    after = learner.weights(built)
    assert all(not after[name][~mask].any() for name, mask in masks.items())
    assert any(not torch.equal(after[name], found[name]) for name in after)
    (steps,) = each_learner(
        built,
        lambda held: {int(s["step"]) for each in optimizers(held) for s in each.state.values()},
    )
    assert len(steps) == 1 and max(steps) < 20  # of this iteration alone
    built.stop()


def test_rewound_training_is_the_training_of_a_new_algorithm(local_ray: None) -> None:
    """Given the same batch: no moment, no step count is left of what was before."""

    def updated(algorithm: Any) -> dict[str, Tensor]:
        def run(held: Any) -> None:
            for name, parameter in sorted(unwrapped(held).named_parameters()):
                generator = torch.Generator().manual_seed(len(name))
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            for optimizer in optimizers(held):
                optimizer.step()

        each_learner(algorithm, run)
        return learner.weights(algorithm)

    built = ppo()
    initial = learner.weights(built)
    built.train()
    rewind(built, initial)
    fresh = ppo(seed=5)
    rewind(fresh, initial)
    ours, theirs = updated(built), updated(fresh)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert any(not torch.equal(ours[name], initial[name]) for name in ours)
    built.stop()
    fresh.stop()


def test_targets_follow(local_ray: None) -> None:
    built = dqn()
    initial = learner.weights(built)
    built.train()
    masks = random_masks(initial, 0.5, seed=1)
    learner.attach(built)
    learner.set_masks(built, masks)
    rewind(built, initial)
    module = unwrapped(built.learner_group._learner)
    named, pairs = dict(module.named_parameters()), targets(module)
    assert pairs
    for target, followed in pairs.items():
        assert torch.equal(named[target], named[followed])
        expected = initial[followed] * masks.get(followed, torch.ones(()))
        assert torch.equal(named[followed], expected)
    built.train()
    built.stop()


def test_weights_of_other_shapes_are_refused_and_nothing_changes(local_ray: None) -> None:
    built = ppo()
    before = learner.weights(built)
    name = next(iter(before))
    others = {key: value + 1 for key, value in before.items()}
    with pytest.raises(ValueError, match="the network trains no parameter 'nothing'"):
        rewind(built, others | {"nothing": torch.ones(1)})
    with pytest.raises(ValueError, match="has shape"):
        rewind(built, others | {name: torch.ones(7, 7, 7)})
    assert all(torch.equal(value, before[key]) for key, value in learner.weights(built).items())
    built.stop()


@pytest.mark.slow
def test_two_learners_rewind_alike(local_ray: None) -> None:
    built = ppo(learners=2)
    initial = learner.weights(built)
    built.train()
    masks = random_masks(initial, 0.3, seed=0)
    learner.attach(built)
    learner.set_masks(built, masks)
    rewind(built, initial)
    built.train()
    first, second = each_learner(
        built, lambda held: {n: w.detach().cpu() for n, w in unwrapped(held).named_parameters()}
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(not first[name][~mask].any() for name, mask in masks.items())
    built.stop()
