"""Time left: within a factor of two from the middle of the study on, simulated and recorded."""

from __future__ import annotations

import heapq
import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest

from tuners.report.time_left import TimeLeft, about

SLACK_S = 12.0
"""Below this, factors say little: `a few seconds`."""


class Event(NamedTuple):
    """Something that the driver sees, s after the search has begun."""

    at: float
    kind: str  # started, reported, ended
    trial: int
    env_steps: int = 0
    evaluated_s: float = 0.0


@dataclass
class Pace:
    """What a study looked like to its driver."""

    name: str
    trials: int
    places: int
    budget: int
    """Env steps of a trial."""
    ended: float
    """Seconds from the search's begin to the study's end, the final evaluation included."""
    checkpoints: int
    """That the final evaluation measures."""
    ratio: float
    """Its episodes over those of an evaluation in the search."""
    env_step_s: float | None
    """The baseline's."""
    events: list[Event] = field(default_factory=list)
    control: tuple[float, float, int] | None = None
    """When the dense control began and ended, and its env steps; None where there is none."""


def estimates(pace: Pace) -> Iterator[tuple[float, float]]:
    """Times during the search, after each event and between, and what was said to be left then."""
    left = TimeLeft(pace.trials, pace.budget, 0.0, pace.places, pace.env_step_s)
    ended = math.inf
    if pace.control is not None:
        began, ended, env_steps = pace.control
        left.control(env_steps, began)
    ends = [*(event.at for event in pace.events[1:]), pace.events[-1].at]
    for event, end in zip(pace.events, ends, strict=True):
        if event.at >= ended:
            left.control_ended(ended)
            ended = math.inf
        if event.kind == "started":
            left.started(event.trial, event.env_steps, pace.budget, event.at)
        elif event.kind == "reported":
            left.reported(event.trial, event.env_steps, pace.budget, event.evaluated_s, event.at)
        else:
            left.ended(event.trial, event.at)
        for now in (event.at, (event.at + end) / 2):
            search = left.search(now)
            if search is not None:
                final = left.evaluation(pace.checkpoints, pace.ratio, pace.places)
                yield now, search + final


def off(pace: Pace) -> list[tuple[float, float, float]]:
    """Times from the middle on at which the estimate was off by more than two, with both."""
    return [
        (now, said, pace.ended - now)
        for now, said in estimates(pace)
        if now > pace.ended / 2
        and not (pace.ended - now) / 2 - SLACK_S <= said <= (pace.ended - now) * 2 + SLACK_S
    ]


