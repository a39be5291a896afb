"""What was written is measured itself, and refused where it is worse than the policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prune_search.artifacts.base import TARGETS, Artifact, Material, open_artifact, register_target
from prune_search.artifacts.card import Measured, Measurement
from prune_search.artifacts.torch_program import TorchTarget
from prune_search.errors import UserError
from prune_search.export.exporting import Export, Source, export
from prune_search.export.measuring import measured_again
from prune_search.rllib.configuration.algorithms import algorithm_config
from tests import algorithms
from tests.rllib.configuration import test_observations
from tuners.benchmarks.methods.setups import Setup, small_config, small_experiment
from tuners.benchmarks.untrained import filtered, saved

pytestmark = pytest.mark.usefixtures("local_ray")


def source(config: Any, folder: Path, *, sampled: bool = False, low: float = -1e9) -> Source:
    """A policy whose return is said to lie above `low`."""
    returned = Measured(value=low + 1, low=low, high=low + 2)
    how = Measurement(seed=0, episodes=4, max_steps=50, aggregate="mean", returned=returned)
    return Source(saved(config, folder / "a"), "tests t00/1", how, sampled=sampled)


def written(given: Source, to: str, folder: Path, **more: Any) -> Export:
    return export(given, to, folder / f"policy-{to}{TARGETS[to].suffix}", observations=100, **more)


@pytest.mark.parametrize(
    "setup",
    [
        Setup("PPO", "discrete", "vector"),
        pytest.param(Setup("SAC", "continuous", "image"), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_each_target_returns_what_the_policy_does(setup: Setup, tmp_path: Path) -> None:
    given = source(filtered(small_config(small_experiment(setup))), tmp_path)
    found = {to: written(given, to, tmp_path) for to in ("rllib", "torch", "onnx", "c")}
    for to, each in found.items():
        assert each.agreement.holds(setup.actions == "discrete"), (to, each)
        assert each.returned is not None and found["rllib"].returned is not None
        assert each.returned.each == pytest.approx(found["rllib"].returned.each, abs=1e-4), to
        assert each.path.exists() and each.bytes > 500 and each.latency_us.median > 0
        again = measured_again(open_artifact(each.path), None, None)
        assert again.each == each.returned.each
    rounded = written(given, "c-int8", tmp_path)
    assert rounded.returned is not None
    assert measured_again(open_artifact(rounded.path), None, None).each == rounded.returned.each
    plain = found["onnx"]
    assert plain.agreement.equal == 1
    assert (plain.deviations > 0) == (setup.actions == "continuous")
    if setup.actions == "discrete":
        assert rounded.agreement.equal > 0.9  # of so few observations maybe all
    else:
        assert 1e-5 < rounded.agreement.difference < 1
    if setup.network == "vector":  # images' filters have as many numbers as images
        assert found["c"].figures["constants"] < 4 * found["c"].parameters
    assert {each.name for each in tmp_path.iterdir() if each.name.startswith(".")} == set()


@pytest.mark.slow
@pytest.mark.parametrize(("sees", "does"), [("dict", "from_one"), ("grey", "pair_from_one")])
def test_raw_observations_go_in_and_the_environments_actions_come_out(
    sees: str, does: str, tmp_path: Path
) -> None:
    experiment = test_observations.small(sees, f"environment.config.does={does}")
    given = source(algorithm_config(experiment, seed=1), tmp_path)
    for to in ("rllib", "onnx", "c"):  # actions that the environment does not have are errors
        found = written(given, to, tmp_path)
        assert found.agreement.equal == 1, to


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ppo-lstm", "ppo-shared"])
def test_states_and_sampled_actions(name: str, tmp_path: Path) -> None:
    given = source(algorithms.small(name), tmp_path, sampled=name == "ppo-shared")
    for to in ("torch", "onnx", "c"):
        found = written(given, to, tmp_path)
        assert found.agreement.with_noise == given.sampled
        assert found.agreement.holds(name == "ppo-lstm"), to


class Backwards(TorchTarget):
    """Writes the policy that does the opposite."""

    def write(self, material: Material, path: Path) -> None:
        last = material.described.layers[-1]
        last.weight.flags.writeable = last.bias.flags.writeable = True  # type: ignore[attr-defined]
        last.weight[:], last.bias[:] = -last.weight, -last.bias  # type: ignore[attr-defined]
        super().write(material, path)

    def opens(self, path: Path) -> bool:
        return False


@pytest.fixture
def backwards() -> Any:
    register_target("backwards")(Backwards)
    yield "backwards"
    del TARGETS._entries["backwards"]


@pytest.mark.slow
def test_what_is_worse_than_the_policy_is_refused(backwards: str, tmp_path: Path) -> None:
    given = source(small_config(small_experiment(Setup("PPO", "discrete", "vector"))), tmp_path)
    good = written(given, "onnx", tmp_path)
    assert good.returned is not None and good.agreement.equal == 1
    returned = Measured.of(good.returned).model_copy(update={"low": good.returned.value - 1e-6})
    how = given.measurement.model_copy(update={"returned": returned})
    given = Source(given.algorithm, given.name, how)
    path = tmp_path / "policy-backwards.pt2"
    worse = Source(
        given.algorithm,
        given.name,
        how.model_copy(update={"returned": returned.model_copy(update={"low": 0.5})}),
    )
    with pytest.raises(UserError, match=r"interval from 0.5 .*--anyway keeps it"):
        written(worse, "backwards", tmp_path)
    assert not path.exists() and not list(tmp_path.glob(".policy*"))
    kept = written(worse, "backwards", tmp_path, anyway=True)
    assert kept.lost and path.exists()
    assert kept.agreement.equal == 0 and not kept.agreement.holds(True)


def test_mistakes(tmp_path: Path) -> None:
    given = source(small_config(small_experiment(Setup("BC", "discrete", "vector"))), tmp_path)
    with pytest.raises(UserError, match="--to: unknown 'onyx', did you mean onnx"):
        export(given, "onyx", tmp_path / "x")
    (tmp_path / "there").write_text("")
    with pytest.raises(UserError, match=r"--out: .*there' exists"):
        export(given, "c", tmp_path / "there")
    with pytest.raises(UserError, match="--observations: must be at least 1, got 0"):
        export(given, "c", tmp_path / "x", observations=0)
    with pytest.raises(UserError, match=r"has [0-9,]+ bytes, 100 are allowed"):
        written(given, "c", tmp_path, max_bytes=100)
    assert not list(tmp_path.glob("*policy-c*"))


def test_an_artifact_of_ones_own(tmp_path: Path) -> None:
    """The module of the page on entries of one's own."""
    text = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
    code = text.partition("## A target")[2].partition("```python\n")[2].partition("```")[0]
    exec(compile(code, "my_target", "exec"), {"__name__": "my_target"})
    try:
        given = source(small_config(small_experiment(Setup("PPO", "discrete", "vector"))), tmp_path)
        found = written(given, "arrays", tmp_path)
        assert found.agreement.equal == 1 and np.load(found.path)["weight0"].ndim == 2
        artifact: Artifact = open_artifact(found.path)
        assert artifact.card.target == "arrays"
    finally:
        TARGETS._entries.pop("arrays", None)
