"""`algorithm.module`: networks of a user's own, masked, and made smaller where they can be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core.rl_module.rl_module import RLModule

from prune_search.errors import UserError
from prune_search.experiment.file import parse
from prune_search.experiment.schema import Experiment
from prune_search.export.rllib import compacted, policies
from prune_search.records.folder import StudyFolder
from prune_search.rllib.configuration.algorithms import MODULE_PATH
from prune_search.rllib.evaluation.checkpoint_meter import CheckpointMeter
from prune_search.trial.baselines.baseline import BaselineTrainer
from prune_search.trial.preflight import check
from prune_search.trial.rounds import TrialRounds
from tests.own_networks import Residual, Shrinkable
from tests.plans import plan

OWN = """
environment: {id: AnyKind-v0, modules: [tests.environments]}
algorithm:
  module: tests.own_networks.Shrinkable
  model: {width: 24}
  training: {lr: 0.02, train_batch_size_per_learner: 128, minibatch_size: 64, num_epochs: 4}
baseline: {env_steps: 512}
pruning: {granularity: weight, criterion: magnitude, env_steps: 256, floor: 0}
evaluation: {episodes: 4, envs: 4}
resources: {envs_per_env_runner: 4}
"""


def own(name: str = "Shrinkable", *overrides: str) -> Experiment:
    return parse(OWN.replace("Shrinkable", name), list(overrides))


@pytest.mark.parametrize(
    ("name", "granularity"),
    [("Residual", "weight"), pytest.param("Shrinkable", "neuron", marks=pytest.mark.slow)],
)
def test_own_networks_are_trained_pruned_saved_and_opened_by_rllib(
    local_ray: None, tmp_path: Path, name: str, granularity: str
) -> None:
    """Weights of any, units of those that have the mixin; a trial resumes from its checkpoint."""
    experiment = own(name, f"pruning.granularity={granularity}", f"storage={tmp_path}")
    check(experiment)
    trainer = BaselineTrainer(tmp_path, experiment)
    while not trainer.step().done:
        pass
    baseline, folder = trainer.finish(), StudyFolder(tmp_path, "study")
    chosen = plan(granularity=granularity, rounds=2, env_steps=256, ratio=0.5)
    for _ in range(2):  # the second goes on from the first's checkpoint
        rounds = TrialRounds(experiment, folder, baseline, 1, chosen)
        rounds.step()
        rounds.stop()
    points = rounds.record.points
    assert [point.name for point in points] == ["t01/0", "t01/1"]

    checkpoint = folder.path / points[-1].checkpoint / "algorithm"
    module = RLModule.from_checkpoint(checkpoint / MODULE_PATH)
    assert type(module) is {"Residual": Residual, "Shrinkable": Shrinkable}[name]
    acting = module.get_state(inference_only=True)
    weights = {key: value for key, value in module.named_parameters() if key in acting}
    assert "values.0.weight" not in weights  # the critic's
    assert sum(int(torch.count_nonzero(value)) for value in weights.values()) == points[-1].nonzero
    missing = points[-1].cost_missing.get("compact_bytes", "")
    assert ("class Shrinkable(ShrunkModule, Residual)" in missing) == (name == "Residual")
    assert (points[-1].compact_bytes is None) == (name == "Residual")
    if granularity == "neuron":
        assert sum(value.numel() for value in weights.values()) < baseline.parameters
        assert compacted(policies(checkpoint))["default_policy"].module is not None
    meter = CheckpointMeter(experiment, tmp_path)
    assert meter.measure(checkpoint, 0, 4).returned == points[-1].returned
    again = Algorithm.from_checkpoint(checkpoint)
    for key, value in again.get_module().named_parameters():
        if key in acting:
            assert torch.equal(value, weights[key]), key
    again.stop()


@pytest.mark.parametrize(
    ("experiment", "told"),
    [
        (own("Missing"), "algorithm.module: cannot import 'tests.own_networks.Missing'"),
        (own("torch"), "algorithm.module: must name a class derived from RLlib's TorchRLModule"),
        (own("NoValues"), "algorithm.module: tests.own_networks.NoValues lacks ValueFunctionAPI"),
        (
            own("Failing"),
            "algorithm.module: tests.own_networks.Failing fails with two observations",
        ),
        (
            own("Residual", "pruning.granularity=neuron"),
            "pruning.shrink: tests.own_networks.Residual can't be built at other shapes",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else value.algorithm.module,
)
def test_networks_that_cannot_be_used_are_refused_before_training(
    experiment: Experiment, told: str
) -> None:
    with pytest.raises(UserError) as error:
        check(experiment)
    assert str(error.value).startswith(told)


def test_without_the_mixin_units_are_masked_only() -> None:
    check(own("Residual", "pruning.granularity=neuron", "pruning.shrink=false"))
