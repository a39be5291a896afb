"""A study's baseline, found where an earlier study has left it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prune_search.records.folder import StudyFolder
from prune_search.records.fronts import noise
from prune_search.trial.baselines.baseline import baseline_folder
from tests.study.driving import driven
from tuners.study.stages.baseline import find_baseline


def test_one_from_the_cache_that_chance_could_have_brought_about_is_told_of_once(
    tiny: Any, baseline: Any, tmp_path: Path
) -> None:
    experiment = tiny("pruning.criterion=magnitude", storage=tmp_path)
    wide = baseline.returned.model_copy(update={"low": baseline.random.low})
    record = baseline.model_copy(update={"returned": wide})
    kept = baseline_folder(tmp_path, experiment)
    kept.path.mkdir(parents=True)
    kept.write(record)
    study, notes = driven(StudyFolder(tmp_path, "study"), experiment), []
    study.progress.note = notes.append  # type: ignore[method-assign]
    for _ in range(2):  # and again where it is resumed
        find_baseline(study)
    assert notes == noise(record) != []
