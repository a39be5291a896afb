"""What the matrix is made of: the methods, the setups that each is tried on, and the cells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from prune_search.plan.axes import names
from prune_search.plan.compatibility import applicable, conflict
from prune_search.records.models import Did
from prune_search.sparsity.selection.granularities import GRANULARITIES
from tuners.benchmarks.methods.setups import ACTIONS, SETUPS, NetworkKind, Setup

RATIO = 0.5
"""Share of the weights, or units, of every network that cells ask for."""


@dataclass(frozen=True)
class Strategy:
    """What is removed at once, by which score, and how the ratio is divided."""

    granularity: str
    criterion: str
    allocation: str | None
    """None where none divides anything: criterion threshold, 2:4 and 1:4."""

    @property
    def refusal(self) -> str | None:
        """Why experiment files may not ask for it; None where they may."""
        axes = {"granularity": self.granularity, "criterion": self.criterion}
        return conflict(
            axes if self.allocation is None else {**axes, "allocation": self.allocation}
        )

    def fits(self, network: NetworkKind) -> bool:
        """Whether networks of this kind have what it removes: filters need convolutions."""
        return network == "image" or not _of_convolutions(self.granularity)

    def __str__(self) -> str:
        axes = (self.granularity, self.criterion, self.allocation)
        return "/".join(axis for axis in axes if axis)


@dataclass(frozen=True)
class Course:
    """How masks move while a policy trains: what a trial's dynamic parts do."""

    schedule: str
    regrowth: str = "none"
    rewind: str = "none"
    granularity: str = "weight"
    origin: str = "baseline"

    @property
    def refusal(self) -> str | None:
        """Why experiment files may not ask for it; None where they may."""
        return conflict({name: getattr(self, name) for name in self.__dataclass_fields__})

    def __str__(self) -> str:
        parts = [self.granularity, self.schedule]
        parts += [self.regrowth] * (self.regrowth != "none")
        parts += [f"rewind {self.rewind}"] * (self.rewind != "none")
        parts += [self.origin] * (self.origin != "baseline")
        return "/".join(parts)


@dataclass(frozen=True)
class Cell:
    """What came of a method on a setup."""

    setup: Setup
    method: Strategy | Course
    sparsity: float | None
    """Zero share of the acting network's kernels, removed ones counted; None if it got nowhere."""
    problems: tuple[str, ...] = ()
    """What did not hold; empty if everything did."""
    did: Did | None = None
    """Of a course: what its dynamic parts did."""


class Job(NamedTuple):
    """A cell that is to be filled."""

    setup: Setup
    method: Strategy | Course


def strategies() -> Iterator[Strategy]:
    """Every combination of granularity, criterion and allocation, possible or not."""
    for granularity in names("granularity"):
        for criterion in names("criterion"):
            chosen = {"granularity": granularity, "criterion": criterion}
            divided = "allocation" in applicable(chosen)
            for allocation in names("allocation") if divided else [None]:
                yield Strategy(granularity, criterion, allocation)


POSSIBLE = tuple(strategy for strategy in strategies() if strategy.refusal is None)
"""The strategies that experiment files may ask for."""


def combinations() -> Iterator[Course]:
    """Every schedule alone, with each regrowth, and with each rewinding, possible or not."""
    for schedule in names("schedule"):
        for granularity in ("weight", "neuron"):
            yield Course(schedule, granularity=granularity)
        for regrowth in names("regrowth")[1:]:
            for origin in names("origin"):
                yield Course(schedule, regrowth=regrowth, origin=origin)
        for rewind in names("rewind")[1:]:
            yield Course(schedule, rewind=rewind)


COURSES = tuple(course for course in combinations() if course.refusal is None)
"""The courses that experiment files may ask for."""

EVERYWHERE = ("PPO", "APPO", "IMPALA", "DQN", "BC", "MARWIL")
"""Algorithms that every strategy is tried on; SAC and its kin have more networks, and need more
time than all of these together."""


def own(algorithm: str, strategy: Strategy) -> Setup:
    """The setup of an algorithm on which it is tried in full."""
    network: NetworkKind = "image" if _of_convolutions(strategy.granularity) else "vector"
    return Setup(algorithm, ACTIONS[algorithm][0], network)


def _of_convolutions(granularity: str) -> bool:
    produced_by = GRANULARITIES[granularity].produced_by
    return produced_by is not None and not produced_by(2)


def sample(setup: Setup) -> list[Strategy]:
    """Every granularity with each of its criteria, once.

    Allocations take turns, other ones in each setup, so that an algorithm's setups together have
    most of them, and all setups all of them.
    """
    kinds: dict[tuple[str, str], list[Strategy]] = {}
    for strategy in POSSIBLE:
        if strategy.fits(setup.network):
            kinds.setdefault((strategy.granularity, strategy.criterion), []).append(strategy)
    turn = SETUPS.index(setup)
    return [group[(turn + i) % len(group)] for i, group in enumerate(kinds.values())]


def courses(algorithm: str) -> list[Course]:
    """What an algorithm can take: none rewinds the rate where each network has its own."""
    scheduled = algorithm not in ("SAC", "CQL", "IQL")
    return [course for course in COURSES if scheduled or course.rewind != "learning_rate"]


def jobs() -> list[Job]:
    """All cells of the matrix, in the order of the page."""
    found: dict[Job, None] = {}
    for algorithm in EVERYWHERE:
        found |= {Job(own(algorithm, strategy), strategy): None for strategy in POSSIBLE}
    for setup in SETUPS:
        found |= {Job(setup, strategy): None for strategy in sample(setup)}
    for algorithm, actions in ACTIONS.items():
        setup = Setup(algorithm, actions[0], "vector")
        found |= {Job(setup, course): None for course in courses(algorithm)}
    return list(found)
