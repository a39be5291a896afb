"""Invariant 1, zero means zero, over real RLlib updates; and what undoes it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID

from prune_search.plan.plan import Plan
from prune_search.rllib.configuration.algorithms import algorithm_config
from prune_search.rllib.learners import masks as learner
from prune_search.rllib.running import each_learner, sync_weights, unwrapped
from prune_search.trial.pruning.pruner import Pruner


def plan(**changes: Any) -> Plan:
    """A one-shot plan at 80 %, with changes."""
    fields: dict[str, Any] = {
        "granularity": "weight",
        "criterion": "magnitude",
        "allocation": "erk",
        "scope": "both",
        "ratio": 0.8,
        "critic_ratio": 0.6,
        "schedule": "one_shot",
        "start": 0.0,
        "rounds": 1,
        "env_steps": 1000,
        "lr_scale": 1.0,
    }
    return Plan(**(fields | changes))


def threshold_plan(**changes: Any) -> Plan:
    fields = {"allocation": None, "ratio": None, "critic_ratio": None, "criterion": "threshold"}
    return plan(**(fields | {"threshold": 1.0, "threshold_unit": "std"} | changes))


def check_zeros(algorithm: Any, masks: dict[str, torch.Tensor]) -> None:
    """Masked entries are exactly zero in every learner, its moments and every env runner."""

    def alive(tensor: torch.Tensor, mask: torch.Tensor) -> bool:
        return bool(torch.count_nonzero(tensor[~mask]))

    def in_learner(held: Any) -> list[str]:
        parameters = dict(unwrapped(held).named_parameters())
        (_, optimizer), *_ = held.get_optimizers_for_module(DEFAULT_MODULE_ID)
        bad = [name for name, mask in masks.items() if alive(parameters[name], mask)]
        for key in ("exp_avg", "exp_avg_sq"):
            moments = {name: optimizer.state[parameters[name]][key] for name in masks}
            bad += [f"{name} {key}" for name, mask in masks.items() if alive(moments[name], mask)]
        return bad

    def in_runner(runner: Any) -> list[str]:
        parameters = dict(runner.module.named_parameters())
        acting = {name: mask for name, mask in masks.items() if name in parameters}
        return [name for name, mask in acting.items() if alive(parameters[name], mask)]

    learners = max(1, algorithm.config.num_learners)
    assert each_learner(algorithm, in_learner) == [[]] * learners
    # The local env runner of an algorithm with remote ones has the weights, too.
    runners = 1 + algorithm.config.num_env_runners
    assert algorithm.env_runner_group.foreach_env_runner(in_runner) == [[]] * runners


@pytest.mark.parametrize(
    "chosen",
    [
        plan(),
        plan(criterion="gradient", allocation="uniform"),
        threshold_plan(),
        plan(granularity="neuron", allocation="global", criterion="saliency"),
        threshold_plan(granularity="neuron", threshold=0.1, threshold_unit="absolute"),
        plan(scope="actor", critic_ratio=None, criterion="random"),
        plan(scope="critic", critic_ratio=None, allocation="global"),
    ],
    ids=lambda p: f"{p.granularity}-{p.criterion}-{p.allocation}-{p.scope}-{p.threshold_unit}",
)
def test_masks_hold_over_updates(algorithm: Any, chosen: Plan) -> None:
    pruner = Pruner(algorithm, chosen, seed=0)
    if not pruner.prune(1.0):  # criteria of gradients have none before the first iteration
        assert chosen.criterion in ("gradient", "saliency")
        algorithm.train()
        assert pruner.prune(1.0)
    masks = learner.masks(algorithm)
    dense = {name for name, mask in masks.items() if mask.all()}
    assert dense != set(masks)
    for _ in range(2):
        algorithm.train()
        check_zeros(algorithm, masks)
    acting, trained, _ = pruner.sizes()
    counted = {name: int((~mask).sum()) for name, mask in masks.items()}
    zeros = trained.parameters - trained.nonzero
    assert zeros == sum(counted.values())  # nothing else became zero, and nothing came back
    if chosen.ratio is not None and chosen.scope != "critic":
        assert acting.weight_sparsity >= chosen.ratio - 0.005
    if chosen.scope == "actor":
        assert all(mask.all() for name, mask in masks.items() if "critic" in name or "vf" in name)
    if chosen.scope == "critic":
        assert acting.sparsity == 0


def test_without_masks_adam_fills_the_zeros(algorithm: Any) -> None:
    """What the masks are for: zeroing weights once is undone by the next update."""
    algorithm.train()
    pruner = Pruner(algorithm, plan(), seed=0)
    pruner.prune(1.0)

    each_learner(algorithm, lambda held: getattr(held, learner._ATTRIBUTE).remove())
    algorithm.train()
    assert pruner.sizes()[0].weight_sparsity < 0.1


def test_env_runner_acts_by_the_pruned_weights_at_once(algorithm: Any) -> None:
    """Env runners ignore weights of a sequence number that they have seen."""
    Pruner(algorithm, plan(), seed=0).prune(1.0)
    (state,) = algorithm.env_runner_group.foreach_env_runner(
        lambda runner: dict(runner.module.named_parameters())
    )
    trained = learner.weights(algorithm)
    for name, weight in state.items():
        assert torch.equal(weight, trained[name]), name


def test_removed_values_come_back_bit_for_bit(algorithm: Any) -> None:
    before = learner.weights(algorithm)
    Pruner(algorithm, plan(), seed=0).prune(1.0)
    removed = learner.mask_state(algorithm)["removed"]
    after = learner.weights(algorithm)
    for name, values in removed.items():
        assert torch.equal(after[name] + values, before[name])


def test_schedule_is_followed_and_masks_only_shrink(algorithm: Any) -> None:
    pruner = Pruner(algorithm, plan(schedule="cubic", end=0.8, scope="actor", critic_ratio=None), 0)
    reached: list[float] = []
    kept: dict[str, torch.Tensor] = {}
    for progress in (0.0, 0.2, 0.4, 0.4, 0.6, 0.8, 1.0):
        pruner.prune(progress)
        masks = learner.masks(algorithm)
        assert all(torch.all(kept[name] | ~masks[name]) for name in kept)
        kept = masks
        reached.append(pruner.sizes()[0].weight_sparsity)
    expected = [0.8 * (1 - (1 - min(1, p / 0.8)) ** 3) for p in (0, 0.2, 0.4, 0.4, 0.6, 0.8, 1)]
    assert reached == pytest.approx(expected, abs=0.003)


def test_shared_encoder_counts_as_the_actors(tiny: Any) -> None:
    config = algorithm_config(tiny("algorithm.model.vf_share_layers=true"), seed=0)
    built = config.build_algo()
    pruner = Pruner(built, plan(granularity="neuron", allocation="uniform"), seed=0)
    assert any("encoder" in name for name in pruner.networks["actor"].layers)
    assert pruner.networks["critic"].layers == ("vf.net.mlp.0.weight",)
    pruner.prune(1.0)
    built.train()
    check_zeros(built, learner.masks(built))
    built.stop()


@pytest.mark.slow
def test_masks_hold_on_two_remote_runners_and_a_learner(tiny: Any, local_ray: None) -> None:
    experiment = tiny("resources.env_runners=2", "resources.learners=1")
    built = algorithm_config(experiment, seed=0).build_algo()
    pruner = Pruner(built, plan(), seed=0)
    pruner.prune(1.0)
    sync_weights(built)
    masks = learner.masks(built)
    for _ in range(2):
        built.train()
        check_zeros(built, masks)
    built.stop()


@pytest.mark.slow
def test_an_error_or_a_loss_of_one_learner_is_not_passed_over(tiny: Any, local_ray: None) -> None:
    built = algorithm_config(tiny("resources.learners=2"), seed=0).build_algo()
    manager = built.learner_group._worker_manager
    manager.set_actor_state(1, False)
    with pytest.raises(RuntimeError, match="1 of 2 learners answered"):
        learner.weights(built)
    manager.set_actor_state(1, True)

    def fail(held: Any) -> None:
        raise ArithmeticError("in a learner's process")

    with pytest.raises(ArithmeticError, match="in a learner's process"):
        each_learner(built, fail)
    built.stop()
