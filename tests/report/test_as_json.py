"""A study's report as JSON: what it documents, all of it, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prune_search.records.folder import StudyFolder
from prune_search.records.fronts import front, hypervolume
from prune_search.records.models import StudyRecord
from tests.report.shown import points_of, shown
from tests.studies import STARTED, end_study, make_experiment, make_study, make_trial
from tuners.report.as_json import to_json
from tuners.report.study_report import report

RETURN_KEYS = (
    "return",
    "return_low",
    "return_high",
    "return_mean",
    "return_iqm",
    "return_worst",
    "holds",
    "holds_low",
    "holds_high",
)


POINT_KEYS = {
    "point",
    "trial",
    "round",
    "sparsity",
    "weight_sparsity",
    "compression",
    "nonzero",
    "physical",
    "compact",
    "stored_bytes",
    "compact_bytes",
    "macs",
    "cost_missing",
    "retention",
    "env_steps",
    "checkpoint",
    "final_retention",
    *(f"{seeds}{key}" for seeds in ("", "final_") for key in RETURN_KEYS),
}


def test_json_holds_what_it_documents(tmp_path: Path) -> None:
    folder = make_study(tmp_path)
    folder.write_trial(make_trial(3, rounds=2, state="failed"))
    end_study(folder)
    found = json.loads(json.dumps(to_json(report(folder, make_experiment())), allow_nan=False))

    assert list(found) == [
        "name",
        "environment",
        "baseline",
        "control",
        "random_return",
        "final_random_return",
        "aggregate",
        "holds_from",
        "hypervolume",
        "log_hypervolume",
        "env_steps",
        "env_steps_saved",
        "curve",
        "importances",
        "trials",
        "front",
        "repeated",
        "recommended",
        "advice",
    ]
    assert (found["name"], found["environment"]) == ("cartpole", "CartPole-v1")
    assert found["baseline"]["return_iqm"] == 500 and found["baseline"]["parameters"] == 4_610
    assert found["baseline"]["final_return_iqm"] == 498
    assert found["random_return"] == 20
    assert found["hypervolume"] == pytest.approx(hypervolume(points_of(folder)))

    best = front(points_of(folder))
    assert [item["point"] for item in found["front"]] == [point.name for point in best]
    first = found["front"][0]
    assert set(first) == POINT_KEYS | {"strategy", "than_dense"}
    assert None not in first["strategy"].values() and first["strategy"]["granularity"] == "weight"
    assert first["checkpoint"] == str(folder.path / best[0].checkpoint)
    assert Path(first["checkpoint"]).is_absolute()
    assert first["final_return_iqm"] == pytest.approx(0.97 * first["return_iqm"])
    random, dense = found["final_random_return"], found["baseline"]["final_return"]
    kept = (first["final_return"] - random) / (dense - random)
    assert first["final_retention"] == pytest.approx(kept)

    failed = found["trials"][3]
    assert failed["trial"] == "t03" and failed["state"] == "failed"
    assert failed["reason"] == "NaN in the learner's weights"
    assert [set(point) for point in failed["points"]] == [POINT_KEYS] * 2


def test_json_of_a_study_that_has_only_begun(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, "young")
    folder.write_study(StudyRecord(name="young", started=STARTED))
    assert to_json(report(folder, make_experiment())) == {
        "name": "young",
        "environment": "CartPole-v1",
        "baseline": None,
        "control": None,
        "random_return": None,
        "final_random_return": None,
        "aggregate": None,
        "holds_from": None,
        "hypervolume": 0.0,
        "log_hypervolume": 0.0,
        "env_steps": 0,
        "env_steps_saved": 0,
        "curve": [],
        "importances": {},
        "trials": [],
        "front": [],
        "repeated": [],
        "recommended": None,
        "advice": [],
    }
    assert "not trained yet" in shown(folder)


def test_json_has_null_for_what_is_not_finite(tmp_path: Path) -> None:
    folder = make_study(tmp_path, trials=0)
    trial = make_trial(0, rounds=1)
    point = trial.points[0].model_copy(update={"compression": float("inf")})
    folder.write_trial(trial.model_copy(update={"points": [point]}))
    found = to_json(report(folder, make_experiment()))
    assert found["front"][0]["compression"] is None
    assert found["front"][0]["final_return_iqm"] is None
    assert found["front"][0]["final_retention"] is None
    json.dumps(found, allow_nan=False)
