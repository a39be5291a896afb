"""Observations and actions that RLlib's networks don't take as they are."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray import cloudpickle
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from prune_search.errors import UserError
from prune_search.experiment.file import parse
from prune_search.experiment.schema import Experiment
from prune_search.rllib.configuration.algorithms import algorithm_config
from prune_search.rllib.configuration.environments import (
    environment_for,
    make_environment,
    steps_of,
)
from prune_search.rllib.evaluation.evaluator import Evaluator
from prune_search.trial.preflight import check
from tests.algorithms import REPLAY

SMALL = """
environment: {{id: AnyKind-v0, modules: [tests.environments], config: {{sees: {sees}}}}}
algorithm:
  training: {{train_batch_size_per_learner: 32, minibatch_size: 16, num_epochs: 1}}
  model: {{fcnet_hiddens: [8], head_fcnet_hiddens: [8]{more}}}
evaluation: {{episodes: 4, envs: 4}}
resources: {{envs_per_env_runner: 2}}
"""
CONVOLUTIONS = ", conv_filters: [[4, 3, 2]], conv_activation: relu"


def small(sees: str, *overrides: str) -> Experiment:
    return parse(
        SMALL.format(sees=sees, more=CONVOLUTIONS if sees in IMAGES else ""), list(overrides)
    )


IMAGES = ("bytes", "grey", "frames", "planes", "codes")
FLAT, FLOATS, LAST = "FlattenObservation", "DtypeObservation", "channels last"
SCALED, SHIFTED = "NormalizedImageEnv", "actions from zero"


def named(steps: list[dict[str, Any]]) -> list[str]:
    return [step["name"].rpartition(".")[2] for step in steps]


@pytest.mark.parametrize(
    ("sees", "steps", "shape"),
    [
        ("bytes", [SCALED], (12, 12, 3)),
        ("grey", [LAST, SCALED], (12, 12, 4)),
        ("frames", [LAST, SCALED], (12, 12, 6)),
        ("planes", [FLOATS], (12, 12, 3)),
        ("codes", [FLOATS], (12, 12, 3)),
        ("byte_vector", [FLOATS], (5,)),
        ("counts", [FLOATS], (5,)),
        ("double", [], (5,)),
        ("half", [FLOATS], (5,)),
        ("number", [FLAT], (1,)),
        ("matrix", [FLAT], (20,)),
        ("one_of", [FLAT, FLOATS], (6,)),
        ("bits", [FLAT, FLOATS], (5,)),
        ("several", [FLAT, FLOATS], (7,)),
        ("dict", [FLAT], (9,)),
    ],
)
def test_each_kind_becomes_floats_of_rank_1_or_3(
    sees: str, steps: list[str], shape: tuple[int, ...]
) -> None:
    environment = small(sees).environment
    given = environment_for(environment)
    made = make_environment(environment, given)

    assert named(steps_of(given)) == steps
    assert made.observation_space.shape == shape
    assert np.issubdtype(made.observation_space.dtype, np.floating)
    seen, _ = made.reset(seed=3)
    assert made.observation_space.contains(seen)
    seen, *_ = made.step(made.action_space.sample())
    assert made.observation_space.contains(seen)


def test_images_keep_their_pixels_and_other_integers_their_values() -> None:
    def seen(sees: str, convert: bool) -> Any:
        environment = small(sees).environment
        return make_environment(environment, environment_for(environment, convert=convert)).reset(
            seed=3
        )[0]

    raw = seen("frames", False)
    turned = seen("frames", True)
    for frame in range(2):
        for channel in range(3):
            found = (turned[..., 2 * channel + frame] + 1) * 128
            np.testing.assert_array_equal(found, raw[frame, ..., channel])
    np.testing.assert_array_equal((seen("bytes", True) + 1) * 128, seen("bytes", False))
    np.testing.assert_array_equal(seen("counts", True), seen("counts", False))


@pytest.mark.parametrize(
    ("sees", "does", "name", "training"),
    [
        ("bytes", "from_one", "PPO", ""),
        ("counts", "pair_from_one", "PPO", ""),
        ("dict", "from_one", "DQN", f"algorithm.training={{{REPLAY}}}"),
    ],
)
def test_what_is_converted_trains_is_measured_and_opens_with_rllib_alone(
    built: Callable[[AlgorithmConfig], Algorithm],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sees: str,
    does: str,
    name: str,
    training: str,
) -> None:
    """The environment itself refuses actions that are not in its space."""
    overrides = [f"environment.config.does={does}", f"algorithm.name={name}"]
    overrides += [training, "pruning.scope=actor"] if training else []
    experiment = small(sees, *overrides)
    check(experiment)
    config = algorithm_config(experiment, seed=1).reporting(min_sample_timesteps_per_iteration=20)
    algorithm = built(config)
    algorithm.train()
    evaluator = Evaluator(config, experiment.evaluation)
    evaluator.load({"default_policy": algorithm.get_module().get_state()})
    for random in (False, True):
        assert 0 <= evaluator.measure(0, 4, random=random).iqm <= 8

    algorithm.save_to_path(tmp_path)
    for module in [key for key in sys.modules if key.split(".")[0] == "prune_search"]:
        monkeypatch.setitem(sys.modules, module, None)
    content = cloudpickle.loads((tmp_path / "class_and_ctor_args.pkl").read_bytes())
    (saved,), _ = content["ctor_args_and_kwargs"]
    made = saved["env"]({"sees": sees, "does": does})
    assert made.observation_space == algorithm.get_module().observation_space
    assert SHIFTED in named(saved["env"].wrappers)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["environment.config.sees=picture"], "hold an image beside other things"),
        (
            ["environment.wrappers=[{name: gymnasium.wrappers.NormalizeObservation}]"],
            "environment: NormalizeObservation learns from what it sees",
        ),
        (["environment.config.sees=text"], "environment.wrappers that leaves out texts"),
        (["environment.config.does=steps"], "actions that are a Box must be floats"),
        (["environment.config.does=table"], "multiple dimensions"),
        (["algorithm.model.conv_filters=[[4, 3, 2]]"], "algorithm.model.conv_filters: the network"),
        (
            ["environment.config.sees=counts", "algorithm.name=BC", "algorithm.offline.input_=[x]"],
            "algorithm.offline: recorded observations and actions are read as they are",
        ),
    ],
)
def test_what_cannot_be_converted_is_refused_before_training(
    overrides: list[str], told: str
) -> None:
    training = ["algorithm.training={}"] if "algorithm.name=BC" in overrides else []
    with pytest.raises(UserError, match=told.replace("(", r"\(")):
        check(small("double", *overrides, *training).trusting())
