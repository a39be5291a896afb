"""Studies and policies from Python, and the examples in docstrings."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import prune_search as ps
import tuners
from prune_search.experiment.file import dump
from prune_search.rllib.evaluation.evaluator import evaluation_seeds
from tests.studies import unpack_old_study
from tuners.study.robustness import borne

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuners.Study:
    """Interrupted in its second trial."""
    storage = tmp_path_factory.mktemp("studies")
    return tuners.open(unpack_old_study(storage) / "old")


@pytest.mark.slow
def test_importing_is_quick_and_changes_nothing() -> None:
    code = """
import logging, os, sys, warnings
was = dict(os.environ)
import prune_search, tuners
heavy = {"ray", "torch", "mlflow", "optuna", "pandas", "pydantic", "scipy"} & set(sys.modules)
assert not heavy, heavy
prune_search.load("cartpole")
assert not {"ray", "torch"} & set(sys.modules)
assert dict(os.environ) == was
import prune_search.trial.rounds, tuners.study.driver, tuners.study.handle
assert "PYTHONWARNINGS" not in os.environ and "MLFLOW_DISABLE_TELEMETRY" not in os.environ
filters = [item[:3] for item in warnings.filters]
assert ("ignore", None, Warning) not in filters
assert logging.getLogger("mlflow").level == 0
"""
    ours = ("PYTHONWARNINGS", "MLFLOW_", "RAY_", "TUNE_")  # what other tests have left
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr[-1000:]


@pytest.mark.slow
def test_examples_of_docstrings_run() -> None:
    """All there are, in a process of their own: they register entries."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in ("prune_search", "tuners")
        for path in sorted((ROOT / package).rglob("*.py"))
        if ">>> " in path.read_text(encoding="utf-8")
    ]
    assert {"prune_search", "prune_search.sparsity", "prune_search.compression"} < {*modules}
    code = (
        "import doctest, importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    found = doctest.testmod(importlib.import_module(name))\n"
        "    assert found.attempted and not found.failed, name"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, *modules], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr[-500:]


def test_a_study_is_opened_and_its_front_is_a_table_and_a_picture(study: tuners.Study) -> None:
    assert study.name == "old" and len(study.trials) == 2
    assert repr(study) == f"<study old on CartPole-v1: 2 trials, front of {len(study.front)}>"
    frame = study.front.to_frame()
    assert list(frame.index) == [point.name for point in study.front]
    assert list(frame["sparsity"]) == [point.sparsity for point in study.front]
    assert set(frame["granularity"]) <= {"weight", "neuron"}
    assert study.front.plot().axes


def test_the_best_point_is_the_sparsest_that_keeps_to_a_wish(study: tuners.Study) -> None:
    dense, *_, sparsest = sorted(study.front, key=lambda point: point.sparsity)
    assert study.best(min_retention=0).name == sparsest.name
    enough = [point for point in study.front if point.retention >= dense.retention]
    assert study.best(min_retention=dense.retention).name == enough[-1].name
    with pytest.raises(
        ps.UserError, match=r"keeps 900\.0% of the return; the nearest is <point t0"
    ):
        study.best(min_retention=9)
    with pytest.raises(ps.UserError, match="at most 2 parameters"):
        study.best(max_parameters=2, min_retention=0)
    with pytest.raises(ps.UserError, match="unknown 't09/3'"):
        study.point("t09/3")
    with pytest.raises(ps.UserError, match=r"no study 'older'.*did you mean old"):
        tuners.open(study.folder.path.with_name("older"))


