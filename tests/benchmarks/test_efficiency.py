"""What training costs until a return is reached, from the rounds of trials."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prune_search.plan.plan import Plan
from prune_search.trial.preflight import check
from tests.studies import make_trial
from tuners.benchmarks.efficiency import _ROUNDS, Way, _experiment, _way, cost, markdown


def test_a_round_counts_for_as_long_as_it_took() -> None:
    trial = make_trial(0)
    points = [
        point.model_copy(update={"macs": macs, "env_steps": steps, "train_s": 2.0})
        for point, macs, steps in zip(
            trial.points, (100, 100, 40, 40, 10, 10), range(1000, 7000, 1000), strict=True
        )
    ]
    trial = trial.model_copy(update={"points": points})
    whole, held = cost(trial, 1e9)
    assert not held and (whole.env_steps, whole.seconds, whole.macs) == (6000, 12.0, 300_000)
    best = max(point.returned.value for point in points)
    first = next(at for at, point in enumerate(points, 1) if point.returned.value >= best)
    until, held = cost(trial, best)
    assert held and (until.env_steps, until.seconds) == (1000 * first, 2.0 * first)


def test_ratios_are_to_dense_training_of_the_same_width() -> None:
    trial = make_trial(0)
    points = [point.model_copy(update={"macs": 100}) for point in trial.points]
    trial = trial.model_copy(update={"points": points})
    ways = [
        _way(width, name, [trial, trial], enough)
        for width in (64, 256)
        for name, enough in (("dense", 0.0), ("neurons taken out", 1e9))
    ]
    lines = markdown(ways).splitlines()
    assert len(lines) == 6
    dense, pruned = (line.split(" | ") for line in lines[2:4])
    assert dense[4:7] == ["1.00", "1.00", "2 of 2"] and pruned[6] == "0 of 2"
    assert isinstance(ways[0], Way) and pruned[7:] == ["", " |"]


@pytest.mark.parametrize("preset", ["cartpole", "acrobot"])
def test_its_ways_are_plans_of_one_study(preset: str, tmp_path: Path) -> None:
    experiment, ways = _experiment(preset, 32, 2, 4000, tmp_path)
    check(experiment)
    plans = [Plan(**way.fields) for way in ways]
    assert [plan.granularity for plan in plans] == ["weight", "neuron", "weight"]
    assert all(plan.origin == "scratch" and plan.rounds == _ROUNDS for plan in plans)
    assert plans[0].ratio == plans[0].critic_ratio == 0 and experiment.search.trials == 6
    assert json.loads(experiment.search.model_dump_json())["seeds"] == 2
