"""A study's plan against its controls: that they are what they are called, and are run alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prune_search.experiment.file import dump, load, parse
from prune_search.experiment.pruning import Pruning
from prune_search.plan.plan import Plan
from prune_search.records.folder import StudyFolder
from prune_search.trial.preflight import check
from tests.studies import make_study
from tuners.benchmarks.tasks.methods import DENSE, SEARCHED, listed, methods
from tuners.benchmarks.tasks.small_dense import narrowed, parameters_of


def a_plan(criterion: str, schedule: str, **more: Any) -> Plan:
    fields: dict[str, Any] = {
        "granularity": "weight",
        "allocation": "erk",
        "scope": "actor",
        "ratio": 0.9,
        "start": 0.0,
        "end": 0.6,
        "rounds": 4,
        "env_steps": 20_000,
        "lr_scale": 0.5,
    }
    return Plan(criterion=criterion, schedule=schedule, **{**fields, **more})


PLANS = {
    "weights": a_plan("saliency", "linear", allocation="global", ratio=0.97),
    "both networks": a_plan("magnitude", "geometric", scope="both", critic_ratio=0.4),
    "neurons": a_plan("l2_norm", "cubic", granularity="neuron", allocation="uniform"),
    "threshold": a_plan(
        "threshold", "linear", allocation=None, ratio=None, threshold=1.5, threshold_unit="std"
    ),
    "regrown": a_plan("random", "one_shot", regrowth="rigl", drop_fraction=0.3, regrow_every=1_000),
    "quantized": a_plan(
        "magnitude", "geometric", quantization="sharing", bits=3, quantized_from=0.6
    ),
}


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_every_method_is_a_plan_and_all_stand_in_one_section(plan: Plan) -> None:
    chosen = methods(plan, 0.9, 50_000, Pruning())
    names = [method.name for method in chosen]
    assert len(set(names)) == len(names) and names[0] == SEARCHED
    assert ("random criterion" in names) == (plan.criterion not in ("random", "threshold"))
    section, pinned = listed(Pruning(), chosen)
    for method, pins in zip(chosen, pinned, strict=True):
        made = Plan(**method.fields)
        assert made.env_steps == (70_000 if made.origin == "scratch" else 20_000)
        for field, value in pins.items():  # each is a choice that the section leaves open
            assert value in getattr(section, field)
        fixed = {name: getattr(section, name) for name in method.fields if name not in pins}
        assert fixed == {name: method.fields[name] for name in fixed}
    searched = Plan(**chosen[0].fields)
    unquantized = {"quantization": "none", "bits": None, "quantized_from": None}
    assert searched == plan.model_copy(update=unquantized)
    assert section.patience > plan.rounds  # none is given up


def test_controls_have_as_many_weights() -> None:
    chosen = methods(PLANS["neurons"], 0.87, 50_000, Pruning())
    others = [one for one in chosen if one.name not in (SEARCHED, DENSE, "random criterion")]
    assert {one.fields["ratio"] for one in others} == {0.87}
    granularities = [one.fields["granularity"] for one in others]
    assert granularities == ["neuron"] * 3 + ["weight"] * 3


@pytest.mark.parametrize("parameters", [40, 400, 4_000])
def test_a_small_network_has_at_most_as_many_parameters(parameters: int) -> None:
    narrow = narrowed(load("cartpole"), parameters)
    assert narrow is not None
    widths = narrow.algorithm.model["fcnet_hiddens"]
    assert widths[0] == widths[1]
    counted = (4 + 1) * widths[0] + (widths[0] + 1) * widths[1] + (widths[1] + 1) * 2
    assert parameters_of(narrow) == counted <= parameters
    wider = narrow.algorithm.model_copy(
        update={"model": {**narrow.algorithm.model, "fcnet_hiddens": [w + 1 for w in widths]}}
    )
    assert parameters_of(narrow.model_copy(update={"algorithm": wider})) > parameters
    check(narrow)


def test_a_networks_widths_and_filters_keep_their_proportions(tiny: Any) -> None:
    uneven = parse(
        dump(tiny("algorithm.model={fcnet_hiddens: [64, 16], head_fcnet_hiddens: [32]}"))
    )
    narrow = narrowed(uneven, 600)
    assert narrow is not None
    first, second = narrow.algorithm.model["fcnet_hiddens"]
    assert first / second == pytest.approx(4, rel=0.2)
    assert narrow.algorithm.model["head_fcnet_hiddens"] == [pytest.approx(first / 2, abs=1)]
    own = uneven.model_copy(
        update={"algorithm": uneven.algorithm.model_copy(update={"module": "my.networks:Own"})}
    )
    assert narrowed(own, 600) is None


def test_a_study_that_is_not_through_has_no_controls(tmp_path: Path, refusal: Any) -> None:
    make_study(tmp_path)
    told = refusal("benchmark", "controls", "cartpole", "--storage", str(tmp_path))
    assert "study 'cartpole' is not through yet" in told


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_controls_are_run_and_kept(tiny: Any, tmp_path: Path, command: Any) -> None:
    """Twice: what is there is not run again. They are on the page of the study's task."""
    file = tmp_path / "small.yaml"
    brief = (
        *("search.trials=1", "baseline.env_steps=2000", "evaluation.final_episodes=6"),
        "pruning.criterion=[magnitude, saliency]",  # a threshold may take a whole layer
        *("pruning.ratio=0.5", "pruning.env_steps=600", "pruning.rounds=1"),
    )
    file.write_text(dump(tiny(*brief, "resources.concurrent_trials=2", storage=tmp_path)))
    place = ("--storage", str(tmp_path))
    assert command("run", "small.yaml", cwd=tmp_path).status == 0
    ran = command("benchmark", "controls", "small", "--seeds", "2", *place, cwd=tmp_path)
    assert ran.status == 0, ran
    found = json.loads((tmp_path / "small-controls" / "controls.json").read_text())
    rows = {one["method"]: one for one in found["methods"]}
    assert rows[DENSE]["sparsity"] == 0
    for name, one in rows.items():
        assert len(one["each"]) == 2 and one["low"] <= one["return"] <= one["high"]
        if name not in (DENSE, "small dense network"):
            assert one["nonzero"] == pytest.approx(found["nonzero"], rel=0.05)
    assert rows["small dense network"]["nonzero"] <= found["nonzero"]
    # Seeds of their own, for trials and small networks.
    assert all(len(set(one["each"])) == 2 for one in found["methods"])
    trials = StudyFolder(tmp_path, "small-controls").trials()
    again = command("benchmark", "controls", "small", "--seeds", "2", *place, cwd=tmp_path)
    assert again.status == 0
    assert StudyFolder(tmp_path, "small-controls").trials() == trials
    command("benchmark", "tasks", "small", *place, "--to", "found.md", cwd=tmp_path)
    assert (
        "| **RigL, new weights**, ERK (Evci et al. 2020) | " in (tmp_path / "found.md").read_text()
    )
