"""The time that a study still takes, in words, whichever of its stages it is in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from prune_search.experiment.fields import highest
from prune_search.experiment.schema import Experiment
from prune_search.records.models import BaselineRecord, TrialRecord
from tuners.report.time_left import OVERDUE, TimeLeft, about


class Remaining:
    """What is left of one study's time, told what happens as it happens.

    Args:
        experiment: what runs.
        front: gives how many points the front has.
    """

    def __init__(self, experiment: Experiment, front: Callable[[], int]) -> None:
        self._search_settings, self._evaluation = experiment.search, experiment.evaluation
        self._front = front
        self.trials = experiment.search.trials
        """How many the study has in all."""
        self.budget = int(highest(experiment.pruning.env_steps))
        """Env steps of a trial, at most."""
        self._at_a_time = 1
        self._left: TimeLeft | None = None  # of the search
        self._first_step: tuple[int, float] | None = None
        self._search_began = time.monotonic()
        # By the final evaluation: how many, of how many; when the first and the last of them.
        self._measured: tuple[int, int, float, float] | None = None

    def room(self, at_a_time: int) -> None:
        """So many trials will run at a time."""
        self._at_a_time = at_a_time

    def planned(self, trials: int) -> None:
        """How many trials the study has in all."""
        self.trials = trials
        if self._left is not None:
            self._left.trials = trials

    def baseline_step(self, env_steps: int, aim: int) -> str:
        """`, about 7 min left in all`, as the baseline's training has come so far; empty at first.

        Args:
            env_steps: it has sampled.
            aim: at which it ends at the latest.
        """
        now = time.monotonic()
        first, at = self._first_step = self._first_step or (env_steps, now)
        if env_steps <= first:  # building it took time of its own
            return ""
        step_s = (now - at) / (env_steps - first)
        rest = TimeLeft(self.trials, self.budget, now, self._at_a_time, step_s)
        left = (aim - env_steps) * step_s + (rest.search(now) or 0.0)
        return f", about {about(left + self._final_s(rest))} left in all"

    def begin_search(self, baseline: BaselineRecord, known: Iterable[TrialRecord]) -> None:
        """The baseline is there.

        Args:
            baseline: its training's pace stands in for the trials' until one has reported.
            known: trials that an earlier driver has run.
        """
        now = self._search_began = time.monotonic()
        step_s = baseline.train_s / baseline.env_steps if baseline.env_steps else None
        self._left = TimeLeft(self.trials, self.budget, now, self._at_a_time, step_s)
        for trial in known:
            if trial.state != "running":
                self._left.earlier(trial.env_steps, trial.plan.env_steps)

    def control(self, env_steps: int, begun: bool) -> None:
        """The dense control is to be trained, or its training has begun."""
        if self._left is not None:
            self._left.control(env_steps, time.monotonic() if begun else None)

    def control_ended(self) -> None:
        """The dense control has been trained, or has failed."""
        if self._left is not None:
            self._left.control_ended(time.monotonic())

    def started(self, number: int, known: TrialRecord | None) -> None:
        """A trial begins, or goes on from what is known of it."""
        done, budget = (known.env_steps, known.plan.env_steps) if known else (0, self.budget)
        if self._left is not None:
            self._left.started(number, done, budget, time.monotonic())

    def changed(self, record: TrialRecord, before: TrialRecord | None, running: bool) -> None:
        """A trial has a new point, or has ended.

        Args:
            record: its record now.
            before: its record before; None where it had none.
            running: whether it ran until now.
        """
        left, now = self._left, time.monotonic()
        if left is None:
            return
        if len(record.points) > (len(before.points) if before else 0):
            budget, evaluated_s = record.plan.env_steps, record.points[-1].eval_s
            left.reported(record.number, record.env_steps, budget, evaluated_s, now)
        if running and record.state != "running":
            left.ended(record.number, now)

    def begin_final(self) -> None:
        """Trials have ended; the front is measured once more."""
        now = time.monotonic()
        self._measured = (0, self._front(), now, now)

    def final_measured(self, done: int, of: int) -> None:
        """So many of the final evaluation's measurements have been made."""
        now = time.monotonic()
        first = self._measured[2] if self._measured and self._measured[0] else now
        self._measured = (done, of, first, now)

    def told(self, env_steps: int) -> str:
        """`about 7 min left`; until anything is known, that it is not.

        Args:
            env_steps: of all trials so far.
        """
        now, search = time.monotonic(), self._search_settings
        if self._measured is not None:
            return f"about {about(self._measuring_s(*self._measured, now))} left"
        left = None
        if self._left is not None:
            left = self._left.search(now, search.env_steps and search.env_steps - env_steps)
            if left is not None and search.time_s is not None:
                left = min(left, max(0.0, search.time_s - (now - self._search_began)))
        if left is None or self._left is None:
            return "time left: known after the first round"
        return f"about {about(left + self._final_s(self._left))} left"

    def _measuring_s(self, done: int, of: int, first: float, last: float, now: float) -> float:
        """Seconds that the final evaluation still takes, now that it has begun."""
        if self._left is None:
            return 0.0
        if not done:  # its processes start, and all is still to be measured
            whole = self._final_s(self._left)
            return whole - self._left.start(0.0) + self._left.start(now - last)
        # The first came after its process had started: the search's pace stands in for it.
        each = self._left.measurement(self._final_ratio) / self._at_a_time
        left = (each + last - first) / done * (of - done) + self._left.closing
        return max(left - (now - last), OVERDUE * (now - last))

    @property
    def _final_ratio(self) -> float:
        """Episodes of the final evaluation over those of an evaluation in the search."""
        return self._evaluation.final_episodes / self._evaluation.episodes

    def _final_s(self, left: TimeLeft) -> float:
        """Seconds of the final evaluation, of the front as it stands now."""
        checkpoints = self._front() + 3  # the dense policies, random actions
        return left.evaluation(checkpoints, self._final_ratio, self._at_a_time)
