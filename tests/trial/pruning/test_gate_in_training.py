"""The gate on networks that really train: it shrinks them, gives back, and follows the task."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from prune_search.experiment.file import parse
from prune_search.records.folder import StudyFolder
from prune_search.records.models import Point
from prune_search.rllib.configuration.algorithms import algorithm_config
from prune_search.rllib.learners import masks as learner
from prune_search.trial.baselines.baseline import BaselineTrainer
from prune_search.trial.pruning.pruner import Pruner
from prune_search.trial.rounds import TrialRounds
from tests.plans import plan
from tests.shifting import NORMAL, REVERSED, set_physics

GATED = {"schedule": "gated", "ratio": None, "critic_ratio": None, "start": None, "end": None}
KINDS = {
    "weight": plan(**GATED),
    "saliency": plan(**GATED, criterion="saliency", allocation="erk"),
    "neuron": plan(**GATED, granularity="neuron", allocation="uniform"),
}


def zeros(weights: dict[str, Tensor], masks: dict[str, Tensor]) -> bool:
    """Whether every masked entry is zero."""
    return all(not weights[name][~mask].any() for name, mask in masks.items())


def share(masks: dict[str, Tensor], layers: tuple[str, ...]) -> float:
    """Of these layers' weights the share that is masked."""
    return 1 - sum(int(masks[name].sum()) for name in layers) / sum(
        masks[name].numel() for name in layers
    )


@pytest.mark.parametrize("name", list(KINDS))
def test_what_went_last_comes_back_with_its_values(algorithm: Any, name: str) -> None:
    """Up, up, back to the first: the first's masks again, the second's weights as they went."""
    pruner = Pruner(algorithm, KINDS[name], seed=0)
    seen: dict[float, tuple[dict[str, Tensor], dict[str, Tensor]]] = {}
    for ratio in (0.5, 0.8):
        if pruner.blind(0.0):
            with learner.frozen(algorithm):
                algorithm.train()
        before = learner.weights(algorithm)
        assert pruner.to_ratio(ratio) and pruner.target(0.0) == ratio
        masks = learner.masks(algorithm)
        seen[ratio] = before, masks
        for network in pruner.networks.values():
            assert share(masks, network.layers) == pytest.approx(ratio, abs=0.12)
            assert share(masks, network.layers) >= ratio - 1e-3
        algorithm.train()
        assert zeros(learner.weights(algorithm), masks)
    (_, first), (gone, second) = seen[0.5], seen[0.8]
    assert all(not (second[layer] & ~first[layer]).any() for layer in first)  # masks only shrink
    trained = learner.weights(algorithm)

    assert pruner.to_ratio(0.5) and pruner.target(0.0) == 0.5
    weights, masks = learner.weights(algorithm), learner.masks(algorithm)
    assert masks.keys() == first.keys()
    assert all(torch.equal(masks[layer], first[layer]) for layer in first)
    for layer, mask in masks.items():
        back = mask & ~second[layer]
        assert torch.equal(weights[layer][back], gone[layer][back])
        assert torch.equal(weights[layer][second[layer]], trained[layer][second[layer]])
    assert not pruner.to_ratio(0.5)  # a pause changes nothing
    algorithm.train()  # what came back is trained again
    after = learner.weights(algorithm)
    assert zeros(after, masks)
    moved = [
        (weights[layer] != after[layer])[mask & ~second[layer]] for layer, mask in masks.items()
    ]
    assert torch.cat(moved).float().mean() > 0.5

    assert pruner.to_ratio(0.0)
    assert all(bool(mask.all()) for mask in learner.masks(algorithm).values())


def test_a_resumed_pruner_gives_back_the_same(
    algorithm: Any, tiny: Any, baseline: Any, built: Any, tmp_path: Path
) -> None:
    """What went when is part of a trial's state."""
    pruner = Pruner(algorithm, KINDS["weight"], seed=0)
    pruner.to_ratio(0.5)
    first = learner.masks(algorithm)
    algorithm.train()
    pruner.to_ratio(0.9)
    torch.save(pruner.state_dict(), tmp_path / "masks.pt")
    algorithm.save_to_path(tmp_path / "algorithm")
    pruner.to_ratio(0.5)
    expected = learner.weights(algorithm)

    other = built(algorithm_config(tiny(), seed=1))
    resumed = Pruner(other, KINDS["weight"], seed=0)
    other.restore_from_path(tmp_path / "algorithm")
    resumed.load_state_dict(torch.load(tmp_path / "masks.pt", weights_only=True))
    assert resumed.target(0.0) == 0.9
    assert resumed.to_ratio(0.5)
    assert all(torch.equal(mask, first[name]) for name, mask in learner.masks(other).items())
    found = learner.weights(other)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


