"""A study's tables in terminals of any width."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from prune_search.records.fronts import front
from prune_search.records.reasons import below_floor, no_longer_improves
from tests.report.shown import points_of, shown
from tests.studies import end_study, make_study, make_trial
from tuners.words import joined


@pytest.mark.parametrize("width", [80, 100, 140, 200])
def test_the_terminal_shows_everything_whole(tmp_path: Path, width: int) -> None:
    folder = make_study(tmp_path, trials=5)
    given_up = below_floor(0.3, 1)
    folder.write_trial(make_trial(6, rounds=2, reason=given_up))
    hopeless = no_longer_improves(1.0, 0.925, 0, 4)
    folder.write_trial(make_trial(7, rounds=2, state="stopped", reason=hopeless))
    folder.write_trial(make_trial(5, rounds=2, state="failed"))
    end_study(folder)
    text = shown(folder, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for trial in folder.trials():
        assert trial.name in text
    for point in front(points_of(folder)):
        assert point.name in text and f"{point.sparsity:.2%}" in text
        assert f"{point.returned.iqm * 0.97:.4g} [" in text
        assert " ".join(text.split()).count(f"{point.compression:.1f}x") > 0
    assert "failed: NaN" in " ".join(text.split())
    assert "complete" in text and "budget used" not in text
    # Nothing is broken within a word: names of plans end lines at a slash.
    words = set(re.split(r"[\s/:;,]+", text))
    assert {"magnitude", "threshold", "saliency", "uniform", "geometric", "one_shot"} <= words
    assert "given up: kept" in text and text.count("complete") == 5
    told = " ".join(text.split())
    assert "budget" not in told and "σ" not in told and "1 rounds" not in told
    assert "is the share of weights that it is to remove" in told
    if width >= 140:
        for reason in (given_up, hopeless):
            assert all(word in told for word in reason.split())
    assert "●" in text and "99%" in text


def test_eighty_columns_tell_reasons_below_the_table(tmp_path: Path) -> None:
    folder, reason = make_study(tmp_path, trials=0), below_floor(0.3, 2)
    for number in range(10):
        folder.write_trial(make_trial(number, rounds=2, reason=reason))
    text = shown(folder, 80)
    told = f"given up: {reason} (t00, t01, t02, t03, t04, t05, t06, t07 and 2 more)"
    assert told in " ".join(text.split())
    table = text.partition("\nTrials")[2].partition("given up: ")[0].splitlines()
    assert 20 < len(table) <= 23  # a plan has two lines


def test_a_plan_has_one_line_where_there_is_room(tmp_path: Path) -> None:
    folder = make_study(tmp_path, trials=3)
    front_of = {point.trial for point in front(points_of(folder))}
    text = shown(folder, 200).partition("\nFront")[2].partition("\nSizes")[0]
    for number in front_of:
        assert make_trial(number).plan.label in text


def test_legends_end_lines_between_their_parts() -> None:
    assert joined(["● front", "· other points"], "   ", 30) == "● front   · other points"
    assert joined(["a 1", "b 2", "c 3"], "; ", 9) == "a 1; b 2;\nc 3"


def test_the_terminal_takes_words_as_they_are(tmp_path: Path) -> None:
    folder = make_study(tmp_path, trials=0)
    folder.write_trial(make_trial(0, state="failed", reason="no [bold] or [/] in index [3]"))
    assert "[bold] or [/] in index [3]" in " ".join(shown(folder, 160).split())
