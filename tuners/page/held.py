"""What a report's file holds of a study: its records, from which the page and the tables follow."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from prune_search.errors import UserError
from prune_search.records.folder import StudyFolder
from prune_search.records.fronts import delivered
from prune_search.records.models import FinalRecord, Point, StudyRecord, TrialRecord
from prune_search.records.record import Record
from tuners.report.networks import Networks, networks
from tuners.report.recommendation import recommended
from tuners.report.study_report import Asked, StudyReport, report_of

_EPISODES = 20_000
"""Returns of single episodes beyond which those are left out that no table shows."""


class Held(Record):
    """A study, as a report's file holds it."""

    version: str
    """Of the prune-search that wrote it."""
    folder: str
    """The study's, absolute, where the report was made."""
    experiment: str
    """The experiment file's text."""
    asked: Asked
    study: StudyRecord | None
    trials: list[TrialRecord]
    final: FinalRecord | None
    importances: dict[str, float]
    networks: Networks | None
    """Of the dense policy and of the recommended point; None where their checkpoints are not on
    the machine that made the report, or there is no such point."""
    networks_missing: str = ""
    """Why."""
    episodes_left_out: bool = False
    """Whether the returns of single episodes are those of the front and of each trial's best point
    alone, to keep the file small. What the returns count as is there all the same."""


def held(found: StudyReport, folder: StudyFolder) -> Held:
    """What a report of a study holds.

    Args:
        found: the study's report.
        folder: the study's, which it was read from.
    """
    study, file = folder.study(), folder.experiment_file
    episodes = sum(len(point.returned.each) for point in found.points)
    trials, drawn, why = found.trials, None, ""
    taken = recommended(found)
    if taken is not None and found.baseline is not None:
        try:
            drawn = networks(folder, found.baseline, taken.point)
        except UserError as error:
            why = str(error)
    if episodes > _EPISODES:
        shown = {item.point.name for item in found.front}
        shown |= {delivered(one.points, found.retention).name for one in trials if one.points}
        trials = [_with_episodes_of(trial, shown) for trial in trials]
    return Held(
        version=version("prune-search"),
        folder=str(folder.path),
        experiment=file.read_text(encoding="utf-8") if file.is_file() else "",
        asked=found.asked,
        study=study.model_copy(update={"trusted": {}}) if study else None,
        trials=trials,
        final=found.final,
        importances=found.importances,
        networks=drawn,
        networks_missing=why,
        episodes_left_out=episodes > _EPISODES,
    )


def _with_episodes_of(trial: TrialRecord, names: set[str]) -> TrialRecord:
    def kept(point: Point) -> Point:
        if point.name in names:
            return point
        return point.model_copy(update={"returned": point.returned.without_episodes()})

    return trial.model_copy(update={"points": [kept(point) for point in trial.points]})


def report_of_held(one: Held) -> StudyReport:
    """The study's report, as it was when the file was made."""
    return report_of(
        Path(one.folder), one.asked, one.study, one.trials, one.final, lambda: one.importances
    )