def simulated(
    seed: int, places: int, trials: int, stopped: float, slower: float, start_s: float
) -> Pace:
    """A study on a machine whose pace changes in its middle.

    Args:
        seed: of everything.
        places: trials at a time.
        trials: in all.
        stopped: share of trials that are stopped early, after the first few.
        slower: factor of a round's time in the second half of the trials.
        start_s: until a place's first trial trains.
    """
    pick, rounds, budget, round_s = random.Random(seed), 8, 40_000, 10.0
    free = [(pick.uniform(0.5, 1) * start_s, place) for place in range(places)]
    heapq.heapify(free)
    events = []
    for number in range(trials):
        now, place = heapq.heappop(free)
        events.append(Event(now, "started", number))
        stops = number > places and pick.random() < stopped
        last = pick.randint(1, rounds - 1) if stops else rounds
        for done in range(1, last + 1):
            now += pick.uniform(0.7, 1.4) * round_s * (slower if number > trials / 2 else 1.0)
            events.append(Event(now, "reported", number, done * budget // rounds, 0.6))
        events.append(Event(now, "ended", number))
        heapq.heappush(free, (now + 0.5, place))
    # Processes start as slowly as at the beginning; MLflow's last pictures and the tables follow.
    end = max(event.at for event in events) + 0.75 * start_s + 9 * 1.5 + 0.4 * start_s
    return Pace(
        "simulated", trials, places, budget, end, 9, 5.0, None, sorted(events, key=lambda e: e.at)
    )


@pytest.mark.parametrize("places", [1, 2, 8])
@pytest.mark.parametrize(("stopped", "most"), [(0.0, 0.0), (0.3, 0.02), (0.7, 0.1)])
def test_simulated_studies(places: int, stopped: float, most: float) -> None:
    """Whether the very last trials will be stopped can't be known: some moments may be off then."""
    paces = [
        simulated(seed, places, 24, stopped, slower, start_s=30.0)
        for slower in (0.6, 1.0, 1.6)
        for seed in range(4)
    ]
    moments = [sum(now > pace.ended / 2 for now, _ in estimates(pace)) for pace in paces]
    assert sum(len(off(pace)) for pace in paces) <= most * sum(moments)


@pytest.mark.parametrize(
    "pace", json.loads(Path(__file__).with_name("paces.json").read_text()), ids=lambda p: p["name"]
)
def test_recorded_studies(pace: dict[str, object]) -> None:
    events = [Event(*event) for event in pace.pop("events")]  # type: ignore[attr-defined]
    assert not off(Pace(**pace, events=events))  # type: ignore[arg-type]


def test_it_is_never_nothing_while_something_runs() -> None:
    left = TimeLeft(1, 1_000, 0.0)
    assert left.search(5.0) is None  # nothing is known
    left.started(0, 0, 1_000, 0.0)
    left.reported(0, 500, 1_000, 0.1, 10.0)
    assert left.search(10.0) == pytest.approx(10.0)
    assert left.search(15.0) == pytest.approx(5.0)
    waited = [left.search(now) or 0.0 for now in (25.0, 60.0, 600.0)]
    assert waited == sorted(waited) and waited[-1] > 60  # silent for minutes: not over in a second
    left.ended(0, 700.0)
    assert left.search(701.0) == 0


def test_what_a_process_takes_to_start_is_no_pace() -> None:
    """On a busy machine the first round comes after minutes of importing and building."""
    left = TimeLeft(3, 1_000, 0.0)
    left.started(0, 0, 1_000, 40.0)
    left.reported(0, 250, 1_000, 0.1, 130.0)
    left.reported(0, 500, 1_000, 0.1, 140.0)
    assert left.search(140.0) == pytest.approx(2_500 * 10 / 250, rel=0.1)


def test_a_machine_that_has_become_faster_starts_processes_faster() -> None:
    left = TimeLeft(3, 1_000, 0.0)
    left.started(0, 0, 1_000, 60.0)
    for done, at in [(100, 100.0), (200, 110.0), (300, 120.0)]:
        left.reported(0, done, 1_000, 0.1, at)
    assert left.start(0.0) == pytest.approx(60.0)
    for done in range(12):
        left.reported(0, 400 + 50 * done, 1_000, 0.1, 120.5 + 0.5 * done)
    assert left.start(0.0) == pytest.approx(8.0)  # as long as on a machine at rest


def test_the_baselines_pace_stands_in_until_a_trial_has_reported() -> None:
    left = TimeLeft(4, 1_000, 0.0, places=2, env_step_s=0.01)
    assert left.search(0.0) == pytest.approx(20.0)
    assert left.search(0.0, env_steps=500) == pytest.approx(2.5)
    left.control(1_500)
    assert left.search(0.0) == pytest.approx(35.0)  # after the search
    left.control(1_500, begun=0.0)
    assert left.search(1.0) == pytest.approx(30.0)  # in one of their places
    left.control_ended(1.0)
    left.earlier(1_000, 1_000)
    left.earlier(1_000, 1_000)
    assert left.search(0.0) == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "a few seconds"),
        (42.0, "40 s"),
        (100.0, "100 s"),
        (185.0, "3 min"),
        (3_700.0, "62 min"),
        (7_900.0, "2 h 10 min"),
        (90_000.0, "25 h"),
    ],
)
def test_estimates_look_like_estimates(seconds: float, words: str) -> None:
    assert about(seconds) == words
