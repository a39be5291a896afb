"""The matrix of all methods: what it runs, what it finds, and that the documentation has it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from prune_search.matrix.cells import Cell, Strategy, run_cell, strategies
from prune_search.matrix.setups import small_config, small_experiment
from prune_search.matrix.table import markdown
from prune_search.pruning import Pruning
from prune_search.sparsity import check_strategy
from prune_search.training import learner
from prune_search.training.algorithm import ALGORITHMS
from prune_search.training.invariants import alive

POSSIBLE = [strategy for strategy in strategies() if strategy.refusal is None]
REFUSED = [strategy for strategy in strategies() if strategy.refusal is not None]
PAGE = Path(__file__).parent.parent / "docs" / "methods.md"


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


@pytest.mark.parametrize(
    ("algorithm", "strategy"),
    [
        ("PPO", Strategy("neuron", "dormant", "sensitivity")),
        ("IMPALA", Strategy("weight", "fisher", "lamp")),
        ("DQN", Strategy("filter", "l1_norm", "global")),
        ("SAC", Strategy("neuron", "activation", "searched")),
        ("BC", Strategy("weight", "threshold", None)),
        ("IQL", Strategy("2:4", "movement", None)),
    ],
)
def test_what_holds(local_ray: None, algorithm: str, strategy: Strategy) -> None:
    cell = run_cell(algorithm, strategy)
    assert cell.problems == ()
    assert cell.sparsity is not None and 0.2 < cell.sparsity < 0.8


@pytest.mark.slow
@pytest.mark.parametrize(("number", "algorithm"), enumerate(ALGORITHMS))
def test_what_holds_elsewhere(local_ray: None, number: int, algorithm: str) -> None:
    """Two strategies on each algorithm, others on each; the page has all of them on all."""
    chosen = POSSIBLE[9 * number :: 9 * len(ALGORITHMS)]
    failed = [cell for cell in (run_cell(algorithm, s) for s in chosen) if cell.problems]
    assert failed == []


def test_what_is_alive_is_found(local_ray: None) -> None:
    """Weights, moments and targets that come back, wherever they do."""
    algorithm = small_config(small_experiment("DQN", "vector")).build_algo()
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
    cell = run_cell("PPO", Strategy("filter", "dormant", "lamp"))  # one that is refused
    assert cell.sparsity is None and "lamp" in cell.problems[0]


def test_the_page_shows_what_failed_and_what_was_not_run() -> None:
    good = Cell("PPO", POSSIBLE[0], 0.5)
    bad = Cell("DQN", POSSIBLE[0], 0.5, ("after update 1: learner 0: pi",))
    page = markdown(["PPO", "DQN"], [good, bad])
    first = next(line for line in page.splitlines() if line.startswith("| magnitude | uniform"))
    assert first == "| magnitude | uniform | 50 | ✗ |"
    assert f"2 of {2 * len(POSSIBLE)} cells were run; something did not hold in 1." in page
    assert "- DQN, weight/magnitude/uniform: after update 1: learner 0: pi" in page
    assert page.count("not run") == 2 * len(POSSIBLE) - 2


def test_the_documentation_has_every_cell() -> None:
    page = PAGE.read_text(encoding="utf-8")
    total = len(POSSIBLE) * len(ALGORITHMS)
    assert f"{total} of {total} cells were run; something did not hold in 0." in page
    # Made anew from its own figures it is the same: no method has come or gone since.
    rows = re.findall(r"^\| (\w+) \| (\w*) \|((?: \d+ \|)+)$", page, re.M)
    assert len(rows) == len(POSSIBLE)
    cells = [
        Cell(algorithm, strategy, int(figure) / 100)
        for strategy, (_, _, figures) in zip(POSSIBLE, rows, strict=True)
        for algorithm, figure in zip(ALGORITHMS, figures.split("|")[:-1], strict=True)
    ]
    assert markdown(list(ALGORITHMS), cells) == page
