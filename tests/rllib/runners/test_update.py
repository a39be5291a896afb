"""The lean update learns what RLlib's does from the same batches, and tells the same of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ray.rllib.core.learner.torch.torch_learner import TorchLearner

from prune_search.rllib.learners import masks as learner
from prune_search.rllib.learners.parameters import optimizers
from prune_search.rllib.runners.replay import is_lean
from prune_search.rllib.running import each_learner, reseed
from tests.algorithms import built, check_zeros, prune, small

TIMES = ("timer", "throughput", "connector")


def figures(held: Any, path: str = "") -> dict[str, Any]:
    """All that an iteration tells of learning, but for what it took."""
    if not isinstance(held, dict):
        return {} if any(word in path for word in TIMES) else {path: held}
    return {
        name: value
        for key, inner in held.items()
        for name, value in figures(inner, f"{path}/{key}").items()
    }


def course(name: str, runner: str, iterations: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What each iteration tells, and the weights in the end; half of them go on the way."""
    told = []
    name, _, clip = name.partition(" clipped at ")
    changes = [f"algorithm.training.grad_clip={clip}"] if clip else []
    name, uniform, _ = name.partition(" drawn uniformly")
    if uniform:
        buffer = "{type: EpisodeReplayBuffer, capacity: 2000}"
        changes.append(f"algorithm.training.replay_buffer_config={buffer}")
    with built(small(name, f"resources.runner={runner}", *changes)) as algorithm:
        lean = algorithm.learner_group.foreach_learner(lambda each: "_update" in vars(each))
        assert [answer.get() for answer in lean] == [runner == "auto"]
        if algorithm.local_replay_buffer is not None:
            assert is_lean(algorithm.local_replay_buffer) == (runner == "auto")
        reseed(algorithm, 5)
        for iteration in range(iterations):
            told.append(figures(algorithm.train()["learners"]))
            if iteration == iterations // 2:
                masks = prune(algorithm, "weight")
            if iteration == iterations // 2 + 2:  # as a dense optimizer state does
                each_learner(algorithm, stir_moments)
        check_zeros(algorithm, masks)
        return told, learner.weights(algorithm)


def stir_moments(held: Any) -> None:
    """Gives all weights moments, masked ones too."""
    for optimizer in optimizers(held):
        for state in optimizer.state.values():
            state["exp_avg"].add_(0.01)


def test_masks_are_enforced_once_an_update(local_ray: None) -> None:
    """From then on zeros stay zero: gradients are masked. RLlib's update enforces at each step."""
    enforced: list[int] = []
    for runner, expected in (("auto", 1), ("rllib", 5)):
        with built(small("ppo", f"resources.runner={runner}")) as algorithm:
            algorithm.train()
            masks = prune(algorithm, "weight")
            held = learner.of_learner(algorithm.learner_group._learner)
            assert held is not None
            (handle,) = held.masks._handles
            own, enforced = handle.enforce, []
            handle.enforce = lambda own=own, to=enforced: (to.append(1), own())  # type: ignore[method-assign]
            algorithm.train()
            assert len(enforced) == expected
            check_zeros(algorithm, masks)


@pytest.mark.parametrize(
    "name",
    [
        "ppo",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in (
                "ppo clipped at 0.05",
                "ppo-shared",
                "ppo-lstm",
                "ppo-images",
                "dqn",
                "dqn drawn uniformly",
                "dqn-images",
                "sac",
                "sac drawn uniformly",
                "sac-discrete",
            )
        ),
    ],
)
def test_losses_and_weights_are_rllibs(local_ray: None, name: str) -> None:
    """After twenty iterations, bit for bit, across a change of masks."""
    told, weights = course(name, "auto", 20)
    expected, stock = course(name, "rllib", 20)
    for ours, theirs in zip(told, expected, strict=True):
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            assert value == pytest.approx(theirs[key], rel=1e-12, nan_ok=True), key
    assert all(torch.equal(weights[key], stock[key]) for key in stock)


def test_gradients_that_are_not_finite_go_rllibs_way(local_ray: None) -> None:
    with built(small("ppo")) as algorithm:
        held = algorithm.learner_group._learner
        before = {key: value.clone() for key, value in learner.weights(algorithm).items()}
        gradients = {key: torch.full_like(value, torch.nan) for key, value in held._params.items()}
        update = held._update.__self__
        update._gradients.apply(gradients)
        assert all(torch.equal(before[key], v) for key, v in learner.weights(algorithm).items())
        assert type(held).apply_gradients is TorchLearner.apply_gradients
