"""A trial as Tune runs it: what is tried again, and what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray import tune
from ray.tune.result import DONE

from prune_search.errors import TrialError
from prune_search.trial.trainable import FAILED, PruningTrial
from tests.faults.environments import faulty
from tests.plans import plan

REWARD = "environment: step() returned a reward that is not finite"
SEEN = "environment: reset() or step() returned an observation that is not finite"


@pytest.mark.parametrize(
    ("kind", "final"),
    [
        ("nan_reward training", REWARD),
        ("nan_reward evaluation", REWARD),
        ("nan_observation training", SEEN),
        ("nan_observation evaluation", SEEN),
        ("raise training", ""),
    ],
)
def test_what_is_not_finite_ends_a_trial_at_once(
    tiny: Any, baseline: Any, tmp_path: Path, kind: str, final: str
) -> None:
    """Another process would not meet it until it has run for as long, and end as complete."""
    mark = tmp_path / "mark"
    experiment = tiny(*faulty(mark), storage=tmp_path)
    kept = {"storage": str(tmp_path), "study": "study", "baseline": baseline}
    made = tune.with_parameters(PruningTrial, experiment=experiment, **kept)
    trial = made(config={"number": 0, "plan": plan().model_dump(), "chosen_by": ""})
    mark.write_text(kind)
    try:
        if final:
            result = trial.train()
            assert result[FAILED] == final and result[DONE]
        else:
            with pytest.raises(TrialError, match="the gearbox broke"):
                trial.train()
    finally:
        trial.stop()
