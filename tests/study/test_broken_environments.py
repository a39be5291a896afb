"""What a user whose environment raises is told, and how often it is tried again."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import ray

import tests.environments
from prune_search.experiment.file import dump
from prune_search.records.folder import StudyFolder
from prune_search.user_code import culprit
from tuners import cli
from tuners.search.database import states

LINES = Path(tests.environments.__file__).read_text().splitlines()
LINE = next(i for i, line in enumerate(LINES, 1) if "the gripper is stuck" in line)
TOLD = (
    "ValueError: the gripper is stuck: close it first"
    f" ({tests.environments.__file__} line {LINE}, step)"
)


def failing_step(mark: Path) -> None:
    """RLlib's way of handing on what an environment raises, in a vector of them."""
    vector = gym.make_vec("tests.environments:Crashing-v0", 2, mark=str(mark))
    vector.reset()
    try:
        vector.step(vector.action_space.sample())
    except Exception as error:
        raise RuntimeError from error


def test_the_line_at_fault_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as raised:
        failing_step(tmp_path)
    assert culprit(raised.value) == TOLD


@pytest.mark.slow
def test_the_line_at_fault_is_named_from_another_process(local_ray: None, tmp_path: Path) -> None:
    remote = ray.remote(failing_step)
    with pytest.raises(ray.exceptions.RayTaskError) as raised:
        ray.get(remote.remote(tmp_path))
    assert culprit(raised.value) == TOLD

    @ray.remote
    def nested() -> Any:
        return ray.get(remote.remote(tmp_path))

    with pytest.raises(ray.exceptions.RayTaskError) as raised:
        ray.get(nested.remote())
    assert culprit(raised.value) == TOLD


def _caught() -> None:
    try:
        {}["absent"]
    except KeyError:
        raise ValueError from None


def _while_handling() -> None:
    try:
        {}["absent"]
    except KeyError:
        [].index(3)


@pytest.mark.parametrize(
    ("fails", "told"),
    [(_caught, "ValueError ("), (_while_handling, "ValueError: 3 is not in list (")],
)
def test_what_was_handled_is_not_at_fault(fails: Callable[[], None], told: str) -> None:
    with pytest.raises(ValueError) as raised:
        fails()
    found = culprit(raised.value)
    assert found.startswith(told) and found.endswith(f", {fails.__name__})")


def test_a_framework_s_own_error_has_no_place() -> None:
    with pytest.raises(gym.error.Error) as raised:
        gym.make("NoSuchTask-v0")
    raised.value.__traceback__ = raised.tb.tb_next
    assert culprit(raised.value).startswith("NameNotFound: Environment `NoSuchTask` doesn't exist")
    assert "line" not in culprit(raised.value)


Run = Callable[[str, Path], tuple[int, str]]


@pytest.fixture
def run(tiny: Any, local_ray: None, tmp_path: Path, monkeypatch: Any, capsys: Any) -> Run:
    """Runs a study whose environment fails while the mark exists: status, and what was printed."""

    def study(name: str, mark: Path) -> tuple[int, str]:
        experiment = tiny(
            "environment.id=Crashing-v0",
            "environment.modules=[tests.environments]",
            f"environment.config.mark={mark}",
            "baseline.env_steps=512",
            storage=tmp_path,
        )
        (tmp_path / "mine.yaml").write_text(dump(experiment))
        command = ["prune-search", "run", str(tmp_path / "mine.yaml"), "--name", name]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), " ".join((printed.out + printed.err).split())

    return study


@pytest.mark.slow
def test_what_fails_in_its_first_steps_is_told_before_anything_is_trained(
    run: Run, tmp_path: Path
) -> None:
    status, printed = run("broken", tmp_path)
    assert status == 2
    assert f"environment: step() raised {TOLD}".replace(" ", "") in printed.replace(" ", "")
    assert "begins anew" not in printed and "Traceback" not in printed
    assert not (tmp_path / "broken").exists() and not (tmp_path / "baselines").exists()


@pytest.mark.slow
def test_a_baseline_that_always_fails_alike_is_tried_twice(run: Run, tmp_path: Path) -> None:
    status, printed = run("broken", tmp_path / "baselines")  # there once it is to be trained
    assert status == 2
    assert f"baseline: its training failed: {TOLD}".replace(" ", "") in printed.replace(" ", "")
    assert printed.count("begins anew") == 1 and "Traceback" not in printed


@pytest.mark.slow
def test_trials_that_always_fail_alike_are_not_tried_on(run: Run, tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, "sick")
    status, printed = run("sick", folder.path / "trials")
    assert status == 1 and "all 2 trials failed" in printed
    # The second trial fails as the first did for good: there is nothing to try.
    assert printed.count("failed and goes on") == 1
    assert [(trial.state, trial.reason) for trial in folder.trials()] == [("failed", TOLD)] * 2
    assert {state.name for state in states(folder).values()} == {"FAIL"}
