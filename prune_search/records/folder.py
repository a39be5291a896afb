"""What a study has measured: the records that everything else reads.

A study's folder is the one truth about it. Each record is one JSON file, replaced whole, so that
a reader or a process that is killed at any moment finds either the old one or the new one:

    <storage>/<study>/experiment.yaml
    <storage>/<study>/study.json              StudyRecord: the baseline, when it began and ended
    <storage>/<study>/trials/t03/trial.json   TrialRecord: plan, state, points
    <storage>/<study>/trials/t03/round-02/    the checkpoint of that point
    <storage>/<study>/final.json              FinalRecord: the front on seeds it never saw
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from prune_search.errors import UserError, one_line, shown
from prune_search.records.models import (
    BaselineRecord,
    ControlRecord,
    FinalRecord,
    Point,
    StudyRecord,
    TrialRecord,
    trial_name,
)

BASELINES = "baselines"  # the folder of all of them in the storage
ALGORITHM, MASKS = "algorithm", "masks.pt"
"""What a checkpoint's folder holds: RLlib's own checkpoint, and the masks beside it."""
BASELINE_FILE = "baseline.json"  # in the baseline's folder, written last

_Dense = TypeVar("_Dense", BaselineRecord, ControlRecord)


def is_name(name: str) -> bool:
    """Whether a study can have this name, which is that of a folder in the storage."""
    return (
        0 < len(name) <= 100
        and len(name.encode(errors="replace")) <= 250
        and (name[0].isalnum() or name[0] == "_")
        and all(c.isalnum() or c in f" {_SIGNS}" for c in name)
        and name == name.strip()
        and name not in _RESERVED
    )


def storage_path(storage: str | Path) -> Path:
    """The storage folder, absolute.

    Raises:
        UserError: it is in the home of a user whom this machine doesn't know, or is no path.
    """
    try:
        return Path(storage).expanduser().resolve()
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError(f"storage: {str(storage)!r} is not a folder: {one_line(error)}") from None


def moved(record: _Dense, storage: Path) -> _Dense:
    """The record with its checkpoint's path in this storage: a storage may be moved or copied."""
    parts = Path(record.checkpoint).parts
    if BASELINES not in parts:
        return record
    last = len(parts) - 1 - parts[::-1].index(BASELINES)
    here = storage.joinpath(*parts[last:])
    if not here.exists() and Path(record.checkpoint).exists():
        return record
    return record.model_copy(update={"checkpoint": str(here)})


class StudyFolder:
    """The folder of one study: paths, and the records in it."""

    def __init__(self, storage: str | Path, name: str) -> None:
        if not is_name(name):
            raise UserError(
                "name: must be one folder name of at most 100 letters, digits, spaces and"
                f" {_SIGNS}, begin with a letter, digit or _, and be none of"
                f" {', '.join(sorted(_RESERVED))}, got {shown(name)}"
            )
        self.name = name
        self.path = storage_path(storage) / name
        if self.path.is_symlink():
            raise UserError(
                f"name: {name!r} in {self.path.parent} is a link, which may lead anywhere"
            )
        self._read: dict[Path, tuple[tuple[int, int, int], TrialRecord]] = {}

    @property
    def experiment_file(self) -> Path:
        return self.path / "experiment.yaml"

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
    def lock_file(self) -> Path:
        """Locked by the process that drives the study."""
        return self.path / "driver.lock"

    @property
    def optuna_url(self) -> str:
        return f"sqlite:///{self.optuna_file}"

    def algorithm(self, point: Point) -> Path:
        """RLlib's checkpoint of a point."""
        return self.path / point.checkpoint / ALGORITHM

    def trial_path(self, number: int) -> Path:
        return self.path / "trials" / trial_name(number)

    def trial_file(self, number: int) -> Path:
        return self.trial_path(number) / "trial.json"

    def study(self) -> StudyRecord | None:
        """Its record, with the baseline's and the control's checkpoints where they lie now."""
        record = StudyRecord.read(self.study_file)
        if record is None:
            return None
        storage = self.path.parent
        if record.baseline:
            record = record.model_copy(update={"baseline": moved(record.baseline, storage)})
        if record.control:
            record = record.model_copy(update={"control": moved(record.control, storage)})
        return record

    def write_study(self, record: StudyRecord) -> None:
        record.write(self.study_file)

    def trial(self, number: int) -> TrialRecord | None:
        return TrialRecord.read(self.trial_file(number))

    def write_trial(self, record: TrialRecord) -> None:
        record.write(self.trial_file(record.number))

    def trials(self) -> list[TrialRecord]:
        """All trials, by number. What was read before is read again where it has been replaced."""
        found = (self._known(path) for path in self.path.glob("trials/*/trial.json"))
        return sorted((record for record in found if record), key=lambda record: record.number)

    def _known(self, path: Path) -> TrialRecord | None:
        try:
            stat = path.stat()
        except OSError:  # which reading it puts into words
            return TrialRecord.read(path)
        version = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        known = self._read.get(path)
        if known is not None and known[0] == version:
            return known[1]
        record = TrialRecord.read(path)  # no older than the version that it is kept as
        if record is not None:
            self._read[path] = (version, record)
        return record

    def final(self) -> FinalRecord | None:
        return FinalRecord.read(self.final_file)

    def write_final(self, record: FinalRecord) -> None:
        record.write(self.final_file)


_SIGNS = "_-.,+=@'"
_RESERVED = frozenset({BASELINES, "mlartifacts", "mlflow.db"})
