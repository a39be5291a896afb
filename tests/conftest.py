"""What the tests share: small experiments, and one baseline that is trained once."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import settings

# How long an example takes says more of what else runs on the machine than of the code. The same
# examples each time, so that what passed once passes again; `--hypothesis-profile exploring` looks
# at new ones.
settings.register_profile("repeated", deadline=None, derandomize=True)
settings.register_profile("exploring", deadline=None, derandomize=False)
settings.load_profile("repeated")
os.environ.setdefault("OMP_NUM_THREADS", "1")

TINY = """
environment: {id: CartPole-v1}
algorithm:
  training: {lr: 0.002, train_batch_size_per_learner: 512, minibatch_size: 128, num_epochs: 3,
             grad_clip: 0.5, vf_clip_param: .inf}
  model: {fcnet_hiddens: [16, 16], fcnet_activation: tanh, vf_share_layers: false}
baseline: {env_steps: 6000, control: false}
pruning:
  criterion: [magnitude, saliency, threshold]
  rounds: 2
  env_steps: 2000
  floor: 0.0
search: {trials: 2}
evaluation: {episodes: 6, final_episodes: 8, envs: 6}
resources: {envs_per_env_runner: 8, concurrent_trials: 1}
"""


@pytest.fixture(scope="session")
def tiny() -> Any:
    """Makes the small experiment, with overrides: tiny("pruning.rounds=3", storage=path)."""
    from prune_search.experiment.file import parse

    def make(*overrides: str, storage: Path | None = None) -> Any:
        place = [f"storage={storage}"] if storage else []
        return parse(TINY, [*overrides, *place])

    return make


@pytest.fixture(scope="session")
def shared_storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage folder for the session, so that the baseline is trained once."""
    return tmp_path_factory.mktemp("storage")


def nearest() -> list[Any]:
    """The first two entries of `inspect.stack`: who asks, and who called it."""
    own = sys._getframe(1)
    return [SimpleNamespace(frame=frame) for frame in (own, own.f_back)]


@pytest.fixture(scope="session", autouse=True)
def connectors_ask_nearby() -> None:
    """Each of RLlib's connectors asks for all its callers, with their sources, and takes the
    nearest one's frame: more than half of what building an algorithm costs below pytest's many."""
    connectors: Any = sys.modules.get("ray.rllib.connectors.connector_v2")
    if connectors is not None:  # by the tests that have been collected
        connectors.inspect = SimpleNamespace(stack=nearest, getargvalues=inspect.getargvalues)


@pytest.fixture(scope="session", autouse=True)
def commands_are_built_once() -> None:
    """Typer builds all commands anew for each one that is run, as many as a process runs."""
    import typer

    typer.main.get_command = functools.cache(typer.main.get_command)


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """A Ray of the tests' own on this machine, with room for more actors than it has cores."""
    import ray

    ray.init(
        address="local",
        num_cpus=6,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    address = ray.get_runtime_context().gcs_address
    yield
    # Who ends it hands those that come after to whatever cluster is found, to die with that.
    assert ray.is_initialized() and ray.get_runtime_context().gcs_address == address
    ray.shutdown()


@pytest.fixture(scope="session")
def baseline(tiny: Any, local_ray: None, shared_storage: Path) -> Any:
    """The small experiment's dense policy."""
    from prune_search.trial.baselines.baseline import train_baseline

    *_, record = train_baseline(shared_storage, tiny(storage=shared_storage))
    return record


@pytest.fixture(autouse=True)
def same_numbers_each_time() -> None:
    """NumPy's and torch's random numbers begin each test alike: what passed once passes again.

    Not Python's own, by which processes beside each other choose their ports.
    """
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture
def algorithm(tiny: Any, baseline: Any) -> Iterator[Any]:
    """RLlib's algorithm with the dense policy in it, in this process."""
    from prune_search.rllib.configuration.algorithms import algorithm_config
    from prune_search.rllib.running import sync_weights

    built = algorithm_config(tiny(), seed=1).build_algo()
    built.restore_from_path(baseline.checkpoint)
    sync_weights(built)
    yield built
    built.stop()


@pytest.fixture
def built(local_ray: None) -> Iterator[Callable[[Any], Any]]:
    """Builds algorithms of RLlib's from their configurations, and stops them at the end."""
    made: list[Any] = []

    def build(config: Any) -> Any:
        made.append(config.build_algo())
        return made[-1]

    yield build
    for algorithm in made:
        algorithm.stop()


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command line in a folder; see `tests.commands`."""
    from tests.commands import runner

    return runner(monkeypatch, capsys)


@pytest.fixture
def refusal(command: Any, tmp_path: Path) -> Callable[..., str]:
    """Runs a command that is refused, in the test's folder: the one line it says."""
    from tests.commands import refused

    def run(*arguments: str) -> str:
        line = refused(command(*arguments, cwd=tmp_path))
        assert line.isprintable()
        return line

    return run
