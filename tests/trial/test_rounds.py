"""A trial's rounds: what they record, when they end, and that they resume exactly."""

from __future__ import annotations

import pickle
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core.rl_module.rl_module import RLModule

from prune_search.errors import TrialError
from prune_search.records.folder import StudyFolder
from prune_search.records.models import Point
from prune_search.records.reasons import BUDGET_USED, below_floor
from prune_search.rllib.configuration.algorithms import MODULE_PATH
from prune_search.rllib.evaluation.checkpoint_meter import CheckpointMeter
from prune_search.rllib.learners import masks as learner
from prune_search.trial.rounds import TrialRounds
from tests.faults.environments import faulty
from tests.plans import SHORT, plan


def figures(point: Point) -> dict[str, Any]:
    """What a point measured, without how long that took."""
    return point.model_dump(exclude={"time", "train_s", "eval_s"})


def test_rounds_of_a_trial(tiny: Any, baseline: Any, tmp_path: Path) -> None:
    assert baseline.notes == []  # episodes are played the quick way
    folder, experiment = StudyFolder(tmp_path, "study"), tiny()
    rounds = TrialRounds(experiment, folder, baseline, 7, plan())
    while not rounds.done:
        rounds.step()
    rounds.stop()
    record = folder.trial(7)
    assert record is not None and record.state == "complete" and record.reason == BUDGET_USED
    assert record.remark == ""
    assert record == rounds.record
    assert [point.name for point in record.points] == ["t07/0", "t07/1", "t07/2"]
    # Geometric: the same share of what remains, at the start of each of two rounds.
    sparsities = [point.weight_sparsity for point in record.points]
    assert sparsities == pytest.approx([1 - 0.2**0.5, 0.8, 0.8], abs=0.002)
    assert record.points[-1].progress >= 1
    assert [p.env_steps for p in record.points] == sorted({p.env_steps for p in record.points})
    meter = CheckpointMeter(experiment)
    for point in record.points:
        checkpoint = folder.path / point.checkpoint / "algorithm"
        # RLlib alone counts the same zeros in the checkpoint ...
        module = RLModule.from_checkpoint(checkpoint / MODULE_PATH)
        acting = module.get_state(inference_only=True)
        weights = {n: w for n, w in module.named_parameters() if n in acting}
        assert sum(w.numel() for w in weights.values()) == point.parameters
        assert sum(int(torch.count_nonzero(w)) for w in weights.values()) == point.nonzero
        assert point.sparsity == 1 - point.nonzero / point.parameters
        # ... and the same seeds give the same return.
        settings = experiment.evaluation
        measured = meter.measure(checkpoint, settings.seed, settings.episodes)
        assert measured.returned == point.returned
        # By default all episodes count.
        means = [np.mean(r.each) for r in (point.returned, baseline.returned, baseline.random)]
        assert point.retention == pytest.approx((means[0] - means[2]) / (means[1] - means[2]))
        assert measured.size.sparsity == point.sparsity


def test_a_trial_that_goes_on_measures_what_it_would_have(
    tiny: Any, baseline: Any, tmp_path: Path
) -> None:
    """A round depends on its checkpoint and seed alone: no more and no less than it is repeated."""
    experiment, chosen = tiny(SHORT), plan(criterion="saliency", schedule="cubic", rounds=3)
    whole = TrialRounds(experiment, StudyFolder(tmp_path, "whole"), baseline, 0, chosen)
    expected = [figures(whole.step()) for _ in range(3)]
    whole.stop()
    folder = StudyFolder(tmp_path, "parts")
    found = []
    while len(found) < 3:
        part = TrialRounds(experiment, folder, baseline, 0, chosen)
        found.append(figures(part.step()))
        part.stop()
        np.random.seed(0)  # a process of another history
        # What a kill in the middle of the next round's checkpoint leaves behind.
        (folder.trial_path(0) / f".round-{len(found):02d}" / "algorithm").mkdir(parents=True)
    assert found == expected
    finished = TrialRounds(experiment, folder, baseline, 0, chosen)
    assert finished.done and figures(finished.step()) == expected[-1]


