"""The dense control: trained on as a trial is, with nothing pruned."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from ray.rllib.core.rl_module.rl_module import RLModule

from prune_search.records.models import BaselineRecord
from prune_search.rllib.configuration.algorithms import MODULE_PATH
from prune_search.trial.baselines.baseline import baseline_key
from prune_search.trial.baselines.dense_control import (
    control_folder,
    control_plan,
    train_control,
)
from prune_search.trial.rounds import TrialRounds


def moved(baseline: BaselineRecord, storage: Path) -> BaselineRecord:
    """The baseline in a storage of its own, so that its control is trained there."""
    source = Path(baseline.checkpoint).parent
    place = storage / "baselines" / source.name
    shutil.copytree(source, place, ignore=shutil.ignore_patterns("control-*"))
    return baseline.model_copy(update={"checkpoint": str(place / "algorithm")})


def test_a_control_trains_on_prunes_nothing_and_survives_a_kill(
    tiny: Any, baseline: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = tiny("pruning.env_steps=1024", "pruning.rounds=2", storage=tmp_path)
    here, there = (moved(baseline, tmp_path / name) for name in ("whole", "killed"))
    record = train_control(tmp_path / "whole", experiment, here)
    trial = control_folder(tmp_path / "whole", experiment, here).trial(0)
    assert trial is not None and trial.state == "complete"
    assert [point.returned for point in trial.points] == record.rounds
    assert record.returned.value == max(one.value for one in record.rounds)
    assert record.env_steps >= 1024
    assert [point.sparsity for point in trial.points] == [0, 0]
    dense, trained = (
        RLModule.from_checkpoint(Path(one.checkpoint) / MODULE_PATH).state_dict()
        for one in (here, record)
    )
    assert not any(torch.equal(dense[key], trained[key]) for key in dense if key.endswith("weight"))

    step, killed = TrialRounds.step, []

    def dies(rounds: TrialRounds) -> Any:
        if len(rounds.record.points) == 1 and not killed:
            killed.append(True)
            raise KeyboardInterrupt
        return step(rounds)

    monkeypatch.setattr(TrialRounds, "step", dies)
    with pytest.raises(KeyboardInterrupt):
        train_control(tmp_path / "killed", experiment, there)
    assert control_folder(tmp_path / "killed", experiment, there).record() is None
    assert train_control(tmp_path / "killed", experiment, there).rounds == record.rounds
    found = control_folder(tmp_path / "whole", experiment, here).record()
    assert found == record
    other = tiny("pruning.env_steps=2048", "pruning.rounds=2", storage=tmp_path)
    assert control_folder(tmp_path / "whole", other, here).record() is None


def test_its_budget_is_the_largest_that_a_trial_may_have(tiny: Any) -> None:
    experiment = tiny("pruning.env_steps=[1000, 3000]", "pruning.rounds={low: 2, high: 5}")
    plan = control_plan(experiment.pruning)
    assert (plan.env_steps, plan.rounds, plan.ratio, plan.lr_scale) == (3000, 5, 0, 1)
    without = tiny("baseline.control=false")
    assert baseline_key(without) == baseline_key(tiny())  # the baseline is the same
