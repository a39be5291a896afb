"""Studies that tests drive."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from prune_search.experiment.schema import Experiment
from prune_search.records.folder import StudyFolder
from tuners.display.live import Progress
from tuners.study.creation import create
from tuners.study.driver import run
from tuners.study.stages.driven import DrivenStudy


def complete(experiment: Experiment, name: str, console: Console | None = None) -> StudyFolder:
    """Runs a study to its end."""
    folder = create(experiment, name, "tiny")
    console = console or Console(quiet=True)
    run(folder, experiment, Progress(experiment, name, [], console))
    return folder


def driven(folder: StudyFolder, experiment: Any, console: Any = None) -> DrivenStudy:
    progress = Progress(experiment, folder.name, [], console or Console(quiet=True))
    return DrivenStudy(folder, experiment, progress)
