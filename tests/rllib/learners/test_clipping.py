"""Gradients of masked weights: not clipped with the others, and seen by criteria and regrowth."""

from __future__ import annotations

from collections.abc import Mapping
from types import MethodType
from typing import Any

import pytest
import torch
from torch import Tensor

from prune_search.rllib.learners import masks as learner
from prune_search.rllib.learners.parameters import optimizers, trained_parameters
from tests.algorithms import built, prune
from tuners.benchmarks.methods.setups import ACTIONS, Setup, small_config, small_experiment

CLIP = 1e-3


class Watched:
    """What a learner's loss gave for gradients, and what its optimizers got, step by step."""

    def __init__(self, held: Any) -> None:
        self.raw: list[dict[str, Tensor]] = []
        self.given: list[dict[str, Tensor]] = []
        parameters = trained_parameters(held)
        names = {id(parameter): name for name, parameter in parameters.items()}
        keys = {key: names[id(p)] for key, p in held._params.items() if id(p) in names}
        self.owners = [
            [
                names[id(parameter)]
                for group in optimizer.param_groups
                for parameter in group["params"]
                if id(parameter) in names
            ]
            for optimizer in optimizers(held)
        ]
        compute, apply = held.compute_gradients, held.apply_gradients

        def named(gradients: Mapping[Any, Tensor]) -> dict[str, Tensor]:
            return {keys[key]: value.clone() for key, value in gradients.items() if key in keys}

        def compute_gradients(*args: Any, **kwargs: Any) -> Any:
            gradients = compute(*args, **kwargs)
            self.raw.append(named(gradients))
            return gradients

        def apply_gradients(gradients: Any) -> None:
            self.given.append(named(gradients))
            apply(gradients)

        attached(held).evidence.restart()
        held.compute_gradients, held.apply_gradients = compute_gradients, apply_gradients


def clipped(raw: list[Tensor], by: str) -> list[Tensor]:
    """One optimizer's gradients, clipped as RLlib's settings say."""
    if by == "value":
        return [gradient.clamp(-CLIP, CLIP) for gradient in raw]
    norms = [gradient.norm() for gradient in raw]
    if by == "global_norm":
        norms = [torch.stack(norms).norm()] * len(raw)
    return [
        gradient * min(1.0, CLIP / max(float(norm), 1e-12))
        for gradient, norm in zip(raw, norms, strict=True)
    ]


@pytest.mark.parametrize(
    ("name", "by"),
    [
        ("PPO", "global_norm"),
        ("PPO", "norm"),
        ("PPO", "value"),
        ("APPO", "global_norm"),
        ("IMPALA", "norm"),
        ("DQN", "global_norm"),
        ("SAC", "global_norm"),
        ("BC", "norm"),
        ("MARWIL", "global_norm"),
        ("CQL", "global_norm"),
        ("IQL", "global_norm"),
    ],
)
def test_the_clip_counts_what_is_kept(local_ray: None, name: str, by: str) -> None:
    """A sparse network's step is a smaller network's, and statistics are of the loss itself."""
    config = small_config(small_experiment(Setup(name, ACTIONS[name][0], "vector")))
    with built(config.training(grad_clip=CLIP, grad_clip_by=by)) as algorithm:
        algorithm.train()
        masks = prune(algorithm, "weight", 0.9, frozenset({"gradient", "square"}))
        watched = learner.one(algorithm, Watched)
        while not watched.given:
            algorithm.train()
        raw, given, seen = learner.one(
            algorithm, lambda held: (watched.raw, watched.given, attached(held).evidence.result())
        )
        for loss, step in zip(raw, given, strict=True):
            for names in filter(None, watched.owners):
                kept = [loss[key] * masks.get(key, torch.tensor(True)) for key in names]
                for key, expected in zip(names, clipped(kept, by), strict=True):
                    torch.testing.assert_close(step[key], expected, rtol=2e-3, atol=1e-10)
        assert seen is not None
        for key in masks:
            mean = torch.stack([step[key] for step in raw]).mean(0)
            torch.testing.assert_close(seen["gradient"][key], mean, rtol=1e-4, atol=1e-9)
        assert any(seen["square"][key][~mask].any() for key, mask in masks.items())
        learner.one(algorithm, detached)


def attached(held: Any) -> learner.LearnerMasks:
    found: learner.LearnerMasks = held._prune_search_masks
    return found


def detached(held: Any) -> None:
    """The learner is as it was once nothing is masked on it any more."""
    attached(held).remove()
    assert isinstance(held.postprocess_gradients, MethodType)
