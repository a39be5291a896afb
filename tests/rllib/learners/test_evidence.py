"""What learners collect for criteria, and steps that change nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from prune_search.rllib.learners import masks as learner
from prune_search.rllib.learners.evidence import STATISTICS, Collector, average
from prune_search.rllib.learners.parameters import optimizers
from prune_search.rllib.running import each_learner, unwrapped
from prune_search.sparsity.structure.tracing import couplings
from tests.algorithms import built, check_zeros, prune, small


def network() -> nn.Sequential:
    torch.manual_seed(0)
    conv = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*conv, nn.Linear(36, 5), nn.Tanh(), nn.Linear(5, 2))


def test_statistics_are_those_of_the_steps() -> None:
    module, example = network(), torch.randn(3, 1, 5, 5)
    parameters = dict(module.named_parameters())
    collector = Collector(parameters, STATISTICS)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    units = couplings(module, example, lambda m, x: m(x), heads=())
    layers = {f"{name}.weight": layer for name, layer in module.named_modules()}
    collector.watch_units(units, layers)
    assert collector.result() is None
    gradients, weights, filters, neurons = [], [], [], []
    for _ in range(4):
        optimizer.zero_grad()
        batch = torch.randn(7, 1, 5, 5)
        module(batch).square().sum().backward()
        gradients.append(module[3].weight.grad.clone())
        weights.append(module[3].weight.detach().clone())
        with torch.no_grad():
            filters.append(torch.relu(module[0](batch)).mean((0, 2, 3)))
            neurons.append(module[:5](batch).abs().mean(0))
        collector.see({name: weight.grad for name, weight in module.named_parameters()})
        optimizer.step()
    found = collector.result()
    assert found is not None
    both = list(zip(weights, gradients, strict=True))
    close = torch.testing.assert_close
    close(found["gradient"]["3.weight"], sum(gradients) / 4)
    close(found["square"]["3.weight"], sum(g.square() for g in gradients) / 4)
    close(found["movement"]["3.weight"], -sum(w * g for w, g in both))
    assert set(found["activation"]) == {"0.weight", "3.weight"}
    close(found["activation"]["3.weight"], sum(neurons) / 4)
    close(found["activation"]["0.weight"], sum(filters) / 4)

    other = Collector(parameters, STATISTICS)
    other.load_state_dict(collector.state_dict())
    again = other.result()
    assert again is not None
    for statistic, values in found.items():
        for name, value in values.items():
            assert torch.equal(again[statistic][name], value)
    collector.remove()
    module(example)
    assert collector.result() is not None
    close(collector.result()["activation"]["3.weight"], found["activation"]["3.weight"])


def test_statistics_outlast_a_change_of_masks() -> None:
    """What was seen before counts as 32 steps at most; movement is a sum over what is kept."""
    weight = nn.Parameter(torch.tensor([1.0, 2.0]))
    collector = Collector({"w": weight}, STATISTICS)

    def see(gradient: float, steps: int) -> None:
        for _ in range(steps):
            collector.see({"w": torch.full((2,), gradient)})

    def found() -> dict[str, list[float]]:
        result = collector.result()
        assert result is not None
        return {name: result[name]["w"].tolist() for name in ("gradient", "square", "movement")}

    see(1.0, 96)
    kept = torch.tensor([True, False])
    for _ in range(2):  # as pruning and growing one after the other do
        collector.carry({"w": kept})
    assert found() == {"gradient": [1.0, 1.0], "square": [1.0, 1.0], "movement": [-96.0, 0.0]}
    with torch.no_grad():
        weight[1] = 0.0
    see(3.0, 32)
    assert found() == {"gradient": [2.0, 2.0], "square": [5.0, 5.0], "movement": [-192.0, 0.0]}
    collector.restart()
    assert collector.result() is None


def test_several_learners_see_the_same_gradients_and_their_own_activations() -> None:
    one = {"gradient": {"w": torch.ones(2)}, "activation": {"w": torch.tensor([1.0])}}
    two = {"gradient": {"w": torch.ones(2)}, "activation": {"w": torch.tensor([3.0])}}
    found = average([one, two])
    assert found is not None and found["activation"]["w"].tolist() == [2.0]
    assert found["gradient"]["w"].tolist() == [1.0, 1.0]
    assert average([one, None]) is None


def test_unknown_statistics_are_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown statistics \['curvature'\]; known: gradient"):
        Collector({}, ["curvature"])


@pytest.mark.parametrize("name", ["ppo", "ppo-images", "ppo-lstm", "appo", "dqn", "sac"])
def test_frozen_steps_collect_and_change_nothing(local_ray: None, name: str) -> None:
    with built(small(name)) as algorithm:
        algorithm.train()
        masks = prune(algorithm, "weight")
        learner.attach(algorithm, frozenset(STATISTICS))
        learner.set_masks(algorithm, masks)
        assert learner.evidence(algorithm) is None
        before = everything(algorithm)
        with learner.frozen(algorithm):
            for _ in range(2):
                algorithm.train()
        after = everything(algorithm)
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before)
        found = learner.evidence(algorithm)
        assert found is not None and set(found) == set(STATISTICS)
        weights = learner.weights(algorithm)
        for statistic in ("gradient", "square", "movement"):
            assert set(found[statistic]) <= set(weights)
            assert set(found[statistic]) >= set(masks)
            for parameter, value in found[statistic].items():
                assert value.shape == weights[parameter].shape
        units = learner.one(algorithm, lambda held: learner.networks_of(held, units=True))
        produced = {unit.layer: unit.units for net in units.values() for unit in net.units}
        activations = found["activation"]
        assert {layer: len(value) for layer, value in activations.items()} == produced
        assert all(bool((value >= 0).all()) for value in activations.values())

        state = learner.mask_state(algorithm)
        learner.attach(algorithm, frozenset({"gradient"}))
        learner.load_mask_state(algorithm, state)
        kept = learner.evidence(algorithm)
        assert kept is not None and set(kept) == {"gradient"}
        for parameter, value in kept["gradient"].items():
            assert torch.equal(value, found["gradient"][parameter])
        algorithm.train()
        check_zeros(algorithm, masks)
        moved = learner.weights(algorithm)
        assert not all(torch.equal(moved[key], weights[key]) for key in weights)


def everything(algorithm: Any) -> dict[str, torch.Tensor]:
    """Networks, targets, optimizers and adapted numbers of a learner."""

    def run(held: Any) -> dict[str, torch.Tensor]:
        found = {
            f"module {name}": value.clone()
            for name, value in unwrapped(held).state_dict().items()
            if isinstance(value, torch.Tensor)
        }
        for number, optimizer in enumerate(optimizers(held)):
            for key, state in optimizer.state_dict()["state"].items():
                for name, value in state.items():
                    found[f"optimizer {number} {key} {name}"] = torch.as_tensor(value).clone()
        return found

    found = each_learner(algorithm, run)[0]
    for attribute, values in learner.adaptive_state(algorithm).items():
        found |= {f"{attribute} {name}": torch.tensor(value) for name, value in values.items()}
    return found
