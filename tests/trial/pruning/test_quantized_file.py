"""What a quantized plan trains and measures is what the packed file has, biases and all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from prune_search.experiment.schema import Experiment
from prune_search.export.describing import describe
from prune_search.export.rllib import compacted, policies
from prune_search.packed.file import pack, unpack
from prune_search.packed.quantizing import quantized_policy
from prune_search.policy.reference import outputs
from prune_search.records.checkpoint import ALGORITHM, MASKS
from prune_search.records.folder import StudyFolder
from prune_search.records.models import BaselineRecord, Point
from prune_search.rllib.learners import masks as learner
from prune_search.rllib.learners.parameters import trained_parameters
from prune_search.rllib.networks.roles import ACTOR
from prune_search.rllib.running import each_learner
from prune_search.trial.baselines import baseline as dense
from prune_search.trial.pruning.quantizer import Quantizer
from prune_search.trial.rounds import TrialRounds
from tests.algorithms import built, experiment, small
from tests.plans import plan

SHORT = ("baseline.env_steps=128", "pruning.floor=0", "evaluation.max_steps=20")
BITS = 3


def planned(**changes: Any) -> Any:
    """Two rounds, or more; from half of them on it is quantized."""
    whole = {"schedule": "one_shot", "ratio": 0.3, "rounds": 2, "env_steps": 256, "bits": BITS}
    return plan(**{**whole, "scope": ACTOR, "quantized_from": 0.5, **changes})


def trained(settings: Experiment, storage: Path, monkeypatch: pytest.MonkeyPatch) -> BaselineRecord:
    monkeypatch.setattr(dense, "well_posed", lambda record: True)
    *_, record = dense.train_baseline(storage, settings)
    assert isinstance(record, BaselineRecord)
    return record


def check_file(algorithm: Path, method: str) -> int:
    """The network in a checkpoint and the packed file give the same: the file's bytes."""
    policy = describe(algorithm).policy
    data = pack(quantized_policy(describe(algorithm, held=True).policy, method, BITS), {})
    packed = unpack(data).policy
    generator = np.random.default_rng(0)
    seen = generator.standard_normal((200, *policy.observation_shape)).astype(np.float32)
    state = generator.standard_normal((200, policy.state_size)).astype(np.float32)
    (want, kept), (got, left) = (outputs(each, seen, state) for each in (policy, packed))
    assert np.abs(got - want).max() < 1e-6 and np.abs(want).max() > 0.01
    assert policy.state_size == kept.shape[1] and sorted_gap(kept, left) < 1e-6
    return len(data)


def sorted_gap(one: np.ndarray, other: np.ndarray) -> float:
    """Between numbers whose places may differ."""
    return float(np.abs(np.sort(one, axis=1) - np.sort(other, axis=1)).max(initial=0.0))


@pytest.mark.parametrize(
    ("method", "shared"),
    [
        pytest.param("sharing", False, marks=pytest.mark.slow),
        pytest.param("uniform", True, marks=pytest.mark.slow),
        pytest.param("network_sharing", True, marks=pytest.mark.slow),
        pytest.param("sharing", True, marks=pytest.mark.slow),
        pytest.param("uniform", False, marks=pytest.mark.slow),
    ],
)
def test_a_recurrent_policy_is_its_file(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, shared: bool
) -> None:
    """Quantized before a round and trained on in it; resumed, it goes on the same."""
    settings = experiment("ppo-lstm", *SHORT, f"algorithm.model.vf_share_layers={shared}".lower())
    record = trained(settings, tmp_path, monkeypatch)
    chosen = planned(quantization=method, rounds=3, env_steps=384)
    weights = []
    for name, resumed in (("whole", False), ("parts", True)):
        folder = StudyFolder(tmp_path, name)
        rounds = TrialRounds(settings, folder, record, 0, chosen)
        while not rounds.done:
            point = rounds.step()
            if resumed and not rounds.done:
                rounds.stop()
                rounds = TrialRounds(settings, folder, record, 0, chosen)
            if point.packed_bytes is not None:
                found = check_file(folder.path / point.checkpoint / ALGORITHM, method)
                assert point.packed_bytes == found and not point.cost_missing
        rounds.stop()
        held: list[Point] = [each for each in rounds.record.points if each.packed_bytes]
        assert len(held) == 2
        algorithms = [folder.path / each.checkpoint / ALGORITHM for each in held]
        weights += [acting(each) for each in algorithms]
    first, last, *others = weights
    assert any(not np.array_equal(first[key], last[key]) for key in first), "it trains on"
    for one, other in zip((first, last), others, strict=True):
        assert all(np.array_equal(one[key], other[key]) for key in one)
    _check_cells(last, method)


