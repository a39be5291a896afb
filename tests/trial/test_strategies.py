"""Every kind of plan through real rounds: what it does to the network, and that it resumes exactly.

A trial is run once as a whole and once with a new process' worth of state for each round; both
must measure the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core.rl_module.rl_module import RLModule

from prune_search.export.rllib import laid_back
from prune_search.plan.axes import names
from prune_search.plan.plan import Plan
from prune_search.records.folder import StudyFolder
from prune_search.records.models import Did, Point
from prune_search.rllib.configuration.algorithms import MODULE_PATH, algorithm_config
from prune_search.rllib.evaluation.checkpoint_meter import CheckpointMeter
from prune_search.rllib.learners import masks as learner
from prune_search.rllib.networks.shapes import shrinkable
from prune_search.trial.pruning.pruner import Pruner
from prune_search.trial.rounds import TrialRounds
from tests.plans import SHORT, plan


def figures(point: Point) -> dict[str, Any]:
    return point.model_dump(exclude={"time", "train_s", "eval_s"})


def run(experiment: Any, folder: StudyFolder, baseline: Any, chosen: Plan) -> list[Point]:
    rounds = TrialRounds(experiment, folder, baseline, 0, chosen)
    while not rounds.done:
        rounds.step()
    rounds.stop()
    return rounds.record.points


def resumed(experiment: Any, folder: StudyFolder, baseline: Any, chosen: Plan) -> list[Point]:
    """The same, with everything but the folder thrown away after each round."""
    while True:
        rounds = TrialRounds(experiment, folder, baseline, 0, chosen)
        if rounds.done:
            return rounds.record.points
        rounds.step()
        rounds.stop()
        np.random.seed(0)
        torch.manual_seed(0)


GATED = {"schedule": "gated", "ratio": None, "critic_ratio": None, "start": None, "end": None}
DENSITIES = {
    f"{network}.net.mlp.{layer}.weight": density
    for network, layer, density in (
        ("encoder.actor_encoder", 0, 1.0),
        ("encoder.actor_encoder", 2, 0.2),
        ("encoder.critic_encoder", 0, 0.5),
        ("encoder.critic_encoder", 2, 0.1),
        ("pi", 0, 1.0),
        ("vf", 0, 1.0),
    )
}
KINDS = {
    "dormant, distilled": plan(
        granularity="neuron", criterion="dormant", allocation="uniform", distillation=1.0,
        temperature=2.0,
    ),
    "2:4": plan(
        granularity="2:4", criterion="fisher", allocation=None, ratio=None, critic_ratio=None,
        schedule="cosine",
    ),
    "gated": plan(**GATED),
    "gated neuron": plan(**GATED, granularity="neuron", criterion="activation"),
    "snip": plan(origin="scratch", criterion="saliency", schedule="one_shot", end=None),
    "rigl": plan(
        origin="scratch", criterion="random", allocation="erk", schedule="one_shot",
        regrowth="rigl", drop_fraction=0.3, regrow_every=500, end=0.9,
    ),
    "rigl cubic": plan(
        schedule="cubic", start=0.1, criterion="movement", allocation="lamp", regrowth="rigl",
        drop_fraction=0.3, regrow_every=300, end=0.9,
    ),
    "set": plan(
        schedule="linear", criterion="saliency", regrowth="set", drop_fraction=0.3,
        regrow_every=500, end=0.9,
    ),
    "initial": plan(criterion="gradient", rewind="initial", start=0.1, end=0.9),
    "early": plan(
        allocation="searched", densities=DENSITIES, rewind="early", schedule="one_shot",
        start=0.5, end=None,
    ),
    "learning rate": plan(allocation="sensitivity", rewind="learning_rate"),
    "permuted": plan(rewind="permuted"),
    "random": plan(rewind="random", granularity="neuron", allocation="uniform"),
}  # fmt: skip


QUICK = {"rigl cubic"}


@pytest.mark.parametrize(
    ("axis", "without_state"),
    [
        ("criterion", {"magnitude", "threshold", "l1_norm", "l2_norm", "geometric_median"}),
        ("schedule", set()),
        ("allocation", set()),
        ("origin", set()),
        ("rewind", set()),
        ("regrowth", set()),
    ],
)
def test_whatever_has_a_state_is_resumed(axis: str, without_state: set[str]) -> None:
    """A new entry of an axis belongs into one of the plans that are resumed."""
    resumed = {getattr(chosen, axis) for chosen in KINDS.values()}
    assert set(names(axis)) - without_state <= resumed


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in KINDS],
)
def test_every_kind_of_plan_resumes_exactly(
    tiny: Any, baseline: Any, tmp_path: Path, name: str
) -> None:
    chosen = KINDS[name]
    # A gate goes by the retention, which full episodes tell.
    experiment = tiny() if chosen.schedule == "gated" else tiny(SHORT)
    whole = run(experiment, StudyFolder(tmp_path, "whole"), baseline, chosen)
    parts = resumed(experiment, StudyFolder(tmp_path, "parts"), baseline, chosen)
    assert [figures(point) for point in parts] == [figures(point) for point in whole]
    assert whole[-1].sparsity > 0.2
    did = Did.total([point.did for point in whole])
    assert did is not None and did.prunings > 0
    assert did.rewinds == (did.prunings if chosen.rewind != "none" else 0)
    assert did.regrowths == did.regrowths_due and (did.regrown > 0) == (chosen.regrowth != "none")
    rounds = [did.gate_pruned, did.gate_held, did.gate_took_back]
    assert sum(rounds) == (len(whole) if chosen.schedule == "gated" else 0)


def test_pruned_neurons_are_gone_and_the_dense_shape_comes_back(
    tiny: Any, baseline: Any, tmp_path: Path
) -> None:
    """The checkpoint is smaller, figures are of the baseline's network, and nothing is lost."""
    folder = StudyFolder(tmp_path, "study")
    points = run(tiny(SHORT), folder, baseline, plan(granularity="neuron", allocation="uniform"))
    point = points[-1]
    assert point.parameters == baseline.parameters
    assert point.physical < 0.5 * baseline.parameters
    # Nothing but the removed units is zero: what is left is dense.
    assert point.nonzero == pytest.approx(point.physical, rel=0.02)
    path = folder.path / point.checkpoint / "algorithm"
    small = RLModule.from_checkpoint(path / MODULE_PATH)
    measured = CheckpointMeter(tiny(SHORT)).measure(path, 0, 6)
    assert measured.returned == point.returned
    assert measured.size.parameters == point.physical
    # Laid back into the dense shape it computes the same.
    whole = laid_back(path, Path(baseline.checkpoint))["default_policy"]
    shapes = {name: tuple(value.shape) for name, value in whole.named_parameters()}
    dense = RLModule.from_checkpoint(Path(baseline.checkpoint) / MODULE_PATH)
    assert shapes == {name: tuple(value.shape) for name, value in dense.named_parameters()}
    batch = {"obs": torch.randn(32, 4)}
    for left, right in zip(
        small.forward_inference(batch).values(),
        whole.forward_inference(batch).values(),
        strict=True,
    ):
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-6)
    restored = Algorithm.from_checkpoint(path)
    restored.train()
    assert sum(p.numel() for p in restored.get_module().parameters()) < baseline.parameters
    restored.stop()


