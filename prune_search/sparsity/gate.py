"""A ratio that follows the return: the network shrinks while it performs, and grows back if not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

GATED = "gated"
"""Name of the schedule that a gate stands in for: it sets the ratio itself."""

_STREAK = 3  # steps in a row that held, after which the step doubles
_REST = 4  # rounds between settling below an earlier best and the first probe above it


@dataclass(frozen=True)
class Gate:
    """A controller of the ratio, gated by retention.

    Inspired by PoPS (Livne & Cohen 2020, Pruning policies for shrinking deep reinforcement
    learning agents), which prunes on above an objective and pauses below a lower bound of
    return. Here the bounds are of retention, the network also grows back, and the step adapts:

    - At ``hold`` or above, the next step removes the share ``step`` of what remains.
    - Between ``floor`` and ``hold``, pruning pauses: the ratio stays, and training may recover
      what the last step cost. ``patience`` such rounds are granted.
    - Below ``floor``, or out of patience, the network grows back to the last ratio that held.
      If that fails as well, it goes back at least twice as far each time (distances in the
      logarithm of the density), down to the dense network.
    - Once it holds again, the step is half the share that lies between this ratio and the
      lowest that failed: after one failure, half the step that failed. After three steps in a
      row that held, which no cliff that stays in place allows after a halving, it doubles, up
      to the first step.
    - A step finer than ``smallest`` isn't taken: the gate has settled, at the highest ratio that
      held since the last failure. It keeps watching: if the retention falls there, it grows back
      and searches again as above. Settled below a ratio that held at some time, which was
      taken away by a change of the task or by a noisy round, it probes upwards after 4 rounds
      that held, then after 8, 16 and so on; three steps in a row that held make it 4 again.

    All decisions are a function of the history, so a resumed trial decides the same.

    Attributes:
        hold: retention at or above which pruning goes on.
        floor: retention below which the network grows back, less than ``hold``.
        step: share of the remaining weights that a step removes at first, and at most, in (0, 1).
        smallest: the finest step that is taken, in (0, step].
        patience: rounds between floor and hold that are granted to training after the one that
            fell there, at least 0.
        highest: the ratio that is never exceeded, in (0, 1).

    Raises:
        ValueError: a field is out of range.
    """

    hold: float
    floor: float
    step: float = 0.5
    smallest: float = 0.02
    patience: int = 2
    highest: float = 0.9999

    def __post_init__(self) -> None:
        if not (math.isfinite(self.floor) and math.isfinite(self.hold) and self.floor < self.hold):
            raise ValueError(f"floor must be less than hold, not {self.floor} and {self.hold}")
        if not 0.0 < self.step < 1.0:
            raise ValueError(f"step must be in (0, 1), not {self.step}")
        if not 0.0 < self.smallest <= self.step:
            raise ValueError(
                f"smallest must be in (0, step] = (0, {self.step}], not {self.smallest}"
            )
        if self.patience < 0:
            raise ValueError(f"patience must be at least 0, not {self.patience}")
        if not 0.0 < self.highest < 1.0:
            raise ValueError(f"highest must be in (0, 1), not {self.highest}")

    def next_ratio(self, history: Sequence[tuple[float, float]]) -> float:
        """The ratio of the next round, in [0, highest].

        Args:
            history: of each round so far, the ratio in force and the retention at its end.

        Raises:
            ValueError: a ratio is not in [0, 1), or a retention is NaN.
        """
        return self._replay(history).next

    def settled(self, history: Sequence[tuple[float, float]]) -> bool:
        """Whether the last round held and no step remains to be tried from its ratio.

        A later round may end this: see the class.

        Raises:
            ValueError: as ``next_ratio``.
        """
        return self._replay(history).settled

    def _replay(self, history: Sequence[tuple[float, float]]) -> _Replay:
        replay = _Replay(self)
        for ratio, retention in history:
            if not 0.0 <= ratio < 1.0:
                raise ValueError(f"ratios must be in [0, 1), not {ratio}")
            if math.isnan(retention):
                raise ValueError(f"the retention at ratio {ratio} is NaN")
            replay.add(ratio, retention)
        return replay


class _Replay:
    """What a gate knows after some rounds: ``next`` and ``settled`` are its answers."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.step = gate.step
        self.held = [0.0]  # ratios that hold, rising: the dense network is taken to
        self.best = 0.0  # the highest ratio that ever held
        self.streak = 0  # steps that held, since the step last changed
        self.paused = 0  # rounds at this ratio between floor and hold, up to the last
        self.failed: list[float] = []  # ratios that failed, since one last held
        self.quiet = 0  # rounds that held, since the gate settled
        self.rest = _REST  # how many of them before the next probe
        self.settled = False
        self.next = self._step_from(0.0)

    def add(self, ratio: float, retention: float) -> None:
        self.settled = False
        if retention >= self.gate.hold:
            self.paused = 0
            self._succeed(ratio)
        elif retention >= self.gate.floor and self.paused < self.gate.patience:
            self.paused += 1
            self.next = ratio
        else:
            self.paused = 0
            self._fail(ratio)

    def _succeed(self, ratio: float) -> None:
        if self.failed:
            self._choose_step(ratio)
        elif ratio > self.held[-1]:
            self.streak += 1
            if self.streak == _STREAK:
                self.step = min(2.0 * self.step, self.gate.step)
                self.streak, self.rest = 0, _REST
        self.held = [*(one for one in self.held if one < ratio), ratio]
        self.best = max(self.best, ratio)
        # Where rounding makes a step fall short of smallest by a hair, it is taken.
        if self.step < self.gate.smallest * (1.0 - 1e-9):
            self.quiet += 1
            if self.quiet > self.rest and _share(ratio, self.best) > self.gate.smallest:
                self.step, self.streak, self.quiet = self.gate.smallest, 0, 0
                self.rest *= 2
        searching = self.step >= self.gate.smallest * (1.0 - 1e-9)
        self.next = self._step_from(ratio) if searching else ratio
        self.settled = self.next <= ratio

    def _fail(self, ratio: float) -> None:
        """Back to a ratio that held: the last one, then at least twice as far every time."""
        self.failed.append(ratio)
        start = self.failed[0]
        far = _distance(ratio, start)
        self.held = [one for one in self.held if one < ratio]
        while self.held and _distance(self.held[-1], start) < 2.0 * far * (1.0 - 1e-9):
            self.held.pop()
        if not self.held:
            self.held = [0.0]
        self.next = self.held[-1]

    def _choose_step(self, ratio: float) -> None:
        """Half the share between what holds again and the lowest ratio above it that failed."""
        above = [one for one in self.failed if one > ratio]
        if above:  # else it failed here, and training has mended it
            self.step = min(_share(ratio, min(above)) / 2.0, self.gate.step)
        self.failed, self.streak, self.quiet = [], 0, 0

    def _step_from(self, ratio: float) -> float:
        return min(1.0 - (1.0 - ratio) * (1.0 - self.step), self.gate.highest)


def _share(low: float, high: float) -> float:
    """The share of the weights kept at the ratio ``low`` that ``high`` removes."""
    return 1.0 - (1.0 - high) / (1.0 - low)


def _distance(low: float, high: float) -> float:
    """How far apart two ratios are, in the natural logarithm of the density."""
    return math.log1p(-low) - math.log1p(-high)
