"""What policies cost, of every algorithm's heads; and of networks that don't let it be counted."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from gymnasium import spaces
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModule, RLModuleSpec
from rich.console import Console

from prune_search.errors import UserError
from prune_search.records.folder import StudyFolder
from prune_search.records.models import StudyRecord
from prune_search.records.policy_files import stored_bytes
from prune_search.rllib.configuration.algorithms import ALGORITHMS, algorithm_config
from prune_search.rllib.evaluation.cost import acting, compact_policy, policy_cost
from prune_search.rllib.networks.roles import example_batch
from prune_search.trial.preflight import check
from prune_search.trial.rounds import TrialRounds
from tests.plans import plan
from tuners.benchmarks.methods.setups import ACTIONS, Setup, small_config, small_experiment
from tuners.display.tables import show
from tuners.report.as_json import to_json
from tuners.report.study_report import report
from tuners.tracking.mlflow.runs import trial_run

BOX = spaces.Box(-1.0, 1.0, (4,))


def inference_network(
    algorithm: str, action: spaces.Space, images: bool = False, **model: Any
) -> RLModule:
    """What acts for an algorithm of RLlib's, untrained."""
    setup = Setup(algorithm, ACTIONS[algorithm][0], "image" if images else "vector")
    experiment = small_experiment(setup)
    settings = small_config(experiment)
    settings.rl_module(model_config={**experiment.algorithm.model, **model})
    shape = (8, 8, 4) if images else (4,)
    both = (spaces.Box(0.0, 1.0, shape), action)
    torch.manual_seed(0)
    spec = settings.get_multi_rl_module_spec(
        spaces={"__env_single__": both, "default_policy": both}, inference_only=True
    )
    return spec.build()["default_policy"].unwrapped()


@torch.no_grad()
def cut_off(module: RLModule) -> None:
    """Prunes so much that units of every hidden layer have no inputs or readers any more."""
    for parameter in module.parameters():
        kept = torch.rand(parameter.shape, generator=torch.Generator().manual_seed(1)) > 0.9
        parameter.mul_(kept if parameter.dim() >= 2 else 1.0)


@pytest.mark.parametrize("images", [False, True])
@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name != "DQN"])
def test_gaussian_heads(algorithm: str, images: bool) -> None:
    """Counted and compacted, and the compacted policy acts alike, clipped deviations among it."""
    module = inference_network(algorithm, BOX, images)
    cut_off(module)
    with torch.no_grad():
        [head] = [layer for layer in module.modules() if getattr(layer, "out_features", 0) == 8]
        head.bias.copy_(torch.tensor([0.0, 1.0, -1.0, 2.0, 30.0, -30.0, 1.0, -1.0]))
    cost = policy_cost({"default_policy": module})
    assert cost.missing == {} and cost.macs is not None and cost.compact is not None
    whole = sum(parameter.numel() for parameter in module.parameters())
    assert cost.compact < whole == cost.bytes // 4
    found = compact_policy(module)
    assert sum(parameter.numel() for parameter in found.module.parameters()) == cost.compact
    clipped = [layer for layer in module.modules() if getattr(layer, "clip_log_std", False)]
    assert len(clipped) == (algorithm not in ("SAC", "CQL", "IQL"))
    assert all(layer.clip_log_std for layer in clipped)  # as they were
    batch = example_batch(module)
    [before], [after] = (acting(each, batch) for each in (module, found.module))
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-4)
    assert before.abs().max() == (20.0 if clipped else before.abs().max())


