"""Levels take turns: each has its weights alone while it trains, and gets back what it lacked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prune_search.errors import TrialError
from prune_search.export.describing import describe
from prune_search.policy.elastic import at_level, kept, kernels
from prune_search.records.folder import StudyFolder
from prune_search.records.models import BaselineRecord
from prune_search.rllib.learners import masks as learner
from prune_search.trial.baselines.dense_control import control_plan
from prune_search.trial.fine_tuning import Start
from prune_search.trial.level_training import Turns, train_levels
from tests.plans import SHORT
from tests.trial.test_fine_tuning import CONTINUOUS, dense_policy


@pytest.fixture(
    scope="module", params=["discrete", pytest.param("continuous", marks=pytest.mark.slow)]
)
def start(
    request: pytest.FixtureRequest, tiny: Any, baseline: BaselineRecord, tmp_path_factory: Any
) -> Start:
    """The dense policy, before any training."""
    folder, experiment = tmp_path_factory.mktemp("levels"), tiny(SHORT)
    if request.param == "continuous":
        experiment = tiny(*CONTINUOUS, storage=folder)
        baseline = dense_policy(experiment, folder)
    planned = control_plan(experiment.pruning)
    return Start(experiment, baseline, planned, StudyFolder(folder, "study"), None)


def test_levels_take_turns(start: Start, tmp_path: Path) -> None:
    parameters = start.baseline.parameters
    with start.algorithm(1) as trained:
        turns = Turns(trained, [0.9, 0.6, None], parameters)
        dense = learner.weights(trained.algorithm)
        for sparsity in (0.9, 0.6, None, 0.9):
            turns.next()
            acting, _, _ = trained.pruner.sizes()
            if sparsity is not None:
                assert acting.sparsity == pytest.approx(sparsity, abs=2 / parameters)
        turns.install(None)
        found = learner.weights(trained.algorithm)
        assert all(np.array_equal(found[name], dense[name]) for name in dense)

    done = train_levels(start, (0.6, 0.9), 1600, tmp_path)
    assert done.env_steps >= 1600 and done.changed > 0
    whole = describe(done.algorithm).policy
    before = describe(Path(start.baseline.checkpoint)).policy
    sparse = at_level(whole, [kept(whole) // 8, kept(whole)], 0)
    for kernel, first, there in zip(kernels(whole), kernels(before), kernels(sparse), strict=True):
        moved, shared = kernel.values != first.values, there.values != 0
        assert moved[shared].any() and moved[~shared].any(), "all levels were trained"


def test_each_level_needs_its_turn(start: Start, tmp_path: Path) -> None:
    with pytest.raises(TrialError, match=r"env steps are 1 training iterations, .* 2 levels"):
        train_levels(start, (0.9,), 1, tmp_path)
