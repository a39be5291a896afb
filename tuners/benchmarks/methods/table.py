"""The matrix in the documentation: Markdown, made of cells and of nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from prune_search.records.models import Did
from tuners.benchmarks.methods.methods import (
    COURSES,
    EVERYWHERE,
    POSSIBLE,
    RATIO,
    Cell,
    Course,
    Job,
    Strategy,
    combinations,
    courses,
    jobs,
    own,
    sample,
    strategies,
)
from tuners.benchmarks.methods.setups import ACTIONS, SETUPS, Setup

_HEAD = f"""# Methods

Every method on every algorithm, each on a small network of RLlib's defaults, with discrete actions
(one of two) and continuous ones (a point in [-1, 1]^4), wherever RLlib has both, and with vectors
and images. BC, MARWIL, CQL and IQL learn from recorded steps, the others by acting.

A cell is the zero share of the acting network's kernels, in percent, counted from its tensors;
{RATIO:.0%} of weights or units were asked for. Output units are kept, and neurons and filters take
along what reads them, so that their share differs from that; `threshold` has none. ✗ is a cell in
which something did not hold.

This page is written by `prune-search benchmark methods --to docs/methods.md`.

- [Strategies](#strategies): granularity, criterion and allocation
- [Actions and observations](#actions-and-observations)
- [Courses](#courses): schedules, regrowth, rewinding, the gate, and what they did
- [Refused before training](#refused-before-training)
"""

_STRATEGIES = """## Strategies

Pruned after one training iteration, then trained for two more. Before and after each of them every
masked weight was exactly zero, and so were its moments and its copies in target networks and env
runners; every layer kept something; the checkpoint opened with RLlib alone and had as many zeros as
the learner; multiply-accumulates and bytes were counted, and lossless compaction found a network
that acts alike. Neurons and filters were then taken out physically, and the smaller network was
trained, saved and counted again.

Actions are discrete; vectors are read where weights and neurons go, images where filters go. SAC,
CQL and IQL follow below.
"""

_SETUPS = """## Actions and observations

As above, on every algorithm: each granularity with each of its criteria. Allocations take turns;
a cell names its own.
"""

_COURSES = """## Courses

Real trials of three rounds, four training iterations each, by magnitude: each of the schedules
alone, with each regrowth and with each rewinding, on each algorithm (· cannot be: SAC, CQL and IQL
have no one learning rate to rewind). Each round's checkpoint opened with RLlib alone and had as
many zeros as its point; every part that a trial names has done something, as often as it was due.

Beside the zero share a cell says what the dynamic parts did: p prunings, g regrowths (weights
grown in all), r rewinds; of the gate, the rounds that began with a higher (+), the same (=) and a
lower ratio (−).
"""

Cells = Mapping[Job, Cell]


def markdown(cells: Iterable[Cell], chosen: Sequence[Job] | None = None) -> str:
    """The page: tables, what failed, and what is refused.

    Args:
        cells: what was run; a cell of the page that is absent is shown as such.
        chosen: the cells of the page; all of the matrix if absent.
    """
    wanted = set(jobs() if chosen is None else chosen)
    found = {job: cell for cell in cells if (job := Job(cell.setup, cell.method)) in wanted}
    shown = _Page(found, wanted)
    lines = [_HEAD, _STRATEGIES, *shown.strategies()]
    lines += [_SETUPS, *shown.setups(), _COURSES, *shown.courses()]
    failed = [cell for cell in found.values() if cell.problems]
    done = f"{len(found)} of {len(wanted)} cells were run"
    lines += [f"{done}; something did not hold in {len(failed)}.", ""]
    if failed:
        lines += [
            f"- {cell.setup}; {cell.method}: {'; '.join(cell.problems)}" for cell in failed
        ] + [""]
    return "\n".join([*lines, *_refused()]) + "\n"


class _Page:
    """The tables."""

    def __init__(self, found: Cells, wanted: set[Job]) -> None:
        self._found, self._wanted = found, wanted

    def strategies(self) -> Iterable[str]:
        for granularity, rows in groupby(POSSIBLE, lambda strategy: strategy.granularity):
            yield from [f"### {granularity}", ""]
            yield from _heading(["criterion", "allocation", *EVERYWHERE])
            for strategy in rows:
                values = [self._value(own(name, strategy), strategy) for name in EVERYWHERE]
                yield _row([strategy.criterion, strategy.allocation or "", *values])
            yield ""

    def setups(self) -> Iterable[str]:
        kinds = dict.fromkeys((setup.actions, setup.network) for setup in SETUPS)
        for actions, network in kinds:
            setups = [setup for setup in SETUPS if setup[1:] == (actions, network)]
            samples = [sample(setup) for setup in setups]
            yield from [f"### {actions.capitalize()} actions, {network}s", ""]
            yield from _heading(
                ["granularity", "criterion", *(setup.algorithm for setup in setups)]
            )
            for row in zip(*samples, strict=True):
                values = [
                    f"{self._value(setup, strategy)} {strategy.allocation or ''}".strip()
                    for setup, strategy in zip(setups, row, strict=True)
                ]
                yield _row([row[0].granularity, row[0].criterion, *values])
            yield ""

    def courses(self) -> Iterable[str]:
        yield from _heading(["schedule", "with", *ACTIONS])
        chosen = {
            Setup(name, actions[0], "vector"): set(courses(name))
            for name, actions in ACTIONS.items()
        }
        for course in COURSES:
            values = [
                self._value(setup, course) if course in those else "·"
                for setup, those in chosen.items()
            ]
            yield _row([course.schedule, _with(course), *values])
        yield ""

    def _value(self, setup: Setup, method: Strategy | Course) -> str:
        job = Job(setup, method)
        cell = self._found.get(job)
        if cell is None:
            return "not run" if job in self._wanted else "·"
        if cell.problems or cell.sparsity is None:
            return "✗"
        did = f" {_did(method, cell.did)}" if isinstance(method, Course) and cell.did else ""
        return f"{100 * cell.sparsity:.0f}{did}"


def _with(course: Course) -> str:
    parts = [course.granularity] * (course.granularity != "weight")
    parts += [course.regrowth] * (course.regrowth != "none")
    parts += [f"rewind {course.rewind}"] * (course.rewind != "none")
    parts += ["from scratch"] * (course.origin == "scratch")
    return ", ".join(parts)


def _did(course: Course, did: Did) -> str:
    """What the parts did that a course has."""
    parts = [f"p{did.prunings}"]
    if course.regrowth != "none":
        parts.append(f"g{did.regrowths} ({did.regrown})")
    if course.rewind != "none":
        parts.append(f"r{did.rewinds}")
    if course.schedule == "gated":
        parts = [f"+{did.gate_pruned} ={did.gate_held} −{did.gate_took_back}"]
    return " ".join(parts)


def _refused() -> list[str]:
    lines = ["## Refused before training", "", *_heading(["granularity", "criterion", "why"])]
    reasons: dict[str, list[Strategy]] = {}
    for strategy in strategies():
        if strategy.refusal is not None:
            reasons.setdefault(strategy.refusal, []).append(strategy)
    for reason, group in reasons.items():
        criteria = list(dict.fromkeys(strategy.criterion for strategy in group))
        lines.append(_row([group[0].granularity, ", ".join(criteria), reason]))
    lines += ["", *_heading(["schedule", "with", "why"])]
    lines += [
        _row([course.schedule, _with(course), course.refusal])
        for course in combinations()
        if course.refusal is not None
    ]
    return lines


def _heading(names: Sequence[str]) -> list[str]:
    return [_row(names), _row(["---"] * len(names))]


def _row(values: Iterable[str]) -> str:
    return f"| {' | '.join(values)} |"
