"""What a terminal shows of a study, for tests."""

from __future__ import annotations

import io

from rich.console import Console

from prune_search.records.folder import StudyFolder
from prune_search.records.models import Point
from tests.studies import make_experiment
from tuners.display.tables import show
from tuners.report.study_report import report


def points_of(folder: StudyFolder) -> list[Point]:
    return [point for trial in folder.trials() for point in trial.points]


def shown(folder: StudyFolder, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    show(report(folder, make_experiment()), console)
    stream = console.file
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()
