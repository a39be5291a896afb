"""Which names go together."""

import itertools
import re

import pytest
import torch
from torch import Tensor, nn

from prune_search.sparsity import (
    ALLOCATIONS,
    CRITERIA,
    GRANULARITIES,
    Coupling,
    Evidence,
    check_strategy,
    couplings,
    criterion,
    proportional,
    select,
    select_threshold,
)

UNITS = ("neuron", "filter")
PER_UNIT = ("activation", "dormant", "l1_norm", "l2_norm", "geometric_median")
FITTED = ("searched", "sensitivity")  # made from figures of the layers
COMBINATIONS = list(itertools.product(GRANULARITIES, CRITERIA, [*ALLOCATIONS, None]))


def allowed(granularity: str, criterion: str, allocation: str | None) -> bool:
    """The rules, one a line."""
    if criterion in PER_UNIT and granularity not in UNITS:
        return False
    if criterion == "threshold":
        return ":" not in granularity and allocation is None
    if ":" in granularity:
        return allocation is None
    return allocation is not None and (allocation != "lamp" or granularity == "weight")


def test_the_criteria_of_units_say_so() -> None:
    assert tuple(name for name, entry in CRITERIA.items() if entry.per_unit) == PER_UNIT


@pytest.mark.parametrize(("granularity", "name", "allocation"), COMBINATIONS)
def test_refused_is_what_the_rules_exclude(
    granularity: str, name: str, allocation: str | None
) -> None:
    if allowed(granularity, name, allocation):
        check_strategy(granularity, name, allocation)
        return
    with pytest.raises(
        ValueError, match=r"allowed|needs an allocation; known are: uniform"
    ) as caught:
        check_strategy(granularity, name, allocation)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        (
            ("weight", "l1_norm", "erk"),
            "criterion 'l1_norm' does not go with granularity 'weight': it scores whole units;"
            " allowed are neuron, filter",
        ),
        (
            ("neuron", "magnitude", "lamp"),
            "allocation 'lamp' does not go with granularity 'neuron': it ranks single weights;"
            " allowed is weight",
        ),
        (
            ("2:4", "magnitude", "erk"),
            "allocation 'erk' does not go with granularity '2:4': its groups are ranked over all"
            " layers; allowed is none",
        ),
        (
            ("1:4", "threshold", None),
            "criterion 'threshold' does not go with granularity '1:4': it is not cut at a value;"
            " allowed are weight, neuron, filter",
        ),
        (
            ("weight", "threshold", "uniform"),
            "criterion 'threshold' does not go with allocation 'uniform': each layer is cut at its"
            " value; allowed is none",
        ),
        (
            ("filter", "random", None),
            "granularity 'filter' needs an allocation; known are: uniform, global, erk, lamp,"
            " sensitivity, searched",
        ),
        (("row", "random", None), "unknown granularity 'row'; known are: weight, neuron, filter,"),
        (("weight", "size", "erk"), "unknown criterion 'size'; known are: magnitude, threshold,"),
        (
            ("weight", "random", "even"),
            "unknown allocation 'even'; known are: uniform, global, erk",
        ),
    ],
)
def test_messages(strategy: tuple[str, str, str | None], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        check_strategy(*strategy)


def test_an_allocation_of_ones_own() -> None:
    own = proportional({"a": 0.5})
    check_strategy("weight", "magnitude", own)
    with pytest.raises(ValueError, match="allocation 'searched' does not go with granularity"):
        check_strategy("2:4", "magnitude", own)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 9, 16), nn.ReLU(),
        nn.Linear(16, 4),
    )  # fmt: skip


Measured = tuple[dict[str, Tensor], list[str], list[Coupling], dict[str, Evidence]]


@pytest.fixture(scope="module")
def measured() -> Measured:
    """Parameters, layers, couplings and every statistic of a small network, from real batches."""
    model = network()
    example = torch.randn(32, 4, 3, 3)
    found = couplings(model, example, lambda module, x: module(x), heads=())
    outputs = {"0.weight": model[:2], "3.weight": model[:5], "5.weight": model}
    model(example).square().mean().backward()
    params = {name: param.detach() for name, param in model.named_parameters()}
    evidence = {}
    for name, part in outputs.items():
        gradient = model.get_parameter(name).grad
        assert gradient is not None
        with torch.no_grad():
            out = part(example).abs().transpose(0, 1).flatten(1).mean(1)
        evidence[name] = Evidence(
            params[name], gradient, gradient**2, -params[name] * gradient, out
        )
    return params, list(outputs), found, evidence


@pytest.mark.parametrize(
    ("granularity", "name", "allocation"),
    [entry for entry in COMBINATIONS if allowed(*entry) and entry[2] not in FITTED],
)
def test_all_that_is_allowed_prunes(
    measured: Measured, granularity: str, name: str, allocation: str | None
) -> None:
    params, layers, units, evidence = measured
    if name == "threshold":
        cut = {layer: float(params[layer].std()) for layer in layers}
        masks = select_threshold(granularity, params, layers, units, {}, cut)
    else:
        source = torch.Generator().manual_seed(0)
        scores = {layer: criterion(name).score(evidence[layer], source) for layer in layers}
        masks = select(granularity, params, layers, units, scores, {}, allocation, 0.25)
        gone = sum(int((~masks[layer]).sum()) for layer in layers)
        total = sum(params[layer].numel() for layer in layers)
        assert gone >= 0.25 * total - 1
    assert any(not mask.all() for mask in masks.values())
    assert all(mask.any() for mask in masks.values())
