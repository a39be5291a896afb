"""What `export` and `compress` say of what they wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prune_search.export.exporting import Export
from prune_search.export.measuring import Agreement, Latency
from tuners.cli.exports import export_json, export_lines


def exported(**changed: Any) -> Export:
    agreed = Agreement(count=50, equal=1, tolerance=1e-5, difference=9.2e-8, with_noise=False)
    plain: dict[str, Any] = {
        "path": Path("policy.onnx"),
        "target": "onnx",
        "bytes": 1234,
        "figures": {},
        "parameters": 304,
        "nonzero": 304,
        "returned": None,
        "wanted": None,
        "agreement": agreed,
        "latency_us": Latency(median=1, p99=2),
        "dense_latency_us": None,
    }
    return Export(**{**plain, **changed})


def test_what_greedy_actions_do_not_read_is_told() -> None:
    first, *_ = export_lines("reach", "t01/2", exported(deviations=22), "policy.onnx")
    assert first.endswith(
        "304 of 304 parameters are not zero; 22 more give deviations, which greedy actions"
        " don't read"
    )
    first, *_ = export_lines("reach", "t01/2", exported(), "policy.onnx")
    assert first.endswith("304 of 304 parameters are not zero")


def test_actions_that_agree_up_to_rounding_are_told_as_the_same() -> None:
    _, actions, *_ = export_lines("reach", "t01/2", exported(), "policy.onnx")
    assert actions == (
        "actions for 50 observations: 100.00% are those of RLlib within 1e-05 of an action's size,"
        " the largest difference is 9.2e-08 of it"
    )
    found = export_json(exported(deviations=22))
    assert found["agreement"]["tolerance"] == 1e-5 and found["deviations"] == 22
