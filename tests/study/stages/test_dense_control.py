"""The dense control beside a search."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from prune_search.records.folder import StudyFolder
from tuners.display.live import Progress
from tuners.study.stages.dense_control import Control
from tuners.study.stages.driven import DrivenStudy


def free() -> float:
    import ray

    return float(ray.available_resources().get("CPU", 0))


@pytest.mark.slow
def test_what_it_was_given_is_free_once_it_has_ended(
    tiny: Any, baseline: Any, shared_storage: Path
) -> None:
    """A trial takes its place, before anyone asks for the control's result."""
    import ray

    experiment = tiny("baseline.control=true", "pruning.env_steps=1024", storage=shared_storage)
    before, folder = free(), StudyFolder(shared_storage, "controlled")
    progress = Progress(experiment, folder.name, [], Console(quiet=True))
    study = DrivenStudy(folder, experiment, progress)
    study.know(baseline=baseline)
    control = Control(study)
    control.start()
    held = []
    end = time.monotonic() + 300
    while not ray.wait([control._task], timeout=0.5)[0] and time.monotonic() < end:
        held.append(free())
    assert min(held) < before
    while free() < before and time.monotonic() < end:
        time.sleep(0.5)
    assert free() == before
    found = control.result()
    assert found is not None and found.env_steps >= 1024
    assert study.record.control_s == found.train_s > 0
    again = Control(study)  # what is there is not trained, and costs this study nothing more
    assert again.result() == found and study.record.control_s == found.train_s
