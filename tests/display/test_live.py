"""The display: on a terminal, elsewhere, and quiet."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from prune_search.records.fronts import front
from prune_search.records.models import Point
from prune_search.trial.baselines.baseline import BaselineProgress
from tests.recording import Screen, record, seconds
from tests.report.test_time_left import SLACK_S
from tests.studies import BASELINE, make_experiment, make_point, make_study, make_trial
from tuners.display import live
from tuners.display.live import Progress


def shown(terminal: bool, quiet: bool = False) -> str:
    """All that is drawn while three trials run, of which one fails."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=120, color_system=None)
    with Progress(make_experiment(), "mine", [], console, quiet) as progress:
        progress.begin_baseline()
        progress.baseline_step(BaselineProgress(30_000, 312.5, False, 100_000))
        progress.begin_search(BASELINE)
        for number in range(3):
            progress.trial_started(number)
        progress.trial_changed(make_trial(0))
        progress.trial_changed(make_trial(1, rounds=2, state="running"))
        progress.note("t02 failed: RuntimeError: the gearbox broke")
        progress.trial_changed(make_trial(2, rounds=0, state="failed"))
        console.print(progress._view())
        progress.begin_final()
    return stream.getvalue()


def test_on_a_terminal_it_shows_what_runs_what_is_best_and_what_is_left() -> None:
    text = shown(terminal=True)
    assert "mine" in text and "searching" in text
    assert "2 of 12 trials ended (1 failed), 1 running" in text
    assert " left" in text and "? left" not in text
    assert "weights pruned ≥" in text and "best return" in text
    assert "t01 weight" in text and ": round " in text
    assert "t02 failed: RuntimeError: the gearbox broke" in text


@pytest.mark.parametrize("width", [80, 200])
def test_no_line_is_longer_than_the_terminal(width: int) -> None:
    """What a terminal's screen holds after all of the redrawing."""
    stream, screen = io.StringIO(), Screen()
    console = Console(file=stream, force_terminal=True, width=width)
    with Progress(make_experiment(), "mine", [], console) as progress:
        progress.begin_search(BASELINE)
        for number in range(3):
            progress.trial_started(number)
            progress.trial_changed(make_trial(number, state="running"))
            progress.note(f"t0{number} failed: the gearbox broke, " + "and so on " * 20)
            progress._live.refresh() if progress._live else None
        progress.begin_final()
    screen.feed(stream.getvalue())
    text = str(screen)
    assert max(map(len, text.splitlines())) <= width
    assert text.count("best return") == 1 and text.count("the gearbox broke") == 3


def test_nothing_empty_is_shown_before_the_first_point_and_80_columns_hold_the_rest() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80, color_system=None)
    progress = Progress(make_experiment(), "mine", [], console)
    progress.begin_search(BASELINE)
    progress.trial_started(0)
    console.print(progress._view())
    assert "best return" not in stream.getvalue()
    for number in range(3):
        progress.trial_started(number)
        progress.trial_changed(make_trial(number, state="running"))
    console.print(progress._view())
    text = stream.getvalue()
    assert "best return" in text and "…" not in text
    assert max(map(len, text.splitlines()[-8:])) <= 80


def test_lines_that_a_terminal_breaks_are_set_in() -> None:
    stream, screen = io.StringIO(), Screen()
    console = Console(file=stream, force_terminal=True, width=60, color_system=None)
    with Progress(make_experiment(), "mine", [], console) as progress:
        progress.begin_search(BASELINE)
        progress.trial_started(0)
        progress.trial_changed(make_trial(0, rounds=2, state="running"))
    screen.feed(stream.getvalue())
    lines = str(screen).splitlines()
    assert lines[0].startswith("[0:00] baseline: return 500.0 [")
    assert lines[1].startswith(" " * 7) and "parameters" in lines[1]
    assert lines[-2].startswith("  t00 weight/") and lines[-1].startswith(" " * 6)
    assert max(map(len, lines)) <= 60


def test_one_time_is_left_at_a_time_and_none_when_all_is_over() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=120, color_system=None)
    progress = Progress(make_experiment(), "mine", [], console)
    with progress:
        progress.begin_search(BASELINE)
        progress.trial_changed(make_trial(0))
        progress.begin_final()
        for told in (None, "1 of 3 measured", "3 of 3 measured"):
            if told:
                progress.final_measured(int(told[0]), 3)
            stream.truncate(0)
            console.print(progress._view())
            assert len(re.findall(r"about [\w ]+ left", stream.getvalue())) == 1
            assert (told or "evaluating") in stream.getvalue()
    progress.close("MLflow")
    stream.truncate(0)
    console.print(progress._view())
    assert "bringing MLflow up to date" in stream.getvalue()
    assert "left" not in stream.getvalue() and "measured" not in stream.getvalue()


