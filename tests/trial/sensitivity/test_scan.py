"""Sensitivity scans on a real policy: what is removed, what is measured, and that it is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from prune_search.records.layer_curves import SensitivityRecord
from prune_search.records.returns import Return
from prune_search.rllib.configuration.algorithms import algorithm_config
from prune_search.rllib.evaluation.evaluator import Evaluator, runner_state
from prune_search.rllib.learners import masks as learner
from prune_search.sparsity import sensitivity_ratios
from prune_search.trial.sensitivity.scan import (
    RATIOS,
    DensePolicy,
    measure_curves,
    sensitivity_of,
)
from prune_search.trial.sensitivity.single_layers import check_measurable, cuts

ACTOR = ("encoder.actor_encoder.net.mlp.0", "encoder.actor_encoder.net.mlp.2", "pi.net.mlp.0")
CRITIC = ("encoder.critic_encoder.net.mlp.0", "encoder.critic_encoder.net.mlp.2", "vf.net.mlp.0")
SIZES = dict(zip((f"{name}.weight" for name in ACTOR), (64, 256, 32), strict=True))
FLAT = [f"{name}.weight" for name in CRITIC]


class Dense:
    """The dense policy, ready to be measured."""

    def __init__(self, algorithm: Any, experiment: Any) -> None:
        config = algorithm_config(experiment, seed=1)
        self.algorithm = algorithm
        self.evaluator = Evaluator(config, experiment.evaluation)
        self.evaluator.load(learner.module_state(algorithm), runner_state(algorithm))
        self.weights = learner.weights(algorithm)
        self.networks = {
            units: learner.one(algorithm, lambda held, u=units: learner.networks_of(held, units=u))
            for units in (False, True)
        }

    def held(self) -> dict[str, torch.Tensor]:
        return {
            name: value.detach().clone()
            for name, value in self.evaluator.named_parameters().items()
        }


@pytest.fixture(scope="module")
def short(tiny: Any) -> Any:
    """The small experiment with short episodes, fewer than the baseline was measured on."""
    return tiny("evaluation.max_steps=96", "evaluation.episodes=5")


@pytest.fixture(scope="module")
def dense(short: Any, baseline: Any) -> Iterator[Dense]:
    algorithm = algorithm_config(short, seed=1).build_algo()
    algorithm.restore_from_path(baseline.checkpoint)
    yield Dense(algorithm, short)
    algorithm.stop()


@pytest.fixture(scope="module")
def scanned(short: Any, baseline: Any, dense: Dense) -> SensitivityRecord:
    """Single weights by magnitude."""
    return scan(short, baseline, dense, "weight", "magnitude")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def scan(
    experiment: Any, baseline: Any, dense: Dense, granularity: str, criterion: str, **more: Any
) -> Any:
    units = granularity in ("neuron", "filter")
    policy = DensePolicy(
        dense.evaluator, dense.networks[units], dense.weights, more.pop("evidence", {})
    )
    return measure_curves(experiment, baseline, policy, granularity, criterion, **more)


def test_curves_of_single_weights(short: Any, baseline: Any, dense: Dense) -> None:
    acting, weights = dense.held(), learner.weights(dense.algorithm)
    told: list[tuple[int, int]] = []
    record = scan(short, baseline, dense, "weight", "magnitude", report=lambda *at: told.append(at))
    assert same(dense.held(), acting) and same(dense.weights, weights)
    assert same(learner.weights(dense.algorithm), weights)
    assert record.weights == SIZES and record.flat == FLAT
    for layer, size in SIZES.items():
        points = record.points[layer]
        assert [point.asked for point in points] == list(RATIOS)
        # Whole weights, and one is always left.
        removed = [min(round(ratio * size), size - 1) for ratio in RATIOS]
        assert [round(point.ratio * size) for point in points] == removed
        assert {point.returned.episodes for point in points} == {5}
        assert record.curves[layer] == tuple(
            dict.fromkeys((point.ratio, point.retention) for point in points)
        )
        assert len(record.curves[layer]) == len(set(removed))
    distinct = sum(len(record.curves[layer]) for layer in SIZES)
    assert told == [(done, distinct) for done in range(distinct + 1)]


def test_a_point_is_the_return_with_that_layer_alone_pruned(
    scanned: SensitivityRecord, short: Any, dense: Dense
) -> None:
    worst = min(
        ((layer, point) for layer, points in scanned.points.items() for point in points),
        key=lambda pair: pair[1].retention,
    )
    layer, point = worst
    weight, settings = dense.evaluator.named_parameters()[layer], short.evaluation
    before, gone = weight.detach().clone(), round(point.ratio * SIZES[layer])
    with torch.no_grad():
        weight.view(-1)[weight.abs().flatten().argsort(stable=True)[:gone]] = 0.0
        again = dense.evaluator.measure(settings.seed, settings.episodes)
        weight.copy_(before)
    assert point.returned == again and point.retention < 0.9


def test_retention_is_of_the_same_episodes(
    scanned: SensitivityRecord, short: Any, baseline: Any, dense: Dense
) -> None:
    """The baseline's own returns where they are of as many episodes, else measured anew."""
    assert baseline.returned.episodes == 6
    assert scanned.dense == dense.evaluator.measure(0, 5)
    assert scanned.random == dense.evaluator.measure(0, 5, random=True)
    gain = scanned.dense.value - scanned.random.value
    for points in scanned.points.values():
        for point in points:
            kept = (point.returned.value - scanned.random.value) / gain
            assert point.retention == pytest.approx(kept)
    known = baseline.model_copy(
        update={"returned": Return(iqm=300.0, low=290.0, high=310.0, episodes=5)}
    )
    outputs = short.pruning.model_copy(update={"layers": ["pi.*"]})
    narrow = short.model_copy(update={"pruning": outputs})
    record = scan(narrow, known, dense, "weight", "random")
    assert (record.dense, record.random) == (known.returned, baseline.random)
    assert list(record.points) == ["pi.net.mlp.0.weight"] and record.flat == []
    for point in record.points["pi.net.mlp.0.weight"]:
        assert point.retention == known.retention(point.returned.value)


