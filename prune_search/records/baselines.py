"""The dense policies of a storage: baselines, one folder each for all studies, and their controls.

<storage>/baselines/<key>/baseline.json          BaselineRecord, written last
<storage>/baselines/<key>/algorithm/             its checkpoint; beside it moments of its training
<storage>/baselines/<key>/partial/               while it is trained: how far that is
<storage>/baselines/<key>/sensitivity/           SensitivityRecord of scans of no study
<storage>/baselines/<key>/control-.../           a study of one trial, which prunes nothing
<storage>/baselines/<key>/control-.../control.json   ControlRecord, written last
"""

from __future__ import annotations

import shutil
from pathlib import Path

from prune_search.records.folder import StudyFolder
from prune_search.records.layer_curves import curves_file
from prune_search.records.models import BaselineRecord, ControlRecord
from prune_search.records.places import BASELINES, moved
from prune_search.storage.mirror import Mirror

_BASELINE, _CONTROL = "baseline.json", "control.json"


class BaselineFolder:
    """One baseline's folder; other nodes have it from the mirror once its record is there.

    Args:
        path: the folder.
        mirror: of the storage that it is in.
    """

    def __init__(self, path: Path, mirror: Mirror) -> None:
        self.path, self._mirror = path, mirror

    @classmethod
    def of(cls, record: BaselineRecord, mirror: Mirror) -> BaselineFolder:
        """The folder that a record's checkpoint lies in."""
        return cls(Path(record.checkpoint).parent, mirror)

    @classmethod
    def keyed(cls, storage: Path, key: str, mirror: Mirror) -> BaselineFolder:
        """The folder of the baseline that has this key."""
        return cls(storage / BASELINES / key, mirror)

    @property
    def partial(self) -> Path:
        """What its training needs to go on, until it has ended."""
        return self.path / "partial"

    def sensitivity_file(self, granularity: str, criterion: str) -> Path:
        """The SensitivityRecord of a scan that belongs to no study."""
        return curves_file(self.path, granularity, criterion)

    def record(self) -> BaselineRecord | None:
        """The baseline, brought from the mirror if need be; None until it is trained."""
        self.bring()
        record = BaselineRecord.read(self.path / _BASELINE)
        return moved(record, self._mirror.storage) if record else None

    def write(self, record: BaselineRecord) -> None:
        """Keeps the record, last of all that the folder holds, in place of the partial training."""
        record.write(self.path / _BASELINE)
        shutil.rmtree(self.partial, ignore_errors=True)
        self._mirror.push(self.path)

    def bring(self) -> None:
        """Has the folder here, if the mirror has it."""
        self._mirror.fetch(self.path, _BASELINE)

    def offer(self) -> None:
        """Has it in the mirror, where it was trained before there was one."""
        self._mirror.offer(self.path, _BASELINE)

    def control(self, name: str) -> ControlFolder:
        """The folder of a control, which begins from this baseline."""
        return ControlFolder(self.path, name, self._mirror)


class ControlFolder(StudyFolder):
    """A dense control's folder: a study of one trial."""

    def record(self) -> ControlRecord | None:
        """The control, brought from the mirror if need be; None until it is trained."""
        self.mirror.fetch(self.path, _CONTROL)
        record = ControlRecord.read(self.path / _CONTROL)
        return moved(record, self.mirror.storage) if record else None

    def write(self, record: ControlRecord) -> None:
        """Keeps the record; its trial has pushed the checkpoints."""
        record.write(self.path / _CONTROL)
        self.mirror.push(self.path / _CONTROL)
