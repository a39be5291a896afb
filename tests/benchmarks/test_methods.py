"""The matrix of all methods: what it runs, what it finds, and that the documentation has it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from prune_search.experiment.pruning import Pruning
from prune_search.records.models import Did
from prune_search.rllib.learners import masks as learner
from prune_search.rllib.learners.invariants import alive
from prune_search.sparsity import check_strategy
from tuners.benchmarks.methods.cells import run_strategy
from tuners.benchmarks.methods.courses import run_courses
from tuners.benchmarks.methods.methods import (
    COURSES,
    EVERYWHERE,
    POSSIBLE,
    Cell,
    Course,
    Job,
    Strategy,
    courses,
    jobs,
    own,
    sample,
    strategies,
)
from tuners.benchmarks.methods.run import run
from tuners.benchmarks.methods.setups import ACTIONS, SETUPS, Setup, small_config, small_experiment
from tuners.benchmarks.methods.table import markdown

REFUSED = [strategy for strategy in strategies() if strategy.refusal is not None]
PAGE = Path(__file__).parents[2] / "docs" / "methods.md"


def test_every_combination_is_run_or_refused() -> None:
    for strategy in POSSIBLE:
        if strategy.allocation != "searched":  # trials make an allocation of the densities they get
            check_strategy(strategy.granularity, strategy.criterion, strategy.allocation)
    for strategy in REFUSED:
        fields = {"granularity": strategy.granularity, "criterion": strategy.criterion}
        if strategy.allocation:
            fields["allocation"] = strategy.allocation
        with pytest.raises(ValueError, match=re.escape(strategy.refusal or "")):
            Pruning.model_validate(fields)
    assert len(POSSIBLE) == 161 and len(REFUSED) == 64


def test_every_method_is_run_where_it_can_be() -> None:
    """Each algorithm with all of its actions and observations, and each strategy and course."""
    found = jobs()
    assert len(found) == len(set(found))
    assert {job.setup for job in found} == set(SETUPS) and len(SETUPS) == 30
    for setup in SETUPS:
        kinds = {(s.granularity, s.criterion) for s in POSSIBLE if s.fits(setup.network)}
        assert {(s.granularity, s.criterion) for s in sample(setup)} == kinds
        assert {Job(setup, strategy) for strategy in sample(setup)} <= set(found)
    for name in EVERYWHERE:
        assert {Job(own(name, strategy), strategy) for strategy in POSSIBLE} <= set(found)
    others = [setup for setup in SETUPS if setup.algorithm not in EVERYWHERE]
    turns = {strategy.allocation for setup in others for strategy in sample(setup)}
    assert turns == {strategy.allocation for strategy in POSSIBLE}
    assert set(courses("PPO")) == set(COURSES)
    assert {c for name in ACTIONS if name != "PPO" for c in courses(name)} == set(COURSES)


@pytest.mark.parametrize(
    ("setup", "strategy"),
    [
        (Setup("PPO", "continuous", "vector"), Strategy("neuron", "dormant", "sensitivity")),
        *(
            pytest.param(*cell, marks=pytest.mark.slow)
            for cell in (
                (Setup("DQN", "discrete", "image"), Strategy("filter", "l1_norm", "global")),
                (Setup("IMPALA", "continuous", "image"), Strategy("weight", "fisher", "lamp")),
                (Setup("SAC", "discrete", "vector"), Strategy("neuron", "activation", "searched")),
                (Setup("BC", "continuous", "vector"), Strategy("weight", "threshold", None)),
                (Setup("IQL", "continuous", "vector"), Strategy("2:4", "movement", None)),
            )
        ),
    ],
)
def test_what_holds(local_ray: None, setup: Setup, strategy: Strategy) -> None:
    cell = run_strategy(setup, strategy)
    assert cell.problems == ()
    assert cell.sparsity is not None and 0.2 < cell.sparsity < 0.8


@pytest.mark.slow
def test_what_holds_while_it_trains(local_ray: None) -> None:
    setup, chosen = Setup("PPO", "discrete", "vector"), (Course("cubic", "rigl"), Course("gated"))
    grown, gated = run_courses(setup, chosen)
    assert grown.problems == gated.problems == ()
    assert grown.did is not None and gated.did is not None
    assert grown.did.prunings >= 3 and grown.did.regrowths >= 2 and grown.did.regrown
    assert gated.did.gate_pruned + gated.did.gate_held + gated.did.gate_took_back == 3


@pytest.mark.slow
@pytest.mark.parametrize(("number", "algorithm"), enumerate(ACTIONS))
def test_what_holds_elsewhere(local_ray: None, number: int, algorithm: str) -> None:
    """A strategy and a course of each algorithm's, others of each; the page has all of them."""
    setup = Setup(algorithm, ACTIONS[algorithm][-1], ("vector", "image")[number % 2])
    strategy, course = sample(setup)[3 * number], courses(algorithm)[4 * number]
    cells = [
        run_strategy(setup, strategy),
        *run_courses(setup._replace(network="vector"), [course]),
    ]
    assert [cell for cell in cells if cell.problems] == []


