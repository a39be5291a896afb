import doctest
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

import prune_search.sparsity
from prune_search.sparsity import (
    MaskSet,
    check_strategy,
    criterion,
    layer_ratios,
    prune,
    schedule,
    size,
)
from prune_search.sparsity.regrowth import regrowth


def test_importing_needs_torch_alone() -> None:
    """Where Ray and all else is not installed, the package imports and prunes."""
    code = """
import sys
from importlib.abc import MetaPathFinder

absent = {'ray', 'gymnasium', 'mlflow', 'optuna', 'pydantic', 'typer'}

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in absent:
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)

sys.meta_path.insert(0, Absent())
import torch
from prune_search.sparsity import MaskSet, prune, size

params = {'w': torch.randn(8, 8)}
prune(MaskSet(), params, 0.75)
assert size(params).weight_sparsity == 0.75
assert not absent & set(sys.modules), absent & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_example_runs() -> None:
    result = doctest.testmod(prune_search.sparsity)
    assert result.attempted > 0 and result.failed == 0


def test_prune_leaves_biases_and_counts_exactly() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(10, 20), torch.nn.Linear(20, 5))
    params: dict[str, torch.Tensor] = dict(model.named_parameters())
    masks = MaskSet()
    gradients = {name: torch.rand_like(param) for name, param in params.items()}
    for ratio, name in ((0.5, "saliency"), (0.9, "random")):
        prune(masks, params, ratio, criterion=name, allocation="erk", gradients=gradients)
        assert size(params).weight_sparsity == pytest.approx(ratio)
    assert set(masks.masks) == {"0.weight", "1.weight"}


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: criterion("magnitud"), "unknown criterion 'magnitud', did you mean magnitude?"),
        (lambda: schedule("cubik", 0, 1, 4), "unknown schedule 'cubik', did you mean cubic?"),
        (lambda: layer_ratios("globl", {}, 0.5), "allocation 'globl', did you mean global?"),
        (lambda: check_strategy("wieght", "random", None), "'wieght', did you mean weight?"),
        (lambda: regrowth("rigle"), "unknown regrowth 'rigle', did you mean rigl?"),
        (lambda: prune(MaskSet(), {}, 0.5, granularity="2-4"), "'2-4'; known: weight, neuron"),
    ],
)
def test_a_name_that_is_not_known_is_answered_with_the_nearest(
    ask: Callable[[], object], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        ask()


def test_prune_at_random_can_be_repeated() -> None:
    def pruned() -> torch.Tensor:
        params = {"w": torch.ones(10, 10)}
        source = torch.Generator().manual_seed(1)
        prune(MaskSet(), params, 0.5, criterion="random", generator=source)
        return params["w"]

    assert torch.equal(pruned(), pruned())


def test_prune_at_random_depends_on_the_weights_and_on_no_seed() -> None:
    """Processes of other seeds that hold the same weights (DDP) prune the same."""

    def pruned(seed: int, weights: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(seed)
        masks = MaskSet()
        prune(masks, {"w": weights.clone()}, 0.5, criterion="random")
        return masks.masks["w"]

    first, second = torch.randn(2, 10, 10)
    assert torch.equal(pruned(0, first), pruned(1, first))
    assert not torch.equal(pruned(0, first), pruned(0, second))


def weight_norm(layer: torch.nn.Linear) -> torch.nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return torch.nn.utils.weight_norm(layer)


@pytest.mark.parametrize(
    ("normalize", "message"),
    [
        (weight_norm, "'0.weight' can't be masked: weight normalisation computes it"),
        (torch.nn.utils.parametrizations.weight_norm, "parametrization of '0' off before"),
        (torch.nn.utils.parametrizations.orthogonal, "parametrization of '0' off before"),
    ],
)
def test_weights_that_are_computed_are_refused_by_name(normalize: Any, message: str) -> None:
    """Pruned, they give NaN outputs (a row's norm is zero), or weights that aren't zero."""
    model = torch.nn.Sequential(normalize(torch.nn.Linear(4, 8)), torch.nn.Linear(8, 2))
    params = dict(model.named_parameters())
    before = {name: param.clone() for name, param in params.items()}
    with pytest.raises(ValueError, match=message):
        prune(MaskSet(), params, 0.5)
    mask = {name: torch.zeros_like(param, dtype=torch.bool) for name, param in params.items()}
    with pytest.raises(ValueError, match=message):
        MaskSet().update(params, mask)
    assert all(torch.equal(param, before[name]) for name, param in params.items())


def test_whole_numbers_are_not_pruned() -> None:
    params = {"w": torch.randn(4, 4), "table": torch.arange(6).view(2, 3)}
    prune(MaskSet(), params, 0.5)
    assert params["table"].count_nonzero() == 5
    assert size({"w": params["w"]}).weight_sparsity == 0.5


def test_prune_needs_gradients_for_saliency() -> None:
    with pytest.raises(ValueError, match="'saliency' needs the statistic 'gradient'"):
        prune(MaskSet(), {"w": torch.ones(2, 2)}, 0.5, criterion="saliency")


@pytest.mark.parametrize(("granularity", "most"), [("2:4", 0.5), ("1:4", 0.75)])
def test_prune_n_of_m(granularity: str, most: float) -> None:
    params = {"a": torch.randn(6, 8), "b": torch.randn(4, 12), "bias": torch.randn(3)}
    masks = MaskSet()
    for ratio in (most / 2, 0.9):
        prune(masks, params, ratio, granularity=granularity)
        assert size(params).weight_sparsity == min(ratio, most)


def test_prune_by_statistics() -> None:
    params = {"w": torch.ones(1, 4)}
    squares, movements = (
        torch.tensor([[3.0, 1.0, 2.0, 4.0]]),
        torch.tensor([[3.0, 4.0, -2.0, -1.0]]),
    )
    prune(MaskSet(), params, 0.5, criterion="fisher", squares={"w": squares})
    assert params["w"].tolist() == [[1.0, 0.0, 0.0, 1.0]]
    params = {"w": torch.ones(1, 4)}
    prune(MaskSet(), params, 0.5, criterion="movement", movements={"w": movements})
    assert params["w"].tolist() == [[1.0, 1.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"granularity": "neuron"}, "prune takes granularity weight, 2:4 or 1:4, not 'neuron'"),
        ({"granularity": "row"}, "unknown granularity 'row'"),
        ({"granularity": "2:4", "allocation": "erk"}, "'erk' does not go with granularity '2:4'"),
        ({"criterion": "l1_norm"}, "'l1_norm' does not go with granularity 'weight'"),
        ({"criterion": "threshold"}, "'threshold' needs select_threshold"),
        ({"criterion": "size"}, "unknown criterion 'size'"),
        ({"allocation": "even"}, "unknown allocation 'even'"),
    ],
)
def test_prune_refuses(options: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prune(MaskSet(), {"w": torch.ones(4, 4)}, 0.5, **options)  # type: ignore[arg-type]
