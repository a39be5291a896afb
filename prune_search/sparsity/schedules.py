"""The ratio as a function of progress.

A schedule of one's own is a class with one method:

>>> @register_schedule("square")
... class Square(Schedule):
...     def curve(self, tau):
...         return tau**2
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from prune_search.registry import Registry


@dataclass(frozen=True)
class Schedule(ABC):
    """How the ratio grows from 0 to its final value while a trial progresses.

    Attributes:
        start: progress at which pruning starts, in [0, 1).
        end: progress at which the final ratio is reached, in (start, 1].
        steps: number of pruning steps, at least 1; read by schedules that go in steps.
        at_once: whether all goes at start, so that end and steps do not matter.
        follows_round_start: whether each step is to come at the start of a round, so that a round
            is: prune, train, evaluate.

    Raises:
        ValueError: a field is out of range.
    """

    start: float
    end: float
    steps: int
    at_once: ClassVar[bool] = False
    follows_round_start: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0.0 <= self.start < 1.0:
            raise ValueError(f"start must be in [0, 1), not {self.start}")
        if not self.start < self.end <= 1.0:
            raise ValueError(f"end must be in (start, 1] = ({self.start}, 1], not {self.end}")
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, not {self.steps}")

    def fraction(self, progress: float) -> float:
        """How much of the way is done: in [0, 1], 0 before start, 1 from end on, monotone.

        Progress may exceed 1, as a trial may sample more steps than its budget.
        """
        if progress < self.start:
            return 0.0
        if progress >= self.end:
            return 1.0
        return self.curve((progress - self.start) / (self.end - self.start))

    def at(self, progress: float, final: float) -> float:
        """The ratio at ``progress`` on the way to the ratio ``final``, in [0, 1]."""
        return final * self.fraction(progress)

    def threshold(self, progress: float, final: float) -> float:
        """The threshold at ``progress`` on the way to ``final``, 0 or more: by equal amounts."""
        return final * self.fraction(progress)

    @abstractmethod
    def curve(self, tau: float) -> float:
        """The fraction when the share ``tau`` in [0, 1) of the time has passed, in [0, 1]."""

    def marks(self) -> list[float]:
        """Progress at each step of a schedule that goes in steps; none where it grows all the time.

        Rewinding follows each of them.
        """
        return []


def in_steps(schedule: type[Schedule]) -> bool:
    """Whether a schedule goes in steps, as those have that say where they are."""
    return schedule.marks is not Schedule.marks


S = TypeVar("S", bound=type[Schedule])

SCHEDULES: Registry[type[Schedule]] = Registry("schedule")


def register_schedule(name: str) -> Callable[[S], S]:
    """Registers a class of schedules, under a name for files and calls.

    Raises:
        ValueError: the name is taken.
    """

    # A decorator that keeps the class's own type, which `registering` widens.
    def register(schedule: S) -> S:
        SCHEDULES.add(name, schedule)
        return schedule

    return register


@register_schedule("one_shot")
class OneShot(Schedule):
    """All of it at start; end and steps do not matter."""

    at_once = True

    def curve(self, tau: float) -> float:
        return 1.0

    def marks(self) -> list[float]:
        return [self.start]


@register_schedule("linear")
class Linear(Schedule):
    """The same amount at any time."""

    def curve(self, tau: float) -> float:
        return tau


@register_schedule("cubic")
class Cubic(Schedule):
    """Fast first, slow in the end: 1 - (1 - τ)³.

    Gradual magnitude pruning (Zhu & Gupta 2017, To prune, or not to prune, equation 1); for
    reinforcement learning Graesser et al. 2022, with start 0.2 and end 0.8.
    """

    def curve(self, tau: float) -> float:
        return 1.0 - (1.0 - tau) ** 3


@register_schedule("cosine")
class Cosine(Schedule):
    """Slow first and in the end, fast between: (1 - cos(π·τ)) / 2.

    The half cosine of annealed learning rates (Loshchilov & Hutter 2017, SGDR, equation 5), grown.
    """

    def curve(self, tau: float) -> float:
        return (1.0 - math.cos(math.pi * tau)) / 2.0


@register_schedule("geometric")
class Geometric(Schedule):
    """The same share of what remains at each of ``steps`` equal steps, the first at start.

    Iterative magnitude pruning (Frankle & Carbin 2019, The lottery ticket hypothesis, section
    2). ``fraction`` is the share of the steps made. A threshold, which leaves no known share,
    grows by the same amount at each step.
    """

    follows_round_start = True

    def at(self, progress: float, final: float) -> float:
        fraction = self.fraction(progress)
        return final if fraction == 1.0 else 1.0 - (1.0 - final) ** fraction

    def curve(self, tau: float) -> float:
        made = math.floor(tau * self.steps + 1e-9) + 1  # tau may be a rounding error short
        return min(made, self.steps) / self.steps

    def marks(self) -> list[float]:
        width = (self.end - self.start) / self.steps
        return [self.start + step * width for step in range(self.steps)]


SCHEDULES.close()


def schedule(name: str, start: float, end: float, steps: int) -> Schedule:
    """The schedule called ``name``.

    Raises:
        ValueError: there is none (the message lists the known ones), or a field is out of range.
    """
    return SCHEDULES.find(name)(start, end, steps)