@pytest.mark.parametrize(
    ("action", "model"),
    [
        (BOX, {"free_log_std": True}),
        (BOX, {"use_lstm": True, "lstm_cell_size": 8, "max_seq_len": 4}),
        (BOX, {"use_lstm": True, "lstm_cell_size": 8, "max_seq_len": 4, "vf_share_layers": True}),
        (BOX, {"head_fcnet_hiddens": [12], "vf_share_layers": False}),
        (spaces.MultiDiscrete([2, 3]), {}),
    ],
    ids=["free-log-std", "lstm", "lstm-shared", "hidden-head", "multi-discrete"],
)
def test_other_heads(action: spaces.Space, model: dict[str, Any]) -> None:
    module = inference_network("PPO", action, **model)
    cut_off(module)
    cost = policy_cost({"default_policy": module}, timed=True)
    assert cost.missing == {}
    assert cost.macs and cost.compact and cost.latency_us


class Careful(DefaultPPOTorchRLModule):
    """Takes no observations that its task can't have, as compaction tries some."""

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        if batch[Columns.OBS].abs().max() > 8:
            raise OverflowError("no such observation")
        found: dict[str, Any] = super()._forward(batch, **kwargs)
        return found


class Mute(DefaultPPOTorchRLModule):
    """Says what to do, and not what it takes it from."""

    def _forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        found = super()._forward_inference(batch, **kwargs)
        return {Columns.ACTIONS: found[Columns.ACTION_DIST_INPUTS].argmax(-1)}


def save_checkpoint(experiment: Any, module: type, path: Path) -> None:
    """A user's checkpoint, with a network of this class."""
    settings = algorithm_config(experiment, seed=1)
    settings.rl_module(rl_module_spec=RLModuleSpec(module_class=module))
    algorithm = settings.build_algo()
    algorithm.save_to_path(path)
    algorithm.stop()


def test_a_figure_that_cannot_be_had_fails_no_round(
    tiny: Any, baseline: Any, tmp_path: Path
) -> None:
    """It is missing in the point, and its reason is shown."""
    save_checkpoint(tiny(), Careful, tmp_path / "theirs")
    experiment = tiny(f"baseline.checkpoint={tmp_path / 'theirs'}").trusting()
    dense = baseline.model_copy(update={"checkpoint": str(tmp_path / "theirs")})
    folder = StudyFolder(tmp_path, "study")
    folder.write_study(StudyRecord(name="study", started=0.0, baseline=dense))
    rounds = TrialRounds(
        experiment, folder, dense, 0, plan(schedule="one_shot", rounds=1, env_steps=1, end=None)
    )
    point = rounds.step()
    rounds.stop()
    assert rounds.record.state == "complete"
    assert point.macs == baseline.weights and point.bytes == 4 * baseline.parameters
    assert point.compact is point.compact_nonzero is point.compact_bytes is None
    assert point.stored_bytes == stored_bytes(folder.path / point.checkpoint / "algorithm") > 0
    assert "can't be compacted" in point.cost_missing["compact"]

    found = report(folder, experiment)
    [shown] = to_json(found)["front"]
    assert shown["compact"] is None and shown["cost_missing"].startswith("compact: ValueError")
    console = Console(width=100, record=True, file=io.StringIO())
    show(found, console)
    assert "compact of 1 of 1 point: ValueError" in console.export_text()
    record = folder.study()
    assert record is not None
    run = trial_run(record, rounds.record, experiment, None, over=True)
    assert "No figure for compact of 1 of 1 point" in run.tags["mlflow.note.content"]
    assert "rounds/macs" in (keys := {metric.key for metric in run.metrics})
    assert "rounds/compact_parameters" not in keys


def test_a_figure_that_the_search_goes_by_is_asked_for_before_training(
    tiny: Any, tmp_path: Path, local_ray: None
) -> None:
    save_checkpoint(tiny(), Mute, tmp_path / "theirs")
    given = f"baseline.checkpoint={tmp_path / 'theirs'}"
    for field, figure in (
        ("search.objectives=[retention, macs]", "macs"),
        ("search.constraints.max_latency_us=50", "latency_us"),
    ):
        with pytest.raises(UserError, match=f"{field.split('=')[0]}: {figure} can't be measured"):
            check(tiny(given, field).trusting())
    check(tiny(given).trusting())
