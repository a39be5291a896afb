"""How long a study still takes, from what its trials have reported.

The search is a queue of trials that some places take from. A place needs so many seconds for an env
step, evaluations and the time between trials included: measured over the last rounds, so that what
was slow at the beginning is forgotten, and what has become slow counts. How many env steps a trial
takes follows from the last ones that have ended, of which some were stopped early. After the search
comes the final evaluation.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass
from statistics import fmean

OVERDUE = 0.2
"""What has been silent for longer than expected takes this share of that once more."""
_RECENT_ROUNDS, _RECENT_TRIALS = 10, 20
_START_S = 8.0  # until a process is up, at least
_CLOSING = 0.5  # of that: MLflow's last pictures and the tables, after the final evaluation
_EVALUATIONS = 2  # of a round: before and after its training


@dataclass
class _Running:
    """A trial that runs: what it has reported, and when."""

    env_steps: int
    budget: int
    since: float


class TimeLeft:
    """An estimate of seconds, fed with what happens. All times are of one clock, s.

    Args:
        trials: that the study has in all.
        budget: env steps of a trial that runs to its end.
        now: when the search begins.
        places: trials at a time.
        env_step_s: seconds of an env step until a trial has reported, such as the baseline's; None
            if not known.
    """

    def __init__(
        self,
        trials: int,
        budget: float,
        now: float,
        places: int = 1,
        env_step_s: float | None = None,
    ) -> None:
        self.trials = trials
        self._budget, self._places, self._prior = budget, max(1, places), env_step_s
        self._control: _Running | None = None
        self._start_s, self._start_pace = _START_S, env_step_s
        self._running: dict[int, _Running] = {}
        self._ended = 0
        self._shares: deque[float] = deque(maxlen=_RECENT_TRIALS)  # of their budgets
        self._budgets: deque[int] = deque(maxlen=_RECENT_TRIALS)
        self._evaluations: deque[float] = deque(maxlen=_RECENT_ROUNDS)
        # Seconds that places had something to do, up to a time; of which reported, env steps too.
        self._wanted, self._at, self._env_steps = 0.0, now, 0
        self._reports = deque([(0.0, 0)], maxlen=_RECENT_ROUNDS + self._places)

    def earlier(self, env_steps: int, budget: int) -> None:
        """A trial that an earlier driver has run to its end."""
        self._end(env_steps, budget)

    def control(self, env_steps: int, begun: float | None = None) -> None:
        """The dense control is trained too: since a time, or after the search.

        While it is trained, it has one of the places.
        """
        if begun is not None:
            self._advance(begun)
        self._control = _Running(0, env_steps, math.inf if begun is None else begun)

    def control_ended(self, now: float) -> None:
        """It has been trained, or has failed."""
        self._advance(now)
        self._control = None

    def started(self, number: int, env_steps: int, budget: int, now: float) -> None:
        """A trial begins, or goes on after so many env steps."""
        if not self._running and not self._ended and not self._env_steps:
            self._start_s = max(_START_S, now - self._at)  # what a process takes on this machine
        self._advance(now)
        self._running[number] = _Running(env_steps, budget, now)

    def reported(
        self, number: int, env_steps: int, budget: int, evaluated_s: float, now: float
    ) -> None:
        """A trial of this budget has finished a round; so long its evaluations took."""
        self._advance(now)
        trial = self._running.setdefault(number, _Running(0, budget, now))
        self._env_steps += max(0, env_steps - trial.env_steps)
        trial.env_steps, trial.budget, trial.since = env_steps, budget, now
        self._evaluations.append(evaluated_s / _EVALUATIONS)
        silent = sum(now - other.since for other in self._running.values())
        self._reports.append((self._wanted - silent, self._env_steps))
        if len(self._reports) == 3 and not self._reports[0][1]:
            self._reports.popleft()  # until the first report a process was started and built
            self._start_pace = self.env_step_s

    def ended(self, number: int, now: float) -> None:
        """A trial has ended, in whatever way."""
        self._advance(now)
        trial = self._running.pop(number, None)
        if trial is None:
            self._ended += 1  # before it began
        else:
            self._end(trial.env_steps, trial.budget)

    @property
    def env_step_s(self) -> float | None:
        """Seconds that a place needs for an env step; None as long as nothing is known."""
        (begin, before), (end, after) = self._reports[0], self._reports[-1]
        return (end - begin) / (after - before) if after > before else self._prior

    def search(self, now: float, env_steps: float | None = None) -> float | None:
        """Seconds until trials and control have ended; None as long as nothing is known.

        Args:
            now: the time.
            env_steps: trials still train for at most so many.
        """
        step_s = self.env_step_s
        if step_s is None:
            return None
        running = self._running.values()
        busy = [self._of_running(trial, step_s, now) for trial in running]
        if self._control_runs(now):
            busy.append(self._of_control(step_s, now))
        places = [*busy, *[0.0] * (self._places - len(busy))]
        heapq.heapify(places)
        budgets = [*self._budgets, *(trial.budget for trial in running)]
        steps = fmean([*self._shares, 1.0]) * fmean(budgets or [self._budget])
        for _ in range(max(0, self.trials - self._ended - len(running))):
            heapq.heapreplace(places, places[0] + steps * step_s)
        left = max(places)
        if env_steps is not None:
            left = min(left, max(0.0, env_steps) * step_s / self._places)
        if self._control_runs(now):
            return max(left, self._of_control(step_s, now))
        return left + self._of_control(step_s, now)

    def _control_runs(self, now: float) -> bool:
        return self._control is not None and self._control.since <= now

    def _of_control(self, step_s: float, now: float) -> float:
        """Seconds that the control still takes, or will."""
        if self._control is None:
            return 0.0
        silent = max(0.0, now - self._control.since)
        return max(self._control.budget * step_s - silent, OVERDUE * silent)

    def evaluation(self, checkpoints: int, ratio: float, workers: int) -> float:
        """Seconds of the final evaluation, and of what follows it.

        Args:
            checkpoints: that are measured.
            ratio: episodes of each over those of an evaluation in the search.
            workers: processes that measure.
        """
        measuring = self.measurement(ratio) * -(-checkpoints // max(1, workers))
        return self.start(0.0) + measuring + self.closing

    @property
    def closing(self) -> float:
        """Seconds from the final evaluation's end to the study's."""
        return _CLOSING * self.start(0.0)

    def start(self, silent: float) -> float:
        """Seconds until a process is up that was begun so many seconds ago.

        As many as the first took, where the machine is as fast as it was then.
        """
        then, now = self._start_pace, self.env_step_s
        faster = min(1.0, now / then) if then and now else 1.0
        return max(max(_START_S, self._start_s * faster) - silent, OVERDUE * silent)

    def measurement(self, ratio: float) -> float:
        """Seconds of one of the final evaluation's measurements, without a process's start."""
        return fmean(self._evaluations or [0.0]) * ratio

    def _of_running(self, trial: _Running, step_s: float, now: float) -> float:
        """Seconds that a trial still takes, as those did that came further than it has."""
        share = trial.env_steps / trial.budget
        further = fmean([*(other for other in self._shares if other > share), 1.0])
        silent = now - trial.since
        return max(max(0.0, further - share) * trial.budget * step_s - silent, OVERDUE * silent)

    def _end(self, env_steps: int, budget: int) -> None:
        self._ended += 1
        self._shares.append(min(1.0, env_steps / budget))
        self._budgets.append(budget)

    def _advance(self, now: float) -> None:
        places = max(1, self._places - self._control_runs(self._at))
        self._wanted += min(places, self.trials - self._ended) * (now - self._at)
        self._at = now


def about(seconds: float) -> str:
    """A time as exact as an estimate is: `a few seconds`, `140 s`, `7 min`, `2 h 10 min`."""
    if seconds < 10:
        return "a few seconds"
    if seconds < 180:
        return f"{round(seconds, -1):.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(round(minutes, -1), 60)
    return f"{hours} h {minutes} min" if minutes and hours < 10 else f"{round(seconds / 3600)} h"
