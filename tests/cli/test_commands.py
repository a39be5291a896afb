"""The command line on a user's mistakes: one clear line, exit status 2, nothing trained."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Command, refused


@pytest.fixture(scope="module")
def bad_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a module that registers an environment of unsupported spaces."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "mine.py").write_text(
        "import gymnasium as gym\n"
        "class Bad(gym.Env):\n"
        "    observation_space = gym.spaces.Dict({'x': gym.spaces.Text(3)})\n"
        "    action_space = gym.spaces.Discrete(2)\n"
        "class Raises(gym.Env):\n"
        "    def __init__(self): raise RuntimeError('no display')\n"
        "gym.register('Bad-v0', entry_point=Bad)\n"
        "gym.register('Raises-v0', entry_point=Raises)\n"
    )
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["pruning.x=1"], "pruning.x: unknown key"),
        (["search.trials=x"], "search.trials: must be a whole number"),
        (["environment.id=CartPol-v1"], "unknown 'CartPol-v1'; near names: CartPole-v"),
        (["algorithm.name=DDPG"], "algorithm.name: unknown 'DDPG'; known are: APPO, BC"),
        (["pruning.criterion=magic"], "unknown 'magic'; known are: magnitude, threshold"),
        (["pruning.layers=[body*]"], "pruning.layers: 'body*' matches none of the kernels"),
        (
            ["pruning.granularity=filter", "pruning.criterion=magnitude"],
            "filter finds no units in this network; it needs convolutions",
        ),
        (
            ["environment.id=Acrobot-v1", "pruning.granularity=2:4", "pruning.criterion=magnitude"],
            "2:4 needs layers whose number of inputs 4 divides, and encoder.actor_encoder.net.mlp",
        ),
        (["environment.policies={a: [x]}"], "'CartPole-v1' is an environment of one agent"),
        (["algorithm.name=BC", "algorithm.training={}"], "BC learns from recorded episodes"),
        (["pruning.distillation=1", "pruning.teacher=nowhere"], "pruning.teacher: no folder"),
        (["algorithm.training.gama=0.9"], "algorithm.training: unknown 'gama'; near names: gamma"),
        (["algorithm.model.hiddens=[4]"], "unknown 'hiddens'; near names: fcnet_hiddens"),
        (["algorithm.training.minibatch_size=99999"], "algorithm: RLlib refuses its settings"),
        (["environment.modules=[nowhere]"], "'nowhere'; modules are looked for in /"),
        (["environment.modules=[mine]", "environment.id=Bad-v0"], "can't be made a vector"),
        (["environment.modules=[mine]", "environment.id=Raises-v0"], "no display"),
        (["environment.config.colour=red"], "environment: cannot make 'CartPole-v1'"),
        (["baseline.checkpoint=nowhere"], "baseline.checkpoint: no folder 'nowhere'"),
        (["baseline.checkpoint=."], "baseline.checkpoint: '.' is not a readable checkpoint"),
        (["storage=/proc/studies"], "storage: cannot write to '/proc/studies'"),
        (["resources.address=127.0.0.1:9"], "resources.address: no Ray cluster at '127.0.0.1:9'"),
        (["resources.address=nonsense"], "must be auto, HOST:PORT or ray://HOST:PORT"),
        (
            ["resources.env_runners=99"],
            "resources.env_runners: the baseline and each trial need 100 CPUs (1 for its own"
            " process, 99 for its env runners), and this machine has ",
        ),
        (["resources.learners=99"], "resources.learners: the baseline and each trial need 100 CPU"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_bad_experiments(
    command: Command, bad_environment: Path, tmp_path: Path, changes: list[str], message: str
) -> None:
    storage = [] if any("storage=" in c for c in changes) else ["--storage", str(tmp_path)]
    options = [part for change in changes for part in ("--set", change)]
    trust = "--trust-checkpoint"
    result = command("run", "cartpole", trust, *storage, *options, cwd=bad_environment)
    assert message in refused(result)
    assert not list(tmp_path.glob("*/trials"))
    assert not list(tmp_path.glob("baselines/*"))


@pytest.mark.slow
def test_checkpoints_of_something_else(command: Command, baseline: Any, tmp_path: Path) -> None:
    checkpoint = f"baseline.checkpoint={baseline.checkpoint}"

    def run(*changes: str) -> str:
        options = [part for change in changes for part in ("--set", change)]
        trusting = ("--trust-checkpoint", "--storage", str(tmp_path / "s"))
        result = command("run", "cartpole", *trusting, *options, cwd=tmp_path)
        return refused(result)

    said = run(checkpoint, "environment.id=Acrobot-v1")
    assert "is of environment CartPole-v1, and environment.id is Acrobot-v1" in said
    assert "does not fit: encoder.actor_encoder.net.mlp.0.weight has shape (16, 4)" in run(
        checkpoint, "algorithm.model.fcnet_hiddens=[8, 8]"
    )
    teacher = (f"pruning.teacher={baseline.checkpoint}", "pruning.distillation=1.0")
    assert "pruning.teacher" in (said := run("environment.id=Acrobot-v1", *teacher))
    assert "Discrete(2)" in said and "Discrete(3)" in said
    corrupt = tmp_path / "corrupt"
    corrupt.mkdir()
    (corrupt / "class_and_ctor_args.pkl").write_bytes(pickle.dumps({"class": int})[:-3])
    assert "is not a readable checkpoint" in run(f"baseline.checkpoint={corrupt}")


def test_names(command: Command, tmp_path: Path) -> None:
    (tmp_path / "studies" / "taken").mkdir(parents=True)
    taken = command("run", "cartpole", "--name", "taken", cwd=tmp_path)
    assert "study 'taken' already exists" in refused(taken)
    assert taken.out == ""  # known before RLlib is loaded
    for name in ("../x", ".hidden", "baselines"):
        assert "name: must be one folder name" in refused(
            command("run", "cartpole", "--name", name, cwd=tmp_path)
        )
    for arguments in (
        ("show", "x"),
        ("resume", "x"),
        ("evaluate", "x", "t00/0"),
        ("restore", "x", "baseline"),
    ):
        assert "no study 'x'" in refused(command(*arguments, cwd=tmp_path))
    assert "no MLflow store" in refused(command("ui", "--storage", str(tmp_path), cwd=tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("pruning.x=1", "pruning.x: unknown key"),
        (
            "resources.gpus_per_learner=99",
            "resources.gpus_per_learner: the baseline and each trial need 99 GPUs, and this machine"
            " has ",
        ),
    ],
)
def test_as_a_user_runs_it(tmp_path: Path, change: str, message: str) -> None:
    """Nothing is trained, and what takes seconds to load is not even imported."""
    (*progress, error), imported = _run(tmp_path, change)
    assert message in error and all(line.startswith("[") for line in progress)
    assert list(tmp_path.iterdir()) == []
    assert "prune_search" in imported and not imported & {"ray.rllib", "ray.tune", "torch"}


@pytest.mark.slow
def test_something_is_seen_before_anything_slow_is_loaded(tmp_path: Path) -> None:
    said, imported = _run(tmp_path, "storage=/proc/studies", until="loading RLlib")
    assert said == ["[0:00] cartpole: loading RLlib, checking the experiment"]
    assert "prune_search" in imported
    assert not imported & {"ray", "torch", "optuna", "mlflow", "pandas", "gymnasium"}


def _run(folder: Path, change: str, *, until: str | None = None) -> tuple[list[str], set[str]]:
    """What a refused run prints, and the modules that it imports, until a line with `until`."""
    command = Path(sys.executable).with_name("prune-search")
    result = subprocess.run(
        [sys.executable, "-X", "importtime", command, "run", "cartpole", "--set", change],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,  # one pipe: in the order in which they came
        text=True,
        timeout=250,
        check=False,
    )
    assert result.returncode == 2, result.stdout
    said, imported = [], set()
    for line in result.stdout.splitlines():
        if line.startswith("import time:"):
            imported.add(line.rpartition("|")[2].strip())
            continue
        said.append(line)
        if until is not None and until in line:
            return said, imported
    assert until is None, result.stdout
    return said, imported
