"""What a driver holds of its study."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from prune_search.records.folder import StudyFolder
from prune_search.records.models import FinalRecord
from prune_search.storage.mirror import Mirror, MirrorError
from tests.studies import BASELINE, make_experiment
from tuners.display.live import Progress
from tuners.study.stages.driven import DrivenStudy


def test_a_mirror_that_is_away_keeps_no_study_from_ending(tmp_path: Path) -> None:
    experiment, storage = make_experiment(), tmp_path / "here"
    (tmp_path / "store").write_text("not a folder")
    folder = StudyFolder(storage, "study", Mirror(storage, (tmp_path / "store").as_uri()))
    folder.path.mkdir(parents=True)
    progress = Progress(experiment, "study", [], Console(quiet=True))
    study = DrivenStudy(folder, experiment, progress)
    with pytest.raises(MirrorError):  # before trials begin, it does
        study.keep()
    study.keep_final(FinalRecord(baseline=BASELINE.returned, random=BASELINE.random, points={}))
    assert folder.final() is not None and folder.study() is not None
