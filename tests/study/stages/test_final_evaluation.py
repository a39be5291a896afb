"""The front's second measurement."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from prune_search.errors import UserError
from prune_search.experiment.schema import Evaluation
from prune_search.records.folder import StudyFolder
from tests.studies import make_trial
from tests.study.driving import driven
from tuners.commands import command
from tuners.study.stages.final_evaluation import evaluate_front, meters

pytestmark = pytest.mark.timeout(400)


@pytest.mark.parametrize(
    ("eval_s", "episodes", "cpus", "expected"),
    [
        (0.4, 100, 64, 1),  # 0.6 s in all: no process is worth its start
        (0.4, 2_000, 64, 3),  # 12 s in all
        (40.0, 100, 64, 4),
        (40.0, 100, 2, 2),
    ],
)
def test_a_front_is_measured_by_as_many_processes_as_are_worth_their_start(
    eval_s: float, episodes: int, cpus: int, expected: int
) -> None:
    points = [point.model_copy(update={"eval_s": eval_s}) for point in make_trial(0, 3).points]
    evaluation = Evaluation(episodes=100, final_episodes=episodes)
    assert meters(points, evaluation, cpus) == expected


class _Counted:
    """A study's environment that fails in evaluations, and says how often it was asked."""

    def __init__(self, tiny: Any, baseline: Any, folder: Path, kind: str) -> None:
        self.mark = folder / "mark"
        experiment = tiny(
            "environment.id=Failing-v0",
            "environment.modules=[tests.study.stages.failing]",
            f"environment.config={{mark: {self.mark}, kind: {kind}}}",
            storage=folder,
        )
        self.study = driven(StudyFolder(folder, "failing"), experiment)
        self.study.know(baseline=baseline)
        point = make_trial(0, rounds=1).points[0]
        record = make_trial(0, rounds=1).model_copy(update={"points": [point]})
        self.study.folder.write_trial(record, lambda _: None)
        there = self.study.folder.algorithm(point)
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(baseline.checkpoint, there)


@pytest.mark.parametrize(
    ("kind", "told", "helps", "steps"),
    [
        pytest.param(
            *("nan", "environment: step() returned a reward that is not finite: the front"),
            *("show", 6),
            marks=pytest.mark.slow,
        ),
        ("raise", "evaluation: OSError: the robot fell (", "resume", 1),
    ],
)
def test_code_that_fails_is_told_in_a_line_and_not_tried_again(
    tiny: Any,
    baseline: Any,
    tmp_path: Path,
    capfd: Any,
    kind: str,
    told: str,
    helps: str,
    steps: int,
) -> None:
    """It has taken its first step in each of six environments, or has raised in the first one."""
    failing = _Counted(tiny, baseline, tmp_path, kind)
    with pytest.raises(UserError) as raised:
        evaluate_front(failing.study)
    line = str(raised.value)
    assert line.startswith(told) and "\n" not in line
    assert command(helps, failing.study.folder.path) in line
    assert failing.mark.read_text() == "once\n" * steps
    assert "Traceback" not in "".join(capfd.readouterr())