def test_a_trial_below_the_floor_is_given_up(tiny: Any, baseline: Any, tmp_path: Path) -> None:
    experiment = tiny("pruning.floor=0.9", "pruning.patience=2")
    rounds = TrialRounds(
        experiment,
        StudyFolder(tmp_path, "study"),
        baseline,
        0,
        plan(ratio=0.98, critic_ratio=0.9, schedule="one_shot", end=None, rounds=6, lr_scale=1e-6),
    )
    while not rounds.done:
        rounds.step()
    rounds.stop()
    assert len(rounds.record.points) == 2
    assert rounds.record.remark == below_floor(0.9, 2)


def test_weights_that_are_not_finite_fail_the_trial(
    tiny: Any, baseline: Any, tmp_path: Path
) -> None:
    rounds = TrialRounds(tiny(), StudyFolder(tmp_path, "study"), baseline, 0, plan())
    rounds.step()

    def spoil(held: Any) -> None:
        next(iter(held.module["default_policy"].parameters())).data[0, 0] = float("nan")

    assert rounds.trained is not None
    rounds.trained.algorithm.learner_group.foreach_learner(spoil)
    with pytest.raises(TrialError, match="not finite in encoder"):
        rounds.step()
    rounds.stop()
    assert len(rounds.record.points) == 1


def test_learning_rate_is_scaled_and_the_kl_coefficient_kept(
    tiny: Any, baseline: Any, tmp_path: Path
) -> None:
    folder = StudyFolder(tmp_path, "study")
    rounds = TrialRounds(tiny(), folder, baseline, 0, plan(lr_scale=0.5))
    assert rounds.trained is not None
    rates = learner.one(
        rounds.trained.algorithm,
        lambda held: [
            group["lr"]
            for _, optimizer in held.get_optimizers_for_module("default_policy")
            for group in optimizer.param_groups
        ],
    )
    assert rates == [0.001]
    rounds.step()
    adapted = learner.adaptive_state(rounds.trained.algorithm)
    rounds.stop()
    again = TrialRounds(tiny(), folder, baseline, 0, plan(lr_scale=0.5))
    assert again.trained is not None
    assert learner.adaptive_state(again.trained.algorithm) == adapted != {}
    again.stop()


def test_any_point_and_the_baseline_come_back_bit_for_bit(
    tiny: Any, baseline: Any, tmp_path: Path
) -> None:
    """Training on changes no checkpoint: each is RLlib's own, and opens as one."""
    folder = StudyFolder(tmp_path, "study")
    dense = _bytes(Path(baseline.checkpoint))
    rounds = TrialRounds(tiny(), folder, baseline, 0, plan())
    first = rounds.step()
    kept = _bytes(folder.path / first.checkpoint / "algorithm")
    rounds.step()
    rounds.stop()
    assert _bytes(Path(baseline.checkpoint)) == dense
    assert _bytes(folder.path / first.checkpoint / "algorithm") == kept
    copy = tmp_path / "elsewhere"
    shutil.copytree(folder.path / first.checkpoint / "algorithm", copy)
    restored = Algorithm.from_checkpoint(copy)
    state = restored.get_module().get_state()
    assert sum(int(np.count_nonzero(w)) for n, w in state.items() if "const" not in n) > 0
    restored.train()
    restored.stop()


def _bytes(path: Path) -> bytes:
    with (path / MODULE_PATH / "module_state.pkl").open("rb") as stream:
        return pickle.dumps(pickle.load(stream))


@pytest.mark.parametrize(
    ("runner", "told"),
    [
        ("lean", "environment: step() returned a reward that is not finite"),
        ("rllib", "the loss of default_policy is not finite"),
    ],
)
def test_a_reward_that_is_not_finite_fails_the_round(
    tiny: Any, baseline: Any, tmp_path: Path, runner: str, told: str
) -> None:
    """RLlib would set the gradients that come of it to zero, and go on."""
    mark = tmp_path / "mark"
    experiment = tiny(*faulty(mark), f"resources.runner={runner}")
    rounds = TrialRounds(experiment, StudyFolder(tmp_path, "study"), baseline, 0, plan())
    mark.write_text("nan_reward training")
    with pytest.raises(TrialError, match=re.escape(told)):
        rounds.step()
    rounds.stop()