def test_a_slow_start_of_the_final_evaluation_is_no_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine its processes start for a minute or two, and then measure in seconds."""
    now, stream = [0.0], io.StringIO()
    clock = SimpleNamespace(monotonic=lambda: now[0])
    for module in ("live", "remaining"):
        monkeypatch.setattr(f"tuners.display.{module}.time", clock)
    progress = Progress(make_experiment(), "mine", [], Console(file=stream, width=200))
    progress.begin_search(BASELINE)
    trial = make_trial(0)
    slow = trial.points[-1].model_copy(update={"eval_s": 4.0})  # twice 20 episodes, of 100 later
    progress.trial_started(0)
    progress.trial_changed(trial.model_copy(update={"points": [*trial.points[:-1], slow]}))
    progress.begin_final()
    for done in range(1, 8):
        now[0] = 90.0 + 11 * done
        progress.final_measured(done, 8)
        (said,) = re.findall(r"about ([\w ]+) left", stream.getvalue().splitlines()[-1])
        assert 0.5 <= (seconds(said) + SLACK_S) / (11 * (8 - done) + SLACK_S) <= 2, (done, said)


@pytest.mark.slow
def test_something_is_seen_before_a_study_has_been_read(tmp_path: Path) -> None:
    """What `show` and `list` import takes seconds."""
    make_study(tmp_path)
    tool = [sys.executable, "-m", "tuners.cli"]
    for command, word in (("show cartpole", "study"), ("list", "studies")):
        frames = record([*tool, *command.split(), "--storage", str(tmp_path)], 80, tmp_path)
        assert frames[1].text.endswith(f" reading the {word}")
        assert "cartpole" in frames[-1].text and "reading" not in frames[-1].text


RECORDING = Path(__file__).parents[2] / "docs" / "terminal.md"


def test_the_recording_fits_its_terminals() -> None:
    """Addresses, and commands that are to be pasted, may be longer."""
    sections = re.findall(r"(\d+) columns\n\n```text\n(.*?)```", RECORDING.read_text(), re.DOTALL)
    assert {columns for columns, _ in sections} == {"80", "200"}
    for columns, text in sections:
        lines = [line for line in text.splitlines() if "://" not in line]
        assert len(lines) > 5 and max(map(len, lines)) <= int(columns)


def test_elsewhere_it_prints_lines() -> None:
    lines = shown(terminal=False).splitlines()
    assert all(line.startswith("[0:0") for line in lines[:7])
    assert "baseline: 30k of at most 100k env steps, training return 312.5" in lines[2]
    last = make_trial(0).points[-1].name
    assert any(last in line and "retention" in line for line in lines)
    assert "evaluating the front" in lines[-1]


def test_quiet_prints_nothing_of_its_own() -> None:
    text = shown(terminal=False, quiet=True)
    assert "baseline" not in text and "failed:" not in text


def test_counts_begin_at_zero() -> None:
    stream = io.StringIO()
    with Progress(make_experiment(), "mine", [], Console(file=stream, width=200)) as progress:
        progress.begin_search(BASELINE)
        progress.trial_changed(make_trial(0, rounds=1, state="running"))
    assert "0 of 12 trials ended, 0 running, 1 round," in stream.getvalue()
    progress.planned(1)
    assert "0 of 1 trial ended, 0 running" in progress._counts()


def test_the_front_that_is_kept_up_with_is_that_of_all_points(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It says how long the final evaluation takes; also of a trial that goes back to a round."""
    seen: list[int] = []

    def counting(points: Iterable[Point]) -> list[Point]:
        pool = list(points)
        seen.append(len(pool))
        return front(pool)

    monkeypatch.setattr(live, "front", counting)
    progress = Progress(make_experiment(), "made", [make_trial(0)], Console(file=io.StringIO()))
    latest = {0: make_trial(0)}
    for number in range(1, 40):
        rounds = [1, 2, 3, 2, 3, 4, 5, 6] if number == 7 else range(1, 7)
        for known in rounds:
            latest[number] = make_trial(number, rounds=known, state="running")
            if number == 7 and known == 2:  # the second time, its points are others
                points = [make_point(7, at, 0.5, 10.0 * at) for at in (1, 2)]
                latest[number] = latest[number].model_copy(update={"points": points})
            progress.trial_changed(latest[number])
            of_all = front(point for trial in latest.values() for point in trial.points)
            assert progress._front == of_all
    # Where it went back there were eight trials; else only what is new was looked at.
    assert sum(size > 40 for size in seen) <= 4 and max(seen) < 60
