"""What a person sees while a study runs: what is going on, what is best, how long is left."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from prune_search.experiment import Experiment
from prune_search.pareto import best_returns, front
from prune_search.record import BaselineRecord, Point, TrialRecord, trial_name
from prune_search.searchable import highest


class _Notes(logging.Handler):
    """Shows what the package logs while a study runs, each line once."""

    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._note, self._shown = note, set[str]()

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if line not in self._shown:
            self._shown.add(line)
            self._note(line)


class Progress:
    """A display that redraws itself on a terminal, and prints lines elsewhere.

    Args:
        experiment: what runs.
        name: the study's name.
        known: trials that an earlier driver has run.
        console: where to draw.
        quiet: draw nothing.
    """

    def __init__(
        self,
        experiment: Experiment,
        name: str,
        known: Iterable[TrialRecord],
        console: Console,
        quiet: bool = False,
    ) -> None:
        self._experiment, self._name, self._console, self._quiet = experiment, name, console, quiet
        self._trials: dict[int, TrialRecord] = {}
        self._sums: Counter[str] = Counter()  # over all trials, of which there may be thousands
        for trial in known:
            self._take(trial)
        self._steps_before = self._sums["env steps"]
        self._running: set[int] = set()
        self._began = self._search_began = time.monotonic()
        self._stage, self._detail = "starting Ray", ""
        self._baseline: BaselineRecord | None = None
        self._printed_at = 0.0
        self._live: Live | None = None
        self._notes = _Notes(self.note)

    def __enter__(self) -> Progress:
        logging.getLogger("prune_search").addHandler(self._notes)
        if self._console.is_terminal and not self._quiet:
            self._live = Live(
                console=self._console, get_renderable=self._view, refresh_per_second=2
            )
            self._live.start()
        else:
            self._line(f"study {self._name}: starting Ray")
        return self

    def __exit__(self, *_: Any) -> None:
        self.end()

    def end(self) -> None:
        """Leaves the display as it stands."""
        logging.getLogger("prune_search").removeHandler(self._notes)
        if self._live is not None:
            self._live.stop()
            self._live = None

    def begin_baseline(self, key: str) -> None:
        self._enter(f"training the baseline {key}")

    def baseline_step(self, state: Any) -> None:
        """A training iteration of the baseline has ended."""
        aim = state.budget
        value = state.training_return
        self._detail = f"{_thousands(state.env_steps)} of at most {_thousands(aim)} env steps" + (
            f", training return {value:.1f}" if value is not None and math.isfinite(value) else ""
        )
        if self._live is None and time.monotonic() - self._printed_at > 10:
            self._printed_at = time.monotonic()
            self._line(f"baseline: {self._detail}")

    def begin_search(self, baseline: BaselineRecord) -> None:
        self._baseline, self._search_began = baseline, time.monotonic()
        returned = baseline.returned
        self._enter("searching")
        self._line(
            f"baseline: return {returned.value:.1f} [{returned.low:.1f}, {returned.high:.1f}],"
            f" random actions {baseline.random.value:.1f}, {baseline.parameters:,} parameters"
        )

    def begin_final(self) -> None:
        points = len(front(self._points()))
        episodes = self._experiment.evaluation.final_episodes
        self._enter(f"evaluating the front's {points} points on {episodes} new episodes each")

    def trial_started(self, number: int) -> None:
        self._running.add(number)

    def trial_changed(self, record: TrialRecord) -> None:
        """A trial has a new point, or has ended."""
        before = self._take(record)
        if record.state != "running":
            self._running.discard(record.number)
        if (
            self._live is None
            and record.points
            and (before is None or len(before.points) != len(record.points))
        ):
            point = record.points[-1]
            self._line(
                f"{point.name} {record.plan.label}: sparsity {point.sparsity:.1%}, return"
                f" {point.returned.value:.1f} (retention {point.retention:.2f}) | {self._counts()}"
            )

    def note(self, text: str) -> None:
        """One line that stays, such as a trial's failure."""
        self._line(text)

    def _enter(self, stage: str) -> None:
        self._stage, self._detail = stage, ""
        if self._live is None:
            self._line(stage)

    def _line(self, text: str) -> None:
        if not self._quiet:
            stamp = clock(time.monotonic() - self._began)
            # A file's lines stay whole; a terminal's end at words.
            whole = not self._console.is_terminal
            self._console.print(f"\\[{stamp}] {text}", highlight=False, soft_wrap=whole)

    def _take(self, record: TrialRecord) -> TrialRecord | None:
        """Takes over a trial's record, and gives the one before it."""
        before = self._trials.get(record.number)
        self._trials[record.number] = record
        if before is not None:
            self._sums.subtract(_counted(before))
        self._sums.update(_counted(record))
        return before

    def _points(self) -> list[Point]:
        return [point for trial in self._trials.values() for point in trial.points]

    def _counts(self) -> str:
        sums = self._sums
        return (
            f"{sums['ended']} of {self._experiment.search.trials} trials ended"
            + (f" ({sums['failed']} failed)" if sums["failed"] else "")
            + f", {len(self._running)} running, {sums['rounds']} rounds,"
            f" {_thousands(sums['env steps'])} env steps, {self._left()} left"
        )

    def _left(self) -> str:
        """Time left: env steps to come at the rate so far, or what the time budget leaves."""
        search, elapsed = self._experiment.search, time.monotonic() - self._search_began
        sums = self._sums
        done = sums["env steps"] - self._steps_before
        estimates = []
        if done > 0:
            mean = float(highest(self._experiment.pruning.env_steps))
            open_steps = (search.trials - sums["ended"]) * mean - sums["open env steps"]
            if search.env_steps is not None:
                open_steps = min(open_steps, search.env_steps - sums["env steps"])
            estimates.append(max(0.0, open_steps) * elapsed / done)
        if search.time_s is not None:
            estimates.append(max(0.0, search.time_s - elapsed))
        return clock(min(estimates)) if estimates else "?"

    def _view(self) -> RenderableType:
        head = Text(f"{self._name}  ", style="bold")
        head.append(f"{clock(time.monotonic() - self._began)}  {self._stage}", style="cyan")
        parts: list[RenderableType] = [head]
        if self._detail:
            parts.append(Text(self._detail))
        if self._baseline is not None:
            parts.append(Text(self._counts()))
            if self._sums["rounds"]:
                parts.append(self._best())
            parts += [
                Text(f"  {trial_name(number)} {self._running_line(number)}", style="dim")
                for number in sorted(self._running)
            ]
        return Group(*parts)

    def _running_line(self, number: int) -> str:
        record = self._trials.get(number)
        if record is None or not record.points:
            return "first round"
        point = record.points[-1]
        return (
            f"{record.plan.label}: round {min(point.round + 1, record.plan.rounds)} of"
            f" {record.plan.rounds}, sparsity"
            f" {point.sparsity:.1%}, return {point.returned.value:.1f}"
        )

    def _best(self) -> Table:
        table = Table("weights pruned ≥", box=None, pad_edge=False)
        found = best_returns(self._points())
        for level in found:
            table.add_column(f"{level:.0%}", justify="right")
        table.add_row("best return", *(f"{p.returned.value:.1f}" for p in found.values()))
        table.add_row("of point", *(p.name for p in found.values()))
        return table


def _counted(trial: TrialRecord) -> dict[str, int]:
    ended = trial.state != "running"
    return {
        "ended": int(ended),
        "failed": int(trial.state == "failed"),
        "rounds": len(trial.points),
        "env steps": trial.env_steps,
        "open env steps": 0 if ended else trial.env_steps,
    }


def _thousands(steps: float) -> str:
    return f"{steps / 1e6:.2f}M" if steps >= 1e6 else f"{steps / 1e3:.0f}k"


def clock(seconds: float) -> str:
    """`4:05` or `1:04:05`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
