"""Probes: proven strategies, which find by halves where policies break."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prune_search.experiment.pruning import Pruning
from prune_search.plan.plan import Plan
from prune_search.records.folder import StudyFolder
from prune_search.records.models import TrialRecord
from prune_search.records.reasons import SEARCH_TIME_USED
from tests.studies import BASELINE, make_plan, make_point
from tuners.search.probes import probe
from tuners.search.searcher import StudySearch


def space(**fields: Any) -> Pruning:
    return Pruning.model_validate({"threshold": 1.0, **fields})


def aims(trials: list[TrialRecord], pruning: Pruning) -> dict[str, float]:
    found = probe(0, trials, pruning, 0.95)
    return {name: found[name] for name in ("ratio", "threshold") if name in found}


@pytest.mark.parametrize(
    ("pruning", "expected"),
    [
        (space(ratio={"low": 0.5, "high": 0.9, "log": True}), {"ratio": 0.9}),
        (space(ratio=[0.7, 0.95, 0.3]), {"ratio": 0.95}),
        (space(ratio=0.7), {}),
        (space(ratio=0.7, threshold={"low": 0.1, "high": 2.0, "log": True}), {"threshold": 2.0}),
    ],
)
def test_probes_aim_as_far_as_may_be(pruning: Pruning, expected: dict[str, float]) -> None:
    assert aims([], pruning) == expected


def test_probes_take_what_has_done_well_where_they_may() -> None:
    wide = space(granularity=["weight", "2:4"], criterion=["magnitude", "saliency", "threshold"])
    found = [probe(number, [], wide, 0.95) for number in range(5)]
    assert [one["granularity"] for one in found] == ["weight", "2:4", "weight", "2:4", "weight"]
    assert [one["criterion"] for one in found[:4]] == [
        *("magnitude", "saliency", "saliency", "magnitude"),
    ]
    assert found[0]["schedule"] == "geometric" and found[0]["allocation"] == "erk"
    narrow = space(criterion=["random", "gradient"], schedule=["linear"], allocation=["lamp"])
    assert set(probe(0, [], narrow, 0.95)) == {"granularity", "ratio"}
    units = space(granularity="neuron", criterion=["dormant"], allocation=["erk", "uniform"])
    assert "criterion" not in probe(0, [], units, 0.95)


BY_VALUE: Any = {
    "ratio": None,
    "allocation": None,
    "criterion": "threshold",
    "threshold": 2.0,
    "threshold_unit": "std",
}


def gone(
    *rounds: tuple[float, float], state: str = "complete", reason: str = "", **fields: Any
) -> TrialRecord:
    """A trial with (target, retention) of its rounds, which aims at 0.99."""
    points = [
        make_point(0, at, 0.5, BASELINE.return_at(retention)).model_copy(update={"target": target})
        for at, (target, retention) in enumerate(rounds)
    ]
    aim = make_plan(0, 0.99).model_copy(update={"scope": "actor", **fields})
    return TrialRecord(
        number=0,
        plan=aim,
        state=state,
        reason=reason,
        started=0.0,
        points=points,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("trials", "expected"),
    [
        ([gone((0.6, 1.0), (0.9, 1.0), state="running")], 0.99),  # on its way
        ([gone((0.6, 1.0), (0.99, 0.97))], 0.99),  # held
        ([gone((0.6, 1.0), (0.99, 0.9)), gone((0.8, 0.9), (0.99, 0.95))], 0.99),
        ([gone((0.6, 1.0), (0.9, 1.0), (0.99, 0.3))], 1 - (0.1 * 0.01) ** 0.5),
        ([gone((0.9, 1.0), (0.99, 0.3), state="running")], 1 - (0.1 * 0.01) ** 0.5),
        ([gone((0.96, 1.0), (0.97, 0.1))], 1 - (0.04 * 0.01) ** 0.5),  # collapsed on its way
        ([gone((0.96, 1.0), state="stopped", reason=SEARCH_TIME_USED)], 0.99),  # cut off
        ([gone((0.96, 0.5), (0.99, 0.1))], 1 - (0.5 * 0.01) ** 0.5),  # nothing held
        ([gone((0.9, 1.0), (0.99, 0.3)), gone((0.99, 1.0), scope="critic")], 1 - 0.001**0.5),
        ([gone((0.9, 1.0), (0.99, 0.3)), gone((2.0, 1.0), **BY_VALUE)], 1 - 0.001**0.5),
    ],
)
def test_the_break_is_looked_for_by_halves(trials: list[TrialRecord], expected: float) -> None:
    ranged = space(ratio={"low": 0.5, "high": 0.99, "log": True})
    assert aims(trials, ranged) == {"ratio": pytest.approx(expected)}
    choices = [0.5, 0.91, 0.95, 0.98, 0.99]
    nearest = min(choices, key=lambda value: abs(value - expected))
    assert aims(trials, space(ratio=choices)) == {"ratio": nearest}


def test_thresholds_are_halved_as_they_are() -> None:
    ranged = space(ratio=0.9, threshold={"low": 0.5, "high": 2.0})
    assert aims([gone((1.0, 1.0), (2.0, 0.1), **BY_VALUE)], ranged) == {"threshold": 1.5}
    assert aims([gone((0.9, 1.0), (0.99, 0.1))], ranged) == {"threshold": 2.0}  # a ratio


@pytest.mark.slow
def test_a_study_begins_with_probes(tiny: Any, tmp_path: Path) -> None:
    """After those that were given, once each, also with a new driver in between."""
    experiment = tiny(
        "search.first=[{ratio: 0.6, criterion: magnitude}]",
        "search.trials=12",
        "search.probes=3",
        "search.sampler=tpe",
        "pruning.criterion=[magnitude, saliency]",
        "pruning.ratio={low: 0.5, high: 0.9, log: true}",
        "pruning.allocation=uniform",
    )
    folder = StudyFolder(tmp_path, "study")
    folder.path.mkdir()
    ratios = []
    for number in range(12):
        searcher = StudySearch(experiment, folder)
        config = searcher.suggest(f"a{number}")
        assert config is not None and config["number"] == number
        ratios.append(config["plan"]["ratio"])
        # Nothing is kept above 0.8.
        points = [make_point(number, 1, 0.8, 500), make_point(number, 2, ratios[-1], 100)]
        plan = Plan.model_validate(config["plan"])
        folder.write_trial(
            TrialRecord(number=number, plan=plan, state="complete", started=0, points=points)
        )
        figures = {"retention": 1.0, "compression": float(number)}
        searcher.on_trial_complete(f"a{number}", figures)
    middle = 1 - (0.2 * 0.1) ** 0.5
    assert ratios[:4] == pytest.approx([0.6, 0.9, middle, middle])
    assert len(set(ratios[3:])) > 4