def test_what_is_alive_is_found(local_ray: None) -> None:
    """Weights, moments and targets that come back, wherever they do."""
    algorithm = small_config(small_experiment(Setup("DQN", "discrete", "vector"))).build_algo()
    algorithm.train()
    learner.attach(algorithm)
    name = "af.net.mlp.0.weight"
    shape = learner.weights(algorithm)[name].shape
    masks = {name: torch.ones(shape, dtype=torch.bool).index_fill_(1, torch.tensor([2]), False)}
    places = {line.split(":")[0] for line in alive(algorithm, masks)}
    kinds = {line.split(": ")[1] for line in alive(algorithm, masks)}
    algorithm.stop()
    assert places == {"learner 0", "env runner 0"}
    assert kinds == {name, f"target of {name}", f"exp_avg of {name}", f"exp_avg_sq of {name}"}


def test_a_cell_tells_what_it_died_of(local_ray: None) -> None:
    refused = Strategy("filter", "dormant", "lamp")
    cell = run_strategy(Setup("PPO", "discrete", "image"), refused)
    assert cell.sparsity is None and "lamp" in cell.problems[0]


def test_the_page_shows_what_failed_and_what_was_not_run() -> None:
    setups = [Setup(name, "discrete", "vector") for name in ("PPO", "DQN")]
    good = Cell(setups[0], POSSIBLE[0], 0.5)
    bad = Cell(setups[1], POSSIBLE[0], 0.5, ("after update 1: learner 0: pi",))
    page = markdown([good, bad])
    first = next(line for line in page.splitlines() if line.startswith("| magnitude | uniform"))
    assert first == "| magnitude | uniform | 50 | not run | not run | ✗ | not run | not run |"
    assert f"2 of {len(jobs())} cells were run; something did not hold in 1." in page
    problem = "DQN, discrete actions, vectors; weight/magnitude/uniform: after update 1: learner 0"
    assert f"- {problem}" in page
    part = markdown([good], [Job(setups[0], POSSIBLE[0])])
    assert "1 of 1 cells were run" in part and "not run" not in part.replace("was not run", "")


@pytest.mark.slow
def test_an_interrupted_matrix_goes_on(local_ray: None, tmp_path: Path) -> None:
    chosen = [Job(Setup("BC", "discrete", "vector"), strategy) for strategy in POSSIBLE[:3]]
    kept = tmp_path / "cells"
    done = list(run(chosen[:2], kept))
    assert {Job(cell.setup, cell.method) for cell in done} == set(chosen[:2])
    lines = kept.read_bytes().splitlines()
    kept.write_bytes(lines[0].replace(b"0.5", b"0.4") + b"\n" + lines[1][:20])  # killed there
    again = list(run(chosen, kept))
    assert {Job(cell.setup, cell.method) for cell in again} == set(chosen)
    assert sum(cell.sparsity is not None and cell.sparsity < 0.45 for cell in again) == 1


def test_the_documentation_has_every_cell() -> None:
    """Made anew from made-up figures it is the same but for these: nothing has come or gone."""
    page = PAGE.read_text(encoding="utf-8")
    total = len(jobs())
    assert f"{total} of {total} cells were run; something did not hold in 0." in page
    made = markdown([Cell(job.setup, job.method, 0.5, did=Did()) for job in jobs()])
    assert re.sub(r"\d+", "0", made) == re.sub(r"\d+", "0", page)