@pytest.mark.parametrize("method", ["sharing", pytest.param("uniform", marks=pytest.mark.slow)])
def test_units_that_have_become_constants_stay_as_they_are_held(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """In other units' biases their values would be none that the file has codes for."""
    settings = experiment("ppo-shared", *SHORT)
    record = trained(settings, tmp_path, monkeypatch)
    folder = StudyFolder(tmp_path, "study")
    chosen = planned(quantization=method, ratio=0.85)
    rounds = TrialRounds(settings, folder, record, 0, chosen)
    while not rounds.done:
        point = rounds.step()
    rounds.stop()
    algorithm = folder.path / point.checkpoint / ALGORITHM
    (whole, kept) = (compacted(policies(algorithm), fold=fold) for fold in (True, False))
    (folded, held) = (sum(one.left for one in each.values()) for each in (whole, kept))
    assert folded < held, "there are constants"
    assert point.packed_bytes == check_file(algorithm, method)


def acting(algorithm: Path) -> dict[str, np.ndarray]:
    (module,) = policies(algorithm).values()
    return dict(module.get_state(inference_only=True))


def _check_cells(weights: dict[str, np.ndarray], method: str) -> None:
    """An actor's cell has few values, and one bias of the two."""
    cells = [key.removesuffix("weight_ih_l0") for key in weights if key.endswith("weight_ih_l0")]
    assert len(cells) == 1
    first, second = (weights[f"{cells[0]}bias_{source}_l0"] for source in ("ih", "hh"))
    assert np.count_nonzero(first) and not np.count_nonzero(second)
    if method != "uniform":
        parts = [weights[f"{cells[0]}weight_{source}_l0"] for source in ("ih", "hh")]
        assert len(np.unique(np.concatenate([part.ravel() for part in (first, *parts)]))) <= 2**BITS


@pytest.mark.parametrize("name", ["ppo", "ppo-shared", "ppo-images", "ppo-lstm", "dqn", "sac"])
def test_each_acting_kernel_has_its_biases_held(local_ray: None, name: str) -> None:
    with built(small(name)) as algorithm:
        networks = learner.one(algorithm, lambda held: learner.networks_of(held, units=False))
        weights = learner.weights(algorithm)
        quantizer = Quantizer(algorithm, planned(quantization="sharing"), networks.values())
        held = quantizer.parameters
        names = [key for key in networks[ACTOR].parameters if _of_layer(key)]
        assert sorted(held) == sorted(names) and len(held) == len(set(held))
        assert any("bias_hh" in key for key in held) == (name == "ppo-lstm")
        learner.attach(algorithm)
        count = quantizer.take_up("sharing", BITS)
        second = [key for key in held if "bias_hh" in key]
        assert count == sum(weights[key].numel() for key in held if key not in second)


def _of_layer(name: str) -> bool:
    return name.rpartition(".")[2].startswith(("weight", "bias"))


@pytest.mark.slow
def test_several_learners_hold_the_same(local_ray: None) -> None:
    """And their env runners have it at once; updates leave the second bias zero."""
    with built(small("ppo-lstm", "resources.learners=2")) as algorithm:
        algorithm.train()
        learner.attach(algorithm)
        networks = learner.one(algorithm, lambda held: learner.networks_of(held, units=False))
        quantizer = Quantizer(algorithm, planned(quantization="uniform"), networks.values())
        quantizer.take_up("uniform", BITS)
        before = learner.weights(algorithm)
        algorithm.train()
        quantizer.end_round(resized=False)
        every = each_learner(
            algorithm,
            lambda held: {
                key: value.detach().cpu().numpy().copy()
                for key, value in trained_parameters(held).items()
            },
        )
        one, other = every
        assert all(np.array_equal(one[key], other[key]) for key in one)
        changed = [key for key in quantizer.parameters if not np.array_equal(one[key], before[key])]
        assert changed and not any("bias_hh" in key for key in changed)
        (empty,) = (one[key] for key in one if "bias_hh" in key)
        assert not np.count_nonzero(empty)


def test_a_point_whose_biases_were_not_held_is_held_anew(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of a time when each kernel of a cell had a codebook of its own."""
    settings = experiment("ppo-lstm", *SHORT)
    record = trained(settings, tmp_path, monkeypatch)
    chosen = planned(quantization="sharing")
    folder = StudyFolder(tmp_path, "study")
    rounds = TrialRounds(settings, folder, record, 0, chosen)
    rounds.step()
    rounds.stop()
    file = folder.path / rounds.record.points[0].checkpoint / MASKS
    state = torch.load(file, weights_only=True)
    assert state["quantizer"] is not None
    kernels = [found["symbols"][:1] for found in state["quantizer"]]
    state["quantizer"] = [{"symbols": names} for names in kernels]
    torch.save(state, file)
    rounds = TrialRounds(settings, folder, record, 0, chosen)
    point = rounds.step()
    rounds.stop()
    assert point.packed_bytes == check_file(folder.path / point.checkpoint / ALGORITHM, "sharing")
