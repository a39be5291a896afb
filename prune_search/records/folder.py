"""What a study has measured: the records that everything else reads.

A study's folder is the one truth about it. Each record is one JSON file, replaced whole, so that
a reader or a process that is killed at any moment finds either the old one or the new one:

    <storage>/<study>/experiment.yaml
    <storage>/<study>/study.json              StudyRecord: the baseline, when it began and ended
    <storage>/<study>/optuna.db               Optuna's database: what was suggested
    <storage>/<study>/sensitivity/            SensitivityRecord: the baseline's, by strategy
    <storage>/<study>/trials/t03/trial.json   TrialRecord: plan, state, points
    <storage>/<study>/trials/t03/round-02/    the checkpoint of that point
    <storage>/<study>/final.json              FinalRecord: the front on seeds it never saw

A trial's process writes all that is below `trials/t03`, until its trial ends or is lost; the driver
writes all else, and closes the records of trials that can't. Where nodes do not see one folder they
have each other's files from a mirror, and this file alone sees to that: what is written goes there,
a checkpoint before the record that speaks of it, and what another process may have written comes
from there before it is read. A driver that goes on elsewhere begins with `bring_records`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from prune_search.errors import UserError, shown
from prune_search.records.checkpoint import ALGORITHM
from prune_search.records.layer_curves import curves_file
from prune_search.records.models import (
    FinalRecord,
    Point,
    StudyRecord,
    TrialRecord,
    trial_name,
)
from prune_search.records.places import RESERVED, SIGNS, is_name, moved, storage_path
from prune_search.records.record import Record
from prune_search.storage.full_disk import FAILS, FULL, with_room
from prune_search.storage.mirror import Mirror

R = TypeVar("R", bound=Record)

EXPERIMENT = "experiment.yaml"
"""A study's experiment file; a folder that has one is a study's."""
_TRIALS, _TRIAL = "trials", "trial.json"
_WAITING = {FULL: "waits-for-room", FAILS: "waits-for-disk"}


class StudyFolder:
    """The folder of one study: the names of its files, and the records in it.

    What was read is kept, and read again once its file has been replaced.

    Args:
        storage: the folder of the studies.
        name: the study's.
        mirror: through which nodes exchange files; without it nothing is copied.

    Raises:
        UserError: no study can have this name, or it is a link's.
    """

    def __init__(self, storage: str | Path, name: str, mirror: Mirror | None = None) -> None:
        if not is_name(name):
            raise UserError(
                "name: must be one folder name of at most 100 letters, digits, spaces and"
                f" {SIGNS}, begin with a letter, digit or _, and be none of"
                f" {', '.join(sorted(RESERVED))}, got {shown(name)}"
            )
        self.name = name
        self.path = storage_path(storage) / name
        if self.path.is_symlink():
            raise UserError(
                f"name: {name!r} in {self.path.parent} is a link, which may lead anywhere"
            )
        self.mirror = mirror or Mirror(self.path.parent, None)
        self._read: dict[Path, tuple[tuple[int, int, int], Any]] = {}

    @property
    def experiment_file(self) -> Path:
        return self.path / EXPERIMENT

    @property
    def study_file(self) -> Path:
        return self.path / "study.json"

    @property
    def final_file(self) -> Path:
        return self.path / "final.json"

    @property
    def optuna_file(self) -> Path:
        return self.path / "optuna.db"

    @property
    def snapshot_file(self) -> Path:
        """A copy of Optuna's database that is whole, for the mirror."""
        return self.path / "optuna-snapshot.db"

    @property
    def lock_file(self) -> Path:
        """Locked by the process that drives the study."""
        return self.path / "driver.lock"

    @property
    def history_file(self) -> Path:
        """FinalRecord of all points that were ever on the front, if a benchmark measured it."""
        return self.path / "history.json"

    @property
    def tune_path(self) -> Path:
        """What Tune keeps; nothing reads it."""
        return self.path / "tune"

    @property
    def optuna_url(self) -> str:
        return f"sqlite:///{self.optuna_file}"

    def tracker_file(self, tracker: str) -> Path:
        """What a tracker keeps to find what it has shown; it may be deleted."""
        return self.path / f"{tracker}.json"

    def sensitivity_file(self, granularity: str, criterion: str) -> Path:
        """The SensitivityRecord of the study's baseline."""
        return curves_file(self.path, granularity, criterion)

    def trial_path(self, number: int) -> Path:
        return self.path / _TRIALS / trial_name(number)

    def trial_file(self, number: int) -> Path:
        return self.trial_path(number) / _TRIAL

    def failure_file(self, number: int) -> Path:
        """How the trial failed the last time, and in which round."""
        return self.trial_path(number) / "failure.txt"

    def ended_file(self, number: int) -> Path:
        """Why the trial's process has ended itself, until somebody is told."""
        return self.trial_path(number) / "ended.txt"

    def checkpoint(self, number: int, round: int) -> Path:
        """The folder of what a trial's round ended with."""
        return self.trial_path(number) / f"round-{round:02d}"

    def algorithm(self, point: Point) -> Path:
        """RLlib's checkpoint of a point."""
        return self.path / point.checkpoint / ALGORITHM

    def study(self) -> StudyRecord | None:
        """Its record, with the baseline's and the control's checkpoints where they lie now."""
        record = self._here(self.study_file, StudyRecord)
        if record is None:
            return None
        storage = self.path.parent
        if record.baseline:
            record = record.model_copy(update={"baseline": moved(record.baseline, storage)})
        if record.control:
            record = record.model_copy(update={"control": moved(record.control, storage)})
        return record

    def final(self) -> FinalRecord | None:
        """The front's returns on the final seeds, once they are measured."""
        return self._here(self.final_file, FinalRecord)

    def trial(self, number: int, reported: float | None = None) -> TrialRecord | None:
        """A trial's record, brought from the mirror: its process may be on another node.

        Args:
            number: the trial's.
            reported: when the point was measured that the trial has just told of. A record that
                ends with it says all that there is, and is not brought again.

        Raises:
            UserError: it can't be read.
            OSError: the mirror does not answer.
        """
        path = self.trial_file(number)
        if reported is not None:
            known = self._here(path, TrialRecord)
            if known and known.points and known.points[-1].time == reported:
                return known
        self.mirror.pull(path)
        return self._here(path, TrialRecord)

    def trials(self) -> list[TrialRecord]:
        """All trials, by number, as far as this node has them."""
        found = (self._here(path, TrialRecord) for path in self.path.glob(f"{_TRIALS}/*/{_TRIAL}"))
        return sorted((record for record in found if record), key=lambda record: record.number)

    def points(self) -> dict[str, Point]:
        """The points of all trials by name, `t03/2`, in order."""
        return {point.name: point for trial in self.trials() for point in trial.points}

    def write_study(self, record: StudyRecord, waits: Callable[[str], None] | None = None) -> None:
        """Replaces the study's record; what follows is true of all records.

        Args:
            record: the new one.
            waits: told why, when a disk that is full or fails is waited for; None: not waited for.

        Raises:
            OSError: the disk takes nothing, or, once the record is written, the mirror doesn't.
        """
        self._write(record, self.study_file, waits)

    def write_final(self, record: FinalRecord, waits: Callable[[str], None] | None = None) -> None:
        """Replaces the final returns; see `write_study`."""
        self._write(record, self.final_file, waits)

    def write_trial(self, record: TrialRecord, waits: Callable[[str], None] | None = None) -> None:
        """Replaces a trial's record; see `write_study`."""
        self._write(record, self.trial_file(record.number), waits)

    def mark_waiting(self, number: int, trouble: str) -> None:
        """Leaves word that a trial waits for the disk: an empty file takes no room.

        Args:
            number: the trial's.
            trouble: `FULL` or `FAILS`.
        """
        with suppress(OSError):
            (self.trial_path(number) / _WAITING[trouble]).touch()

    def began_to_wait(self, number: int) -> str:
        """What a trial has begun to wait for since this was last asked; empty if it hasn't."""
        for trouble, name in _WAITING.items():
            with suppress(OSError):
                (self.trial_path(number) / name).unlink()
                return trouble
        return ""

    def write_checkpoint(
        self,
        number: int,
        round: int,
        save: Callable[[Path], None],
        waits: Callable[[str], None] | None = None,
    ) -> Path:
        """Has a round's checkpoint written, complete before it has its name; its folder.

        Args:
            number: the trial's.
            round: from 0.
            save: writes it into the folder that it is given; again after a disk was waited for.
            waits: as in `write_study`.

        Raises:
            OSError: as `write_study`.
        """
        path = self.checkpoint(number, round)
        _waiting(lambda: _whole(path, save), waits)
        self.mirror.push(path)
        return path

    def bring_checkpoint(self, point: Point) -> Path:
        """A point's checkpoint, for the trial to go on from: as the mirror has it, if it has."""
        path = self.path / point.checkpoint
        self.mirror.pull(path)
        return path

    def bring(self, algorithm: Path) -> Path:
        """A checkpoint of RLlib's in this storage, fetched from the mirror if it is not here."""
        self.mirror.fetch(algorithm.parent, algorithm.name)
        return algorithm

    def bring_records(self) -> None:
        """Brings the study's own files and its trials' records, for a driver to go on here.

        Raises:
            OSError: the mirror does not answer.
        """
        for path in self.mirror.files(self.path):
            self.mirror.pull(path)
        for trial in self.mirror.folders(self.path / _TRIALS):
            self.mirror.pull(trial / _TRIAL)

    def _write(
        self, record: Record, path: Path, waits: Callable[[str], None] | None = None
    ) -> None:
        _waiting(lambda: record.write(path), waits)
        self.mirror.push(path)

    def _here(self, path: Path, kind: type[R]) -> R | None:
        """A record as this node has it."""
        try:
            stat = path.stat()
        except OSError:  # which reading it puts into words
            return kind.read(path)
        version = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        known = self._read.get(path)
        if known is not None and known[0] == version:
            found: R = known[1]
            return found
        record = kind.read(path)  # no older than the version that it is kept as
        if record is not None:
            self._read[path] = (version, record)
        return record


def _waiting(write: Callable[[], None], waits: Callable[[str], None] | None) -> None:
    if waits is None:
        write()
    else:
        with_room(write, waits)


def _whole(path: Path, save: Callable[[Path], None]) -> None:
    partial = path.with_name(f".{path.name}")
    for old in (partial, path):  # what a killed round left
        shutil.rmtree(old, ignore_errors=True)
    try:
        save(partial)
        partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