EXPERIMENT = """
environment: {{id: Shifting-v0, config: {{physics: {physics}}}, modules: [tests.shifting]}}
algorithm:
  training: {{lr: 0.001, train_batch_size_per_learner: 2048, minibatch_size: 256, num_epochs: 6,
             grad_clip: 0.5, vf_clip_param: .inf, entropy_coeff: 0.01}}
  model: {{fcnet_hiddens: [64, 64], fcnet_activation: tanh, vf_share_layers: false}}
baseline: {{env_steps: 120_000, until_return: 495}}
pruning: {{schedule: gated, hold: 0.9, floor: 0.5}}
resources: {{envs_per_env_runner: 32}}
storage: {storage}
"""


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """The file of the physics, normal ones at first."""
    path = tmp_path / "world.json"
    set_physics(path, NORMAL)
    return path


@pytest.mark.slow
def test_evaluation_is_in_the_present_physics(
    tiny: Any, baseline: Any, world: Path, tmp_path: Path
) -> None:
    """The same policy in both worlds, by a trial's rounds and after a restart."""
    task = (
        f"environment={{id: Shifting-v0, config: {{physics: {world}}}, modules: [tests.shifting]}}"
    )
    still = plan(**GATED, scope="actor", lr_scale=1e-9)
    folder = StudyFolder(tmp_path, "study")
    rounds = TrialRounds(tiny(task), folder, baseline, 0, still)
    first = rounds.step()
    set_physics(world, REVERSED)
    second = rounds.step()
    rounds.stop()
    resumed = TrialRounds(tiny(task), folder, baseline, 0, still)
    third = resumed.step()
    resumed.stop()
    assert min(first.return_pruned, first.returned.value) > 20
    for point in (second, third):
        assert max(point.return_pruned, point.returned.value) < 12
        assert point.return_training is not None and point.return_training < 15


@pytest.mark.slow
def test_the_gate_follows_a_task_that_changes(local_ray: None, world: Path, tmp_path: Path) -> None:
    """The motor is reversed once the policy holds at 90 %: it collapses, grows back, learns the
    new task and is pruned to 90 % again, without a word about any ratio."""
    experiment = parse(EXPERIMENT.format(physics=world, storage=tmp_path))
    pruning = experiment.pruning
    trainer = BaselineTrainer(tmp_path, experiment)
    while not trainer.step().done:
        pass
    baseline = trainer.finish()
    assert baseline.returned.value > 450
    chosen = plan(**GATED, scope="actor", rounds=32, env_steps=192_000)
    rounds = TrialRounds(experiment, StudyFolder(tmp_path, "study"), baseline, 0, chosen)

    def until_held(ratio: float) -> list[Point]:
        points: list[Point] = []
        while not rounds.done:
            points.append(rounds.step())
            if points[-1].retention >= pruning.hold and points[-1].target >= ratio:
                break
        return points

    before = until_held(0.9)
    set_physics(world, REVERSED)
    after = until_held(0.9)
    rounds.stop()
    told = [(p.round, p.target, p.weight_sparsity, p.retention) for p in rounds.record.points]

    for points in (before, after):
        assert points[-1].retention >= pruning.hold and points[-1].weight_sparsity >= 0.9, told
    # Sparsity is what the gate asks for, and grows only where the round before has held.
    for one, two in pairwise([*before, *after]):
        assert two.weight_sparsity == pytest.approx(two.target, abs=0.002), told
        assert two.target <= one.target or one.retention >= pruning.hold, told
    # What was learned before is worth nothing now ...
    assert baseline.retention(after[0].return_pruned) < pruning.floor, told
    assert after[0].retention < pruning.floor, told
    # ... so weights come back, as they held once in the old world, until it is relearned.
    lowest = min(after, key=lambda point: point.target)
    assert 1 - lowest.target >= 2 * (1 - before[-1].target), told
    assert lowest.nonzero > before[-1].nonzero, told