def test_a_study_is_found_by_its_name_where_commands_find_it(
    study: tuners.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PRUNE_SEARCH_STORAGE", str(study.folder.path.parent))
    assert tuners.open("old").folder.path == study.folder.path
    with pytest.raises(ps.UserError) as caught:
        tuners.open("older")
    assert str(caught.value) == (
        f"name: no study 'older' in {study.folder.path.parent}, did you mean old? there are: old;"
        f" nor is it a study's folder in {tmp_path}; PRUNE_SEARCH_STORAGE may name other storage"
    )
    shutil.copytree(study.folder.path, tmp_path / "old")
    assert tuners.open("old").folder.path == tmp_path / "old"  # what is here comes first
    monkeypatch.delenv("PRUNE_SEARCH_STORAGE")
    with pytest.raises(ps.UserError, match=rf"no study 'older' in {tmp_path / 'studies'}; there"):
        tuners.open("older")
    shutil.copytree(study.folder.path, tmp_path / "studies" / "older")
    assert tuners.open("older").name == "older"
    with pytest.raises(ps.UserError, match="must be one folder name"):
        tuners.open("mlflow.db")


def test_dense_policies_are_no_points(study: tuners.Study) -> None:
    with pytest.raises(ps.UserError) as caught:
        study.point("baseline")
    assert str(caught.value) == "point: baseline is of no trial; stored('baseline') has its policy"


def test_arguments_are_refused_by_their_names(study: tuners.Study, tmp_path: Path) -> None:
    point = study.point("t01/0")
    wrong: dict[str, Any]
    for wrong, message in (
        ({"episodes": 0}, "episodes: must be at least 2, got 0"),
        ({"episodes": 1}, "episodes: must be at least 2, got 1"),
        ({"seed": 10_000}, "seed: must be at most 9,999, got 10000"),
    ):
        with pytest.raises(ps.UserError) as caught:
            point.evaluate(**wrong)
        assert str(caught.value) == message
        with pytest.raises(ps.UserError) as caught:
            borne([study], [], **wrong)
        assert str(caught.value) == message
    with pytest.raises(ps.UserError, match=r"^to: unknown 'onx', did you mean onnx\?"):
        point.export("onx")
    with pytest.raises(ps.UserError, match=r"^path: .* exists; give another name"):
        point.export("c", tmp_path)
    for wrong, message in (
        ({"observations": 0}, "observations: must be at least 1, got 0"),
        ({"env_steps": 0}, "env_steps: must be at least 1, got 0"),
        ({"env_steps": 9}, "env_steps: it trains the levels of a point; name it, and levels"),
    ):
        with pytest.raises(ps.UserError) as caught:
            point.export("c", tmp_path / "c", **wrong)
        assert str(caught.value) == message
    with pytest.raises(ps.UserError, match="with at most 0 parameters"):
        study.best(0, max_parameters=0)


def test_observations_that_are_none_are_refused(study: tuners.Study) -> None:
    """In the words of exported files."""
    policy, seen = study.point("t01/0").policy(), np.zeros(4, np.float32)
    action = policy(seen)
    assert action == policy(seen.tolist()) == policy(seen.astype(float))
    for wrong in (seen[:3], seen[None]):
        with pytest.raises(ValueError, match=r"the observation must have shape \(4,\), got \("):
            policy(wrong)
    with pytest.raises(ValueError, match="the observation holds numbers that are not finite"):
        policy(seen * np.nan)
    with pytest.raises(ValueError, match="not finite"):
        policy.several([seen, seen + np.inf])


@pytest.mark.parametrize("name", ["t00/1", "t01/0"])
def test_a_policy_plays_as_it_was_measured(study: tuners.Study, name: str) -> None:
    point = study.point(name)
    policy = point.policy()
    environment = gymnasium.make("CartPole-v1")
    returns = []
    for seed in evaluation_seeds(0, 6):
        observation, _ = environment.reset(seed=seed)
        policy.reset()
        total, ended = 0.0, False
        while not ended:
            action = policy(observation)
            observation, reward, terminated, truncated, _ = environment.step(action)
            total, ended = total + float(reward), terminated or truncated
        returns.append(total)
    assert returns == point.record.returned.each
    assert policy.parameters == point.record.physical
    again = point.evaluate(episodes=6, seed=0)
    assert again.each == returns


def test_points_are_written_where_they_are_asked_for(study: tuners.Study, tmp_path: Path) -> None:
    point = study.point("t01/0")
    restored = point.restore(tmp_path / "restored")
    assert ps.Policy(restored).parameters == point.record.physical
    small = point.compact(tmp_path / "small")
    assert (small / "default_policy").is_dir()
    with pytest.raises(ps.UserError, match="exists; give another folder"):
        point.restore(tmp_path / "restored")
    baseline, whole = study.stored("baseline").laid_back(), point.laid_back()
    sizes = [
        {name: value.shape for name, value in networks["default_policy"].named_parameters()}
        for networks in (baseline, whole)
    ]
    assert sizes[0] == sizes[1]  # the baseline's are dense as they are


RUNS = """
import sys
import prune_search as ps, ray, tuners
study = tuners.run(ps.load(sys.argv[1]), name="mine")
assert [trial.state for trial in study.trials] == ["complete"] * 2
assert study.report.final is not None
assert not ray.is_initialized()
assert repr(tuners.open(study.folder.path)) == repr(study)
try:
    tuners.run(ps.load(sys.argv[1]), name="mine", progress=False)
except ps.UserError as error:
    assert "already exists" in str(error)
else:
    raise AssertionError("a second study of the same name")
"""


@pytest.mark.slow
def test_a_study_is_run(tiny: Any, tmp_path: Path) -> None:
    """In a process of its own: a study that finds no Ray starts one, and ends it."""
    file = tmp_path / "tiny.yaml"
    file.write_text(dump(tiny("tracking=none", storage=tmp_path)))
    ran = subprocess.run(
        [sys.executable, "-c", RUNS, str(file)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr[-2000:]
    assert "searching" in ran.stdout
