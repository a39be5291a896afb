"""Quantized weights trained on for themselves: their values move, and nothing else does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray.rllib.core.rl_module.rl_module import RLModule

from prune_search.errors import TrialError
from prune_search.records.folder import StudyFolder
from prune_search.records.models import BaselineRecord
from prune_search.rllib.configuration.algorithms import MODULE_PATH
from prune_search.trial.baselines.baseline import BaselineTrainer
from prune_search.trial.baselines.dense_control import control_plan
from prune_search.trial.fine_tuning import Start, fine_tune
from prune_search.trial.rounds import TrialRounds
from tests.plans import SHORT, plan

CONTINUOUS = (
    "environment.id=Pendulum-v1",
    "environment.wrappers=[{name: tests.environments.Thrifty}]",  # learned at once
    "baseline.env_steps=2000",
    "evaluation.max_steps=20",
)


def dense_policy(experiment: Any, storage: Path) -> BaselineRecord:
    """A dense policy that has learned next to nothing."""
    trainer = BaselineTrainer(storage, experiment)
    while not trainer.step().done:
        pass
    return trainer.finish()


def actor(checkpoint: Path) -> dict[str, Any]:
    """The weights that act."""
    acting = RLModule.from_checkpoint(checkpoint / MODULE_PATH).get_state(inference_only=True)
    return {name: value for name, value in acting.items() if name.endswith(("weight", "bias"))}


def flat(weights: dict[str, Any]) -> Any:
    return np.concatenate([weights[name].ravel() for name in sorted(weights)])


def test_centroids_follow_the_loss_and_assignments_stay(
    tiny: Any, baseline: Any, tmp_path: Path
) -> None:
    """Of a point that was quantized with more bits while it trained; and the same each time."""
    chosen = plan(
        rounds=1,
        env_steps=1000,
        schedule="one_shot",
        quantization="uniform",
        bits=4,
        quantized_from=0.5,
    )
    folder, experiment = StudyFolder(tmp_path, "study"), tiny(SHORT)
    rounds = TrialRounds(experiment, folder, baseline, 0, chosen)
    point = rounds.step()
    rounds.stop()
    begun = folder.path / point.checkpoint
    given = (Start(experiment, baseline, chosen, folder, begun), "network_sharing", 3)
    found = fine_tune(*given, 600, tmp_path / "tuned")
    before, after = flat(actor(begun / "algorithm")), flat(actor(found.algorithm))
    assert found.env_steps >= 600 and found.kept == np.count_nonzero(after)
    assert ((before == 0) <= (after == 0)).all(), "masks hold"
    values = np.unique(after[after != 0])
    assert len(values) == found.values <= 7
    whole = tmp_path / "whole"
    further = fine_tune(*given, 1200, whole)
    longer = flat(actor(further.algorithm))
    pairs = {(one, other) for one, other in zip(after, longer, strict=True)}
    assert len(pairs) == len(np.unique(after)), "which weights share a value stays"
    assert not np.array_equal(after, longer) and found.changed > found.kept / 2


@pytest.mark.slow
def test_continuous_actions_from_the_dense_policy(
    tiny: Any, local_ray: None, tmp_path: Path
) -> None:
    """Whole numbers, straight-through; and what is too short to learn anything is told."""
    experiment = tiny(*CONTINUOUS, storage=tmp_path)
    dense, planned = dense_policy(experiment, tmp_path), control_plan(experiment.pruning)
    start = Start(experiment, dense, planned, StudyFolder(tmp_path, "study"), None)
    found = fine_tune(start, "uniform", 4, 1000, tmp_path / "tuned")
    assert 0 < found.changed <= found.kept
    for name, value in actor(found.algorithm).items():
        if name.endswith("weight"):
            assert all(len(np.unique(row)) <= 15 for row in value)

    still = replace(start, experiment=tiny(*CONTINUOUS, "algorithm.training.lr=0"))
    with pytest.raises(TrialError, match="no weight has another value after 1,"):
        fine_tune(still, "uniform", 4, 1000, tmp_path / "still")
