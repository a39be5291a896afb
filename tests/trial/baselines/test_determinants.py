"""What determines a baseline is seen to change: settings, code and versions."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from prune_search.experiment.file import parse
from prune_search.experiment.schema import Experiment
from prune_search.trial.baselines.baseline import baseline_key
from prune_search.trial.baselines.determinants import determinants, differences

REGISTERS = """
import gymnasium as gym
gym.register("Own-v0", entry_point="own_task.task:Task", max_episode_steps=9)
"""
TASK = """
from gymnasium.envs.classic_control import CartPoleEnv
from .physics import GRAVITY

class Task(CartPoleEnv):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.gravity = GRAVITY
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of the user's: one module registers, another is the entry point, a third helps."""
    folder = tmp_path / "own_task"
    folder.mkdir()
    for name, text in {
        "__init__": "", "registers": REGISTERS, "task": TASK, "physics": "GRAVITY = 9.8\n",
        "notes": "", "wrap": "from gymnasium.wrappers import TimeLimit\n",
    }.items():  # fmt: skip
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield folder
    gym.registry.pop("Own-v0", None)
    for name in [name for name in sys.modules if name.split(".")[0] == "own_task"]:
        del sys.modules[name]


WRAPPED = "environment.wrappers=[{name: own_task.wrap.TimeLimit, kwargs: {max_episode_steps: 5}}]"


def described(*overrides: str) -> Experiment:
    text = "environment: {id: Own-v0, modules: [own_task.registers]}"
    return parse(text, ["algorithm.training.lr=1", WRAPPED, *overrides])


@pytest.mark.parametrize(
    ("file", "named"),
    [
        ("registers", "own_task.registers"),
        ("task", "own_task.task"),
        ("physics", "own_task.task"),
        ("wrap", "own_task.wrap"),
    ],
)
def test_code_of_the_environment_counts(own: Path, file: str, named: str) -> None:
    before = determinants(described())
    key = baseline_key(described())
    assert baseline_key(described()) == key
    with (own / f"{file}.py").open("a") as stream:
        stream.write("CHANGED = 1\n")
    (own / "notes.py").write_text("nobody imports this")
    assert baseline_key(described()) != key
    settings, software = differences(before, determinants(described()))
    assert settings == [f"code of module {named} has changed"]
    assert not software


def test_settings_and_versions_count(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = determinants(described())
    later = determinants(described("evaluation.final_episodes=7", "search.trials=3"))
    assert later == before
    settings, software = differences(before, determinants(described("algorithm.training.lr=2")))
    assert (settings, software) == (["algorithm.training.lr was 1, is 2"], [])
    version = importlib.metadata.version

    def newer(package: str) -> Any:
        return "99" if package == "gymnasium" else version(package)

    monkeypatch.setattr(importlib.metadata, "version", newer)
    settings, software = differences(before, determinants(described()))
    assert (settings, len(software)) == ([], 1)
    assert "version of gymnasium was" in software[0] and software[0].endswith("is 99")


def test_of_an_installed_environment_the_packages_versions_count() -> None:
    modules = "['minatar.gym:register_envs']"
    found = determinants(parse(f"environment: {{id: MinAtar/Breakout-v1, modules: {modules}}}"))
    assert found["version of MinAtar"] == importlib.metadata.version("MinAtar")
    assert not [name for name in found if name.startswith("code of module")]
