"""The experiment file: what it accepts, and the one line for what it does not."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest

from prune_search.errors import UserError
from prune_search.experiment import file as experiment_file
from prune_search.experiment.pruning import Pruning, combinations
from prune_search.experiment.schema import Experiment
from prune_search.plan.axes import names
from prune_search.plan.compatibility import conflict
from prune_search.plan.plan import Plan
from prune_search.sparsity import check_strategy

MINIMAL = "environment: {id: CartPole-v1}"


@pytest.mark.parametrize("name", sorted(experiment_file.presets()))
def test_presets_are_valid_and_survive_a_round_trip(name: str) -> None:
    experiment = experiment_file.load(name)
    assert experiment_file.parse(experiment_file.dump(experiment)) == experiment
    assert experiment.description


def test_schema_is_a_valid_experiment_file() -> None:
    text = experiment_file.schema().replace("<required>", "CartPole-v1")
    assert experiment_file.parse(text) == experiment_file.parse(MINIMAL)


def test_every_field_is_documented() -> None:
    def undocumented(model: type) -> list[str]:
        fields = model.model_fields  # type: ignore[attr-defined]
        found = [
            name
            for name, field in fields.items()
            if not (field.description or field.annotation.__doc__)
        ]
        for field in fields.values():
            if hasattr(field.annotation, "model_fields"):
                found += undocumented(field.annotation)
        return found

    assert undocumented(Experiment) == []


def test_plan_has_a_field_for_each_that_can_be_searched() -> None:
    of_study = {"floor", "patience", "hold", "layers", "shrink", "teacher", "rllib_schedules"}
    made = {"densities"}
    assert set(Plan.model_fields) - made == set(Pruning.model_fields) - of_study


def test_numbers_in_yaml() -> None:
    experiment = experiment_file.parse(
        MINIMAL + "\nalgorithm: {training: {lr: 1e-3, vf_clip_param: .inf}}"
    )
    assert experiment.algorithm.training == {"lr": 0.001, "vf_clip_param": math.inf}


def test_overrides() -> None:
    experiment = experiment_file.load(
        "cartpole", ["pruning.ratio=[0.5, 0.9]", "search.seed=3", "environment.config.x=1"]
    )
    assert experiment.pruning.ratio == [0.5, 0.9]
    assert (experiment.search.seed, experiment.environment.config) == (3, {"x": 1})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("pruning.sparsity=0.5", "pruning.sparsity: unknown key; known are: allocation,"),
        (
            "prunning.ratio=0.5",
            "prunning: unknown key, did you mean pruning? known are: algorithm,",
        ),
        ("search.trials=many", "search.trials: must be a whole number, got 'many'"),
        ("search.trials=0", "search.trials: must be at least 1, got 0"),
        ("pruning.ratio=1.0", "pruning.ratio: must be below 1, got 1"),
        ("pruning.ratio=[0.5, 2]", "pruning.ratio.1: must be below 1, got 2"),
        ("pruning.ratio={low: 0.9, high: 0.5}", "pruning.ratio: low must be below high"),
        ("pruning.ratio={low: 0.9, high: 1.5}", "pruning.ratio.high: must be below 1, got 1.5"),
        ("pruning.ratio={low: 0.9}", "pruning.ratio.high: required, and missing"),
        ("pruning.ratio=[]", "pruning.ratio: must not be empty, got []"),
        ("pruning.threshold={low: 0, high: 1, log: true}", "pruning.threshold: a log range needs"),
        ("pruning.rounds={low: 1.5, high: 3}", "pruning.rounds.low: must be a whole number"),
        (
            "pruning.criterion=magnitud",
            "unknown 'magnitud', did you mean magnitude? known are: magnitude, threshold,",
        ),
        ("pruning.criterion={low: 1, high: 2}", "must be a value or a list of choices"),
        ("pruning.start=0.9", "pruning.end: must lie above pruning.start"),
        ("pruning.criterion=dormant", "criterion dormant does not go with granularity weight"),
        (
            "pruning.granularity=3:4",
            "pruning.granularity: unknown '3:4'; known are: weight, neuron",
        ),
        ("pruning.ratio=1.0", "pruning.ratio: must be below 1, got 1.0"),
        ("pruning.rewind=initial", "rewind initial does not go with schedule linear"),
        ("pruning.rewind=learning_rate", "rewind learning_rate does not go with schedule linear"),
        ("pruning.rewind=[none, learning_rate]", "needs a schedule in algorithm.training.lr"),
        ("pruning.layers=[]", "pruning.layers: must not be empty"),
        ("search.first=[{ratoi: 0.5}]", "search.first: unknown field 'ratoi' of pruning"),
        (
            "search.first=[{ratio: 0.5}]",
            "search.first: ratio must be one that pruning.ratio",
        ),
        ("evaluation.final_seed=0", "evaluation.final_seed: must differ from evaluation.seed"),
        ("evaluation.seed=10000", "evaluation.seed: must be below 10,000"),
        ("search.objectives=[speed]", "search.objectives.0: unknown 'speed'; known are: return,"),
        ("search.objectives=[sparsity, sparsity]", "search.objectives: each must be named once"),
        ("search.constraints.max_macs=0", "search.constraints.max_macs: must be at least 1"),
        (
            "search.constraints.max_mac=9",
            "search.constraints.max_mac: unknown key, did you mean max_macs? known",
        ),
        (
            "search.stopping.confidenc=1",
            "unknown key, did you mean confidence? known are: confidence, gain",
        ),
        ("search.stopping.confidence=1", "search.stopping.confidence: must be below 1"),
        (
            "search.scheduler={name: asha}",
            "search.scheduler: asha goes by one objective, and search.objectives names",
        ),
        (
            "search.scheduler={name: hyperband}",
            "search.scheduler.name: unknown 'hyperband'; known are: asha, m",
        ),
        ("environment=5", "environment: must be a mapping of keys to values, got 5"),
        ("environment.id.x=5", "--set environment.id.x: 'id' is not a section"),
        ("environment", "--set: must be key.path=value, got 'environment'"),
        ("search.trials=[1", "--set search.trials: not valid YAML"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(change: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        experiment_file.load("cartpole", [change])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("search.trials=3", "must be a list of texts, got one; write ['search.trials=3']"),
        ({"search.trials": 3}, "must be a list of key.path=value, got a dict"),
        ([3], "must be texts, key.path=value, got 3"),
    ],
)
def test_overrides_that_are_no_list_of_texts_are_refused(overrides: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        experiment_file.load("cartpole", overrides)
    assert str(caught.value) == f"overrides: {message}"
    with pytest.raises(UserError) as caught:
        experiment_file.parse(MINIMAL, overrides)
    assert str(caught.value) == f"overrides: {message}"


def test_what_is_wrong_with_a_long_key_is_not_cut_off() -> None:
    with pytest.raises(UserError, match=r"^x+\.\.\.: unknown key; known are: algorithm,"):
        experiment_file.parse(f"{MINIMAL}\n? {'x' * 12_000}\n:\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not valid YAML"),
        ("- 1", "must be a mapping"),
        ("", "must be a mapping"),
        ("search: {}", "environment: required, and missing"),
        (MINIMAL + "\nenvironment: {id: x}", "not valid YAML"),  # the key twice
        ("!!python/object/apply:os.system [exit]", "not valid YAML"),
    ],
)
def test_texts_that_are_no_experiment(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        experiment_file.parse(text)


def test_unknown_preset_and_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="known are: acrobot, acrobot-dqn, cartpole"):
        experiment_file.load("cartpol")
    with pytest.raises(UserError, match="no file"):
        experiment_file.load(str(tmp_path / "mine.yaml"))


STRATEGIES = [
    (granularity, criterion, allocation)
    for granularity in names("granularity")
    for criterion in names("criterion")
    for allocation in (*names("allocation"), None)
]


@pytest.mark.parametrize(("granularity", "criterion", "allocation"), STRATEGIES)
def test_the_file_refuses_what_selection_refuses(
    granularity: str, criterion: str, allocation: str | None
) -> None:
    """The two tables of what goes together agree."""
    needless = criterion == "threshold" or ":" in granularity
    if (allocation is None) != needless:
        return  # the search asks for an allocation where one applies, and only there
    chosen = {"granularity": granularity, "criterion": criterion, "allocation": allocation}
    try:
        check_strategy(granularity, criterion, allocation)
    except ValueError:
        assert conflict(chosen) is not None
    else:
        assert conflict(chosen) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            ["pruning.granularity=2:4", "pruning.criterion=threshold"],
            "criterion threshold does not go with granularity 2:4",
        ),
        (
            ["pruning.schedule=gated", "pruning.rewind=early"],
            "rewind early does not go with schedule gated",
        ),
        (
            ["pruning.regrowth=rigl", "pruning.granularity=neuron"],
            "regrowth rigl does not go with granularity neuron",
        ),
        (
            ["pruning.regrowth=set", "pruning.regrow_every=[500, 30000]", "pruning.start=0.25"],
            "pruning.regrow_every: must be less than (end - start) x env_steps = 30,000",
        ),
        (
            ["pruning.origin=scratch", "pruning.rewind=learning_rate", "pruning.schedule=one_shot"],
            "rewind learning_rate does not go with origin scratch: it returns to the baseline's",
        ),
        (
            ["pruning.origin=scratch", "pruning.allocation=sensitivity"],
            "allocation sensitivity does not go with origin scratch",
        ),
        (
            ["pruning.rewind=initial", "pruning.schedule=geometric", "baseline.checkpoint=x"],
            "initial needs the baseline's first weights",
        ),
    ],
)
def test_impossible_combinations_are_refused_by_name(changes: list[str], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        experiment_file.parse(MINIMAL, changes)


def test_a_choice_limits_the_choices_after_it() -> None:
    pruning = Pruning(granularity=["weight", "neuron"], criterion=["magnitude", "dormant"])
    pairs = {(c["granularity"], c["criterion"]) for c in combinations(pruning)}
    assert pairs == {("weight", "magnitude"), ("neuron", "magnitude"), ("neuron", "dormant")}


def test_a_key_that_cannot_be_written_is_named() -> None:
    with pytest.raises(UserError, match=r"experiment: must have texts as its keys, got '.ud800'"):
        experiment_file.parse('{environment: {id: x}, "\\ud800": 1}')


def test_checkpoints_are_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials run in others than the command."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    found = experiment_file.load(
        "cartpole", ["baseline.checkpoint=mine", "pruning.rewind=none", "pruning.teacher=other"]
    )
    assert found.baseline.checkpoint == str(tmp_path / "mine")
    assert found.pruning.teacher == "other"  # is not there, and is told of as it was given