def test_both_networks_lose_the_units_of_an_encoder_that_they_share(
    tiny: Any, baseline: Any
) -> None:
    """What the critic reads of a neuron goes with it, or it could not be taken out."""
    algorithm = shrinkable(
        algorithm_config(tiny("algorithm.model.vf_share_layers=true"), seed=3)
    ).build_algo()
    pruner = Pruner(algorithm, plan(granularity="neuron", schedule="one_shot", end=None), seed=0)
    assert pruner.prune(0.0)
    masks = learner.masks(algorithm)
    gone = ~masks["encoder.encoder.net.mlp.2.bias"]
    assert gone.any()
    for head in ("pi", "vf"):
        assert not masks[f"{head}.net.mlp.0.weight"][:, gone].any()
    before, _, physical = pruner.sizes()
    assert pruner.shrink()
    after, _, left = pruner.sizes()
    algorithm.stop()
    assert after == before and left == before.nonzero < physical


def test_rewinding_brings_back_the_first_weights_under_the_mask(
    tiny: Any, baseline: Any, tmp_path: Path
) -> None:
    """Frankle & Carbin 2019: after pruning, what is left has the value that it began with."""
    chosen = plan(rewind="initial", lr_scale=1e-9)  # training moves nothing
    rounds = TrialRounds(tiny(), StudyFolder(tmp_path, "study"), baseline, 0, chosen)
    rounds.step()
    assert rounds.trained is not None
    weights, masks = (
        learner.weights(rounds.trained.algorithm),
        learner.masks(rounds.trained.algorithm),
    )
    rounds.stop()
    first = torch.load(Path(baseline.checkpoint).with_name("initial.pt"), weights_only=True)
    name = "encoder.actor_encoder.net.mlp.0.weight"
    torch.testing.assert_close(weights[name], first[name] * masks[name], rtol=1e-4, atol=1e-6)
    assert not masks[name].all()


def test_rigl_changes_the_mask_and_keeps_the_sparsity(
    tiny: Any, baseline: Any, tmp_path: Path
) -> None:
    rounds = TrialRounds(tiny(), StudyFolder(tmp_path, "study"), baseline, 0, KINDS["rigl"])
    seen = []
    for _ in range(2):
        rounds.step()
        assert rounds.trained is not None
        seen.append(learner.masks(rounds.trained.algorithm))
    rounds.stop()
    first, second = rounds.record.points[:2]
    assert first.weight_sparsity == pytest.approx(second.weight_sparsity, abs=1e-3)
    changed = [name for name in seen[0] if not torch.equal(seen[0][name], seen[1][name])]
    assert changed
    for name in changed:
        assert int(seen[0][name].sum()) == int(seen[1][name].sum())


def test_scoring_before_training_moves_no_weight(tiny: Any, baseline: Any, tmp_path: Path) -> None:
    """SNIP at initialisation: gradients of real batches at the very weights that are pruned."""
    chosen = plan(
        origin="scratch", criterion="saliency", schedule="one_shot", end=None, rounds=1,
        env_steps=512,
    )  # fmt: skip
    config = algorithm_config(tiny(), seed=3)
    algorithm = config.build_algo()
    pruner = Pruner(algorithm, chosen, seed=0)
    before = learner.weights(algorithm)
    assert pruner.blind(0.0)
    with learner.frozen(algorithm):
        algorithm.train()
    after = learner.weights(algorithm)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not pruner.blind(0.0) and pruner.prune(0.0)
    acting, _, _ = pruner.sizes()
    algorithm.stop()
    assert acting.weight_sparsity == pytest.approx(0.8, abs=0.01)
