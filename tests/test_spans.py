"""What the driver's parts take is told to whoever listens, and to nobody afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prune_search.records.folder import StudyFolder
from tuners.search.searcher import StudySearch
from tuners.spans import FOLLOW, SUGGEST, TELL, Span, listening, span


def test_the_searchs_parts_are_told_while_someone_listens(tiny: Any, tmp_path: Path) -> None:
    folder, heard = StudyFolder(tmp_path, "study"), list[Span]()
    folder.path.mkdir()
    search = StudySearch(tiny(), folder)
    with listening(heard.append):
        search.suggest("a")
        search.on_trial_complete("a", error=True)
    search.suggest("b")
    assert [found.part for found in heard] == [SUGGEST, TELL]
    assert all(found.wall_s > 0 and found.cpu_s > 0 for found in heard)


def test_what_fails_has_taken_its_time_too() -> None:
    @span(FOLLOW)
    def fails() -> None:
        raise ValueError("broken")

    heard: list[Span] = []
    with listening(heard.append), pytest.raises(ValueError, match="broken"):
        fails()
    assert [found.part for found in heard] == [FOLLOW]
