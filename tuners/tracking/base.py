"""What shows studies elsewhere: the protocol, and its registry, open to trackers of one's own.

A tracker is a projection of the study's folder: told of a trial or of the study, it brings what it
shows in line with the records, as often as it is told, and raises where it can't. When it is told,
and what becomes of failures, is the projector's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from prune_search.experiment.schema import Experiment
from prune_search.records.folder import StudyFolder
from prune_search.records.models import FinalRecord, StudyRecord, TrialRecord
from prune_search.registry import Registry
from tuners.report.study_report import StudyReport


@dataclass(frozen=True)
class Where:
    """Where a study can be seen."""

    experiment_id: str | None = None
    """The tracker's own name of what it keeps studies in; None until it was reached."""
    runs: dict[str, str] = field(default_factory=dict)
    """Its names of the runs by trial name; the study's own under `summary`."""
    runs_url: str = ""
    compare_url: str = ""
    """Compares the trials that have points; empty for fewer than two."""


class Tracking(Protocol):
    """A tracker of one study. It is called by one thread at a time."""

    @property
    def place(self) -> str:
        """What it is and where, for messages: `MLflow at http://...`."""

    def connect(self) -> None:
        """Makes sure that it can be reached; called before each projection."""

    def disconnect(self) -> None:
        """Forgets what it knew of it, which a failure may have made wrong."""

    def project_trial(
        self, study: StudyRecord, trial: TrialRecord, final: FinalRecord | None, *, over: bool
    ) -> None:
        """Shows a trial as its record has it.

        Args:
            study: its study's record.
            trial: its record.
            final: the front's returns on the final seeds, once they are measured.
            over: whether the driver ends: a trial that still runs was interrupted.
        """

    def project_study(self, study: StudyRecord, found: StudyReport, *, over: bool) -> None:
        """Shows the study as its records have it; the arguments are those of `project_trial`."""

    def finish(self) -> None:
        """Keeps what has to be known when the study is resumed; called after each projection."""

    def where(self) -> Where:
        """Where it is to be seen."""

    def described(self, error: Exception) -> str:
        """What one of its errors says, in one line."""


Tracker: TypeAlias = "Callable[[StudyFolder, Experiment], Tracking]"

TRACKERS: Registry[Tracker] = Registry("tracker")


def register_tracker(name: str) -> Callable[[Tracker], Tracker]:
    """Registers what makes a study's tracker, under a name for `tracking.to`.

    Raises:
        ValueError: the name is taken.
    """

    return TRACKERS.registering(name, lambda make: make)
