"""The files in examples/, and presets of extras: each trains, is pruned and measured, in short."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from prune_search.errors import UserError
from prune_search.experiment.extras import EXTRAS
from prune_search.experiment.file import load
from prune_search.experiment.schema import Environment
from prune_search.rllib.configuration.algorithms import algorithm_config
from prune_search.rllib.configuration.environments import environment_for, make_environment
from prune_search.rllib.evaluation.evaluator import Evaluator
from prune_search.trial.preflight import check
from tests.algorithms import built, prune

EXAMPLES = Path(__file__).parents[2] / "examples"
NEEDS = {
    "minatar": ("minatar",),
    "minigrid": ("minigrid",),
    "mujoco": ("mujoco", "imageio"),
}
PRESETS = {
    "lunarlander": ("Box2D",),
    "lunarlander-weights": ("Box2D",),
    "hopper": ("mujoco", "imageio"),
    "halfcheetah": ("mujoco", "imageio"),
    "lane-keeping": ("highway_env",),
    "highway-fast": ("highway_env",),
    "pong": ("ale_py", "cv2"),
    "minatar-breakout": ("minatar",),
    "minatar-space-invaders": ("minatar",),
}
"""Those that need a package of an extra."""
FEW = [
    *("resources.envs_per_env_runner=2", "evaluation.envs=2", "evaluation.max_steps=20"),
    *("resources.env_runners=0", "resources.gpus_per_learner=0"),
    "algorithm.training.train_batch_size_per_learner=16",
]


def few_steps(source: str) -> list[str]:
    algorithm = load(source).algorithm
    if algorithm.name == "SAC":
        return [*FEW, "algorithm.training.num_steps_sampled_before_learning_starts=16"]
    few = [*FEW, "algorithm.training.minibatch_size=8", "algorithm.training.num_epochs=1"]
    if "head_fcnet_hiddens" in algorithm.model:  # the larger part of these networks
        few.append("algorithm.model.head_fcnet_hiddens=[16]")
    return [*few, "pruning.granularity=weight", "pruning.criterion=magnitude"]


def needed(packages: tuple[str, ...]) -> None:
    """Skips a test where a package is missing, and says what brings it."""
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        pytest.skip(f'pip install "prune-search[{EXTRAS[missing[0]]}]"')


def test_there_is_one_for_each_extra() -> None:
    """But for environments that gymnasium has itself, which need no file to be found."""
    assert {path.stem for path in EXAMPLES.glob("*.yaml")} == NEEDS.keys()
    needed_by = [*NEEDS.values(), *PRESETS.values()]
    assert {package for packages in needed_by for package in packages} == EXTRAS.keys()
    project = (EXAMPLES.parent / "pyproject.toml").read_text()
    assert all(f"\n{extra} = [" in project for extra in EXTRAS.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "packages"),
    [
        *((str(EXAMPLES / f"{name}.yaml"), packages) for name, packages in NEEDS.items()),
        *PRESETS.items(),
    ],
    ids=[*NEEDS, *(f"preset {name}" for name in PRESETS)],
)
def test_it_trains_is_pruned_and_measured(
    source: str, packages: tuple[str, ...], local_ray: None
) -> None:
    needed(packages)
    experiment = load(source, few_steps(source))
    check(experiment)
    config = algorithm_config(experiment, seed=1).reporting(min_sample_timesteps_per_iteration=16)
    with built(config) as algorithm:
        assert prune(algorithm, "weight")
        algorithm.train()
        evaluator = Evaluator(config, experiment.evaluation)
        evaluator.load({"default_policy": algorithm.get_module().get_state()})
    for random in (False, True):
        assert len(evaluator.returns([1, 2], random=random)) == 2


@pytest.mark.parametrize(
    ("package", "environment"),
    [
        *((NEEDS[name][0], load(str(EXAMPLES / f"{name}.yaml")).environment) for name in NEEDS),
        ("ale_py", load("pong").environment),
        ("highway_env", load("lane-keeping").environment),
        ("Box2D", Environment(id="LunarLander-v3")),
        ("mujoco", Environment(id="Hopper-v5")),
    ],
)
def test_a_missing_package_is_told_with_the_line_that_installs_it(
    package: str, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it is installed: imports of it fail here as if it weren't."""
    imported = (f"{package}.", "gymnasium.envs.box2d.", "gymnasium.envs.mujoco.")
    for loaded in [key for key in sys.modules if f"{key}.".startswith(imported)]:
        monkeypatch.delitem(sys.modules, loaded)

    class Absent:
        def find_spec(self, wanted: str, *_: Any) -> None:
            if wanted.partition(".")[0] == package:
                raise ModuleNotFoundError(f"No module named {wanted!r}", name=wanted)

    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    with pytest.raises(UserError) as told:
        make_environment(environment, environment_for(environment, convert=False))
    line = f'pip install "prune-search[{EXTRAS[package]}]"'
    # Gymnasium's own advice, which does not work everywhere, is not repeated.
    assert str(told.value).endswith(f"ModuleNotFoundError: No module named {package!r}; {line}")
