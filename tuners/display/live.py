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

from prune_search.errors import UserError
from prune_search.experiment.schema import Experiment
from prune_search.records.folder import StudyFolder
from prune_search.records.fronts import best_returns, front
from prune_search.records.models import BaselineRecord, Point, TrialRecord, trial_name
from tuners.display.remaining import Remaining
from tuners.words import count, hanging


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
        # Kept up with, as there may be thousands of trials, and each round is told.
        self._sums: Counter[str] = Counter()
        self._front: list[Point] = []
        for trial in known:
            self._take(trial)
        self._left = Remaining(experiment, lambda: len(self._front))
        self._running: set[int] = set()
        self._began = time.monotonic()
        self._over = False
        self._stage, self._detail = "loading RLlib, checking the experiment", ""
        self._baseline: BaselineRecord | None = None
        self._printed_at = 0.0
        self._live: Live | None = None
        self._shown = False
        self._notes = _Notes(self.note)

    def __enter__(self) -> Progress:
        if self._shown:
            return self
        self._shown = True
        logging.getLogger("prune_search").addHandler(self._notes)
        if self._console.is_terminal and not self._quiet:
            self._live = Live(
                console=self._console, get_renderable=self._view, refresh_per_second=2
            )
            self._live.start()
        else:
            self._line(f"{self._name}: {self._stage}")
        return self

    def __exit__(self, _: Any, error: BaseException | None, __: Any) -> None:
        if self._live is not None and isinstance(error, UserError):
            self._live.transient = True  # a refusal is one line
        self.end()

    def close(self, tracker: str) -> None:
        """All has been trained and measured; what is left is to be shown elsewhere.

        Args:
            tracker: where; empty for nowhere.
        """
        self._over = True
        if tracker:
            self._stage, self._detail = f"bringing {tracker} up to date", ""

    def end(self) -> None:
        """Leaves the display as it stands."""
        self._shown, self._over = False, True
        logging.getLogger("prune_search").removeHandler(self._notes)
        if self._live is not None:
            self._live.stop()
            self._live = None

    def found(self, folder: StudyFolder) -> None:
        """The study has its name and folder now."""
        self._name = folder.name
        for trial in folder.trials():
            self._take(trial)

    def begin(self, stage: str) -> None:
        """Something else is going on from now on."""
        self._stage, self._detail = stage, ""
        if self._live is None:
            self._line(stage)

    def begin_baseline(self) -> None:
        """The dense policy is trained, or taken from the user's checkpoint."""
        if self._experiment.baseline.checkpoint:
            self.begin("measuring your policy")
        else:
            self.begin("training the baseline")

    def begin_measuring(self) -> None:
        """The baseline's training has ended."""
        if not self._experiment.baseline.checkpoint:
            self.begin("measuring the baseline")

    def baseline_step(self, state: Any) -> None:
        """A training iteration of the baseline has ended."""
        if self._experiment.baseline.checkpoint:
            return
        steps, aim, value = state.env_steps, state.budget, state.training_return
        self._detail = f"{_thousands(steps)} of at most {_thousands(aim)} env steps" + (
            f", training return {value:.1f}" if value is not None and math.isfinite(value) else ""
        )
        self._detail += self._left.baseline_step(steps, aim)
        self._print_detail("baseline: ")

    def room(self, at_a_time: int) -> None:
        """So many trials will run at a time."""
        self._left.room(at_a_time)

    def begin_search(self, baseline: BaselineRecord) -> None:
        """The baseline is there."""
        self._baseline = baseline
        self._left.begin_search(baseline, self._trials.values())
        returned = baseline.returned
        self.begin("searching")
        self._line(
            f"baseline: return {returned.value:.1f} [{returned.low:.1f}, {returned.high:.1f}],"
            f" random actions {baseline.random.value:.1f}, {baseline.parameters:,} parameters"
        )

    def planned(self, trials: int) -> None:
        """How many trials the study has in all."""
        self._left.planned(trials)

    def control(self, env_steps: int, begun: bool = False) -> None:
        """The dense control is to be trained, or its training has begun."""
        self._left.control(env_steps, begun)

    def control_ended(self) -> None:
        """The dense control has been trained, or has failed."""
        self._left.control_ended()

    def begin_final(self) -> None:
        """Trials have ended; the front is measured once more."""
        points = len(self._front)
        episodes = self._experiment.evaluation.final_episodes
        self.begin(
            f"evaluating the front: {count(points, 'point')}, on {episodes} new episodes each"
        )
        self._printed_at = time.monotonic()
        self._left.begin_final()

    def final_measured(self, done: int, of: int) -> None:
        """So many of the final evaluation's measurements have been made."""
        self._left.final_measured(done, of)
        self._detail = f"{done} of {of} measured"
        self._print_detail(after=f", {self._left_in_words()}" if done < of else "")

    def trial_started(self, number: int) -> None:
        self._running.add(number)
        self._left.started(number, self._trials.get(number))

    def trial_changed(self, record: TrialRecord) -> None:
        """A trial has a new point, or has ended."""
        before = self._take(record)
        new = len(record.points) > (len(before.points) if before else 0)
        self._left.changed(record, before, record.number in self._running)
        if record.state != "running":
            self._running.discard(record.number)
        if self._live is None and new:
            point = record.points[-1]
            self._line(
                f"{point.name} {record.plan.label}: sparsity {point.sparsity:.1%}, return"
                f" {point.returned.value:.1f} (retention {point.retention:.2f}) | {self._counts()}"
            )

    def note(self, text: str) -> None:
        """One line that stays, such as a trial's failure."""
        self._line(text)

    def _print_detail(self, of: str = "", after: str = "") -> None:
        """Every ten seconds where nothing redraws itself."""
        now = time.monotonic()
        if self._live is None and now - self._printed_at > 10:
            self._printed_at = now
            self._line(f"{of}{self._detail}{after}")

    def _line(self, text: str) -> None:
        if not self._quiet:
            stamp = clock(time.monotonic() - self._began)
            line, whole = f"[{stamp}] {text}", not self._console.is_terminal
            if not whole:  # a file's lines stay whole; a terminal's end at words
                line = hanging(line, self._console.width, len(stamp) + 3)
            self._console.print(line, highlight=False, markup=False, soft_wrap=whole)

    def _take(self, record: TrialRecord) -> TrialRecord | None:
        """Takes over a trial's record, and gives the one before it."""
        before = self._trials.get(record.number)
        self._trials[record.number] = record
        if before is not None:
            self._sums.subtract(_counted(before))
        self._sums.update(_counted(record))
        known = before.points if before is not None else []
        if record.points[: len(known)] == known:
            self._front = front([*self._front, *record.points[len(known) :]])
        else:  # it went back to an earlier round
            self._front = front(self._points())
        return before

    def _points(self) -> list[Point]:
        return [point for trial in self._trials.values() for point in trial.points]

    def _counts(self) -> str:
        sums = self._sums
        return (
            f"{sums['ended']} of {count(self._left.trials, 'trial')} ended"
            + (f" ({sums['failed']} failed)" if sums["failed"] else "")
            + f", {len(self._running)} running, {count(sums['rounds'], 'round')},"
            f" {_thousands(sums['env steps'])} env steps"
            + ("" if self._over else f", {self._left_in_words()}")
        )

    def _left_in_words(self) -> str:
        return self._left.told(self._sums["env steps"])

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
            running = sorted(self._running)
            shown = running[: max(3, self._console.height - 8)]  # a terminal cuts off what is below
            rows = Table.grid(padding=(0, 1, 0, 0))
            for number in shown:
                name = f"  {trial_name(number)}"
                rows.add_row(name, self._running_line(number), style="dim")
            parts.append(rows)
            if len(shown) < len(running):
                parts.append(Text(f"  and {len(running) - len(shown)} more", style="dim"))
        return Group(*parts)

    def _running_line(self, number: int) -> str:
        record = self._trials.get(number)
        if record is None or not record.points:
            return "first round"
        point = record.points[-1]
        return (
            f"{record.plan.label}: round {min(point.round + 1, record.plan.rounds)}/"
            f"{record.plan.rounds}, {point.sparsity:.1%} sparse, return"
            f" {point.returned.value:.1f}"
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
    }


def _thousands(steps: float) -> str:
    return f"{steps / 1e6:.2f}M" if steps >= 1e6 else f"{steps / 1e3:.0f}k"


def clock(seconds: float) -> str:
    """`4:05` or `1:04:05`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
