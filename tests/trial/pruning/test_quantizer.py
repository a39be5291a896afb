"""Quantized plans through real rounds: few values from then on, zeros kept, resumed exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.core.rl_module.rl_module import RLModule

from prune_search.export.describing import describe
from prune_search.packed.file import pack
from prune_search.packed.quantizing import quantized_policy
from prune_search.records.folder import StudyFolder
from prune_search.records.models import Did, Point
from prune_search.records.objectives import objectives
from prune_search.rllib.configuration.algorithms import MODULE_PATH
from prune_search.trial.pruning.dynamics import missing
from prune_search.trial.rounds import TrialRounds
from tests.plans import SHORT, plan

ROUNDS: dict[str, Any] = {"rounds": 3, "start": 0.0, "end": 0.3, "schedule": "geometric"}


def figures(point: Point) -> dict[str, Any]:
    return point.model_dump(exclude={"time", "train_s", "eval_s"})


def actor(folder: StudyFolder, point: Point) -> dict[str, np.ndarray]:
    """The weights that act, in a point's checkpoint."""
    module = RLModule.from_checkpoint(folder.path / point.checkpoint / "algorithm" / MODULE_PATH)
    acting = module.get_state(inference_only=True)
    return {name: value for name, value in acting.items() if name.endswith(("weight", "bias"))}


def run(
    experiment: Any, folder: StudyFolder, baseline: Any, chosen: Any, *, resumed: bool = False
) -> list[Point]:
    rounds = TrialRounds(experiment, folder, baseline, 0, chosen)
    while not rounds.done:
        rounds.step()
        if resumed:
            rounds.stop()
            np.random.seed(0)
            torch.manual_seed(0)
            rounds = TrialRounds(experiment, folder, baseline, 0, chosen)
    rounds.stop()
    return rounds.record.points


@pytest.mark.parametrize(
    "quantization",
    [
        "network_sharing",
        pytest.param("uniform", marks=pytest.mark.slow),
        pytest.param("sharing", marks=pytest.mark.slow),
    ],
)
def test_weights_take_few_values_and_train_on(
    tiny: Any, baseline: Any, tmp_path: Path, quantization: str
) -> None:
    """From the second of three rounds on; resumed after each, a trial measures the same."""
    chosen = plan(**ROUNDS, quantization=quantization, bits=3, quantized_from=0.4)
    folder = StudyFolder(tmp_path, "whole")
    points = run(tiny(SHORT), folder, baseline, chosen)
    assert f"{quantization} 3 bits" in chosen.label
    weights = [actor(folder, point) for point in points]
    before, *after = weights
    assert len(np.unique(np.concatenate([value.ravel() for value in before.values()]))) > 100
    for values in after:
        for name, value in values.items():
            kernel = name.endswith("weight")
            rows = value if quantization == "uniform" and kernel else value.reshape(1, -1)
            most = 2**3 if kernel or quantization != "uniform" else 2**8
            assert all(len(np.unique(row)) <= most for row in rows)
    assert any(not np.array_equal(after[0][name], after[1][name]) for name in after[0])
    sparsities = [point.weight_sparsity for point in points]
    assert sparsities[0] == pytest.approx(0.8, abs=0.01) and min(sparsities[1:]) >= sparsities[0]
    counts = [point.did.quantized for point in points if point.did]
    assert counts[0] == counts[2] == 0 < counts[1]

    assert points[0].packed_bytes is None
    for point in points[1:]:
        described = describe(folder.path / point.checkpoint / "algorithm").policy
        data = pack(quantized_policy(described, quantization, 3), {})
        assert point.packed_bytes == len(data) and not point.cost_missing
    trial = folder.trial(0)
    assert trial is not None
    delivered = objectives(trial, -np.inf)["packed_bytes"]
    assert delivered in [point.packed_bytes for point in points[1:]]

    again = run(tiny(SHORT), StudyFolder(tmp_path, "parts"), baseline, chosen, resumed=True)
    assert [figures(point) for point in again] == [figures(point) for point in points]


def test_the_last_rounds_policy_is_quantized_after_its_training(
    tiny: Any, baseline: Any, tmp_path: Path
) -> None:
    """Also where neurons leave the network; and the return is the quantized policy's."""
    chosen = plan(
        **{**ROUNDS, "rounds": 2},
        **{"granularity": "neuron", "criterion": "l2_norm", "allocation": "uniform"},
        **{"quantization": "sharing", "bits": 2, "quantized_from": 1.0},
    )
    folder = StudyFolder(tmp_path, "study")
    points = run(tiny(SHORT), folder, baseline, chosen)
    assert [point.packed_bytes is None for point in points] == [True, False]
    last = actor(folder, points[-1])
    assert all(len(np.unique(value)) <= 4 for value in last.values())


def test_a_quantization_that_never_happens_is_told() -> None:
    chosen = plan(quantization="uniform", bits=4, quantized_from=1.0)
    assert missing(chosen, Did(prunings=1)) == "quantization uniform never happened"
    assert missing(chosen, Did(prunings=1, quantized=8)) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quantization": "uniform", "bits": 4, "quantized_from": 0.5}, "before the last pruning"),
        ({"quantization": "uniform", "bits": 9, "quantized_from": 1.0}, "bits"),
        ({"quantization": "unifrom"}, "quantization: unknown 'unifrom', did you mean uniform"),
        ({"quantization": "uniform", "quantized_from": 1.0}, "bits: required"),
        (
            {"quantization": "sharing", "bits": 4, "quantized_from": 1.0, "schedule": "gated"},
            "quantization sharing does not go with schedule gated: it follows the last pruning",
        ),
    ],
)
def test_plans_that_say_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan(**changes)