def test_units_go_with_their_biases_and_readers(short: Any, baseline: Any, dense: Dense) -> None:
    first, second = (f"{name}.weight" for name in ACTOR[:2])
    found = cuts(
        dense.networks[True]["actor"],
        list(SIZES),
        dense.weights,
        "neuron",
        "l1_norm",
        {},
        0,
        RATIOS,
    )
    assert {cut.layer for cut in found} == {first, second}  # the actions' layer has no units
    cut = next(cut for cut in found if cut.layer == first and cut.asked == 0.8)
    gone = ~cut.masks[first].any(1)
    assert int(gone.sum()) == 13 and cut.ratio == 13 / 16
    assert torch.equal(~cut.masks[first.replace("weight", "bias")], gone)
    assert torch.equal(~cut.masks[second].any(0), gone)
    norms = dense.weights[first].abs().sum(1)
    assert norms[gone].max() <= norms[~gone].min()
    record = scan(short, baseline, dense, "neuron", "l1_norm")
    assert [round(16 * ratio) for ratio, _ in record.curves[first]] == [8, 13, 15]
    assert [point.retention for point in record.points[first][3:]] == [
        record.points[first][2].retention
    ] * 3


def test_patterns_of_n_of_m_are_one_point(short: Any, baseline: Any, dense: Dense) -> None:
    record = scan(short, baseline, dense, "2:4", "magnitude")
    assert {layer: len(curve) for layer, curve in record.curves.items()} == dict.fromkeys(
        [*SIZES, *FLAT], 1
    )
    assert all(record.curves[layer][0][0] == 0.5 for layer in SIZES)


def test_evidence_decides_what_goes(short: Any, baseline: Any, dense: Dense) -> None:
    with pytest.raises(ValueError, match="has no scores"):
        scan(short, baseline, dense, "weight", "saliency")
    # Where the gradient is the inverse of the weight, all are as salient: the first go first.
    gradients = {name: 1 / weight for name, weight in dense.weights.items() if weight.ndim == 2}
    gradients["pi.net.mlp.0.weight"][0, :] = 1e6
    found = cuts(
        dense.networks[False]["actor"],
        ["pi.net.mlp.0.weight"],
        dense.weights,
        "weight",
        "saliency",
        {"gradient": gradients},
        0,
        (0.5,),
    )
    assert found[0].masks["pi.net.mlp.0.weight"].tolist() == [[True] * 16, [False] * 16]


def test_measured_once_a_study(tiny: Any, baseline: Any, tmp_path: Path) -> None:
    path = tmp_path / "sensitivity" / "weight-saliency.json"
    told: list[int] = []

    def report(done: int, total: int) -> None:
        told.append(done)

    def measure(*overrides: str) -> SensitivityRecord:
        told.clear()
        experiment = tiny("evaluation.max_steps=32", *overrides)
        return sensitivity_of(experiment, path, baseline, "weight", "saliency", report)

    first = measure()
    assert told and SensitivityRecord.read(path) == first
    assert [file.name for file in path.parent.glob("[!.]*")] == [path.name]
    assert measure() == first and not told  # read
    path.unlink()
    assert measure() == first and told  # measured anew, the same
    other = measure("pruning.layers=['pi.*']")
    assert told and list(other.points) == ["pi.net.mlp.0.weight"]
    assert measure("pruning.layers=['pi.*']") == other and not told


def test_flat_layers_share_equally(scanned: SensitivityRecord) -> None:
    record = scanned
    sizes = dict(zip(FLAT, (64, 256, 16), strict=True))
    assert sensitivity_ratios(record.curves, sizes, 0.8) == pytest.approx(dict.fromkeys(FLAT, 0.8))
    measured = sensitivity_ratios(record.curves, SIZES, 0.8)
    total = sum(measured[layer] * size for layer, size in SIZES.items())
    assert total == pytest.approx(0.8 * sum(SIZES.values()))
    means = [record.mean(layer) for layer in record.ranking]
    assert means == sorted(means) and set(record.ranking) == set(SIZES)
    assert record.ranking[0] in record.verdict and record.ranking[-1] in record.verdict


@pytest.mark.parametrize(
    ("granularity", "criterion", "message"),
    [
        ("weight", "magic", "unknown criterion 'magic'; known are: magnitude"),
        ("layer", "magnitude", "unknown granularity 'layer'; known are: weight"),
        ("weight", "l1_norm", "it scores whole units"),
        ("2:4", "dormant", "it scores whole units"),
        ("weight", "threshold", "magnitude ranks weights as it does"),
    ],
)
def test_what_has_no_sensitivity(granularity: str, criterion: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_measurable(granularity, criterion)
    for possible in ("weight", "neuron", "filter", "2:4", "1:4"):
        check_measurable(possible, "magnitude")
