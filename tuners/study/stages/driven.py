"""A study as its driver holds it: what all of its stages share."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import cached_property
from typing import Any

from prune_search.experiment.schema import Experiment
from prune_search.records.folder import StudyFolder
from prune_search.records.models import BaselineRecord, FinalRecord, StudyRecord
from prune_search.records.stages import START
from prune_search.storage.mirror import MirrorError
from tuners.display.live import Progress
from tuners.study.capacity import trial_resources
from tuners.tracking.projector import Tracker, tracking_of


class DrivenStudy:
    """A study that this process drives.

    Args:
        folder: the study's.
        experiment: what it does; its modules are imported.
        progress: the display.
        began: when the command was started, by `time.monotonic()`; now if None.
    """

    def __init__(
        self,
        folder: StudyFolder,
        experiment: Experiment,
        progress: Progress,
        began: float | None = None,
    ) -> None:
        self.folder, self.experiment, self.progress = folder, experiment, progress
        self._until = time.monotonic() if began is None else began
        self.stage = START
        """That is under way."""
        self.record = folder.study() or StudyRecord(name=folder.name, started=time.time())
        """What is known of it by now; `keep` writes it."""
        self.tracker = Tracker(
            folder, experiment, tracking_of(folder, experiment), tell=progress.note
        )

    @cached_property
    def request(self) -> Any:
        """Resources of a trial, as `trial_resources` gives them."""
        return trial_resources(self.experiment)

    @property
    def baseline(self) -> BaselineRecord:
        """The dense policy, which the first stage has found or trained."""
        assert self.record.baseline is not None
        return self.record.baseline

    def know(self, **found: Any) -> None:
        """Fields of its record that a stage has found; `keep` writes them."""
        self.record = self.record.model_copy(update=found)

    def enter(self, stage: str, ago: float = 0.0) -> None:
        """The stage that is under way ends, and its wall time is known, as another begins.

        Args:
            stage: of `records.stages`, the one that begins.
            ago: for how many seconds it has been under way.
        """
        now = max(self._until, time.monotonic() - ago)
        taken, self._until = now - self._until, now
        stages = self.record.stages
        self.know(
            wall_s=self.record.wall_s + taken,
            stages=stages | {self.stage: stages.get(self.stage, 0.0) + taken},
        )
        self.stage = stage

    def keep(self) -> None:
        """Writes its record, once the disk has room for it.

        Raises:
            OSError: as `StudyFolder.write_study`.
        """
        self.folder.write_study(self.record, self.waits)

    def keep_final(self, record: FinalRecord) -> None:
        """Writes the final returns; a mirror that is away by then keeps no study from ending."""
        with suppress(MirrorError):
            self.folder.write_final(record, self.waits)

    def waits(self, found: str) -> None:
        """Tells the user what a record waits for."""
        self.progress.note(f"{found}: the study waits in {self.folder.path}")
