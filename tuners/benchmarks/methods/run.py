"""All cells, side by side on a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import TypeAdapter

from prune_search.rllib.running import process_settings
from tuners.benchmarks.methods.cells import run_strategy
from tuners.benchmarks.methods.courses import run_courses
from tuners.benchmarks.methods.methods import Cell, Course, Job, Strategy
from tuners.benchmarks.methods.setups import Setup

_PART = 8
"""Cells of one task: a few at a time, so that processes are used again and none takes long."""
_CELL = TypeAdapter(Cell)


def run(jobs: Sequence[Job], kept: Path | None = None) -> Iterator[Cell]:
    """Fills cells: each as it gets ready.

    Args:
        jobs: what is to be run.
        kept: a file that cells are kept in as they get ready, and read from: after an interruption
            the same call goes on.
    """
    import ray

    wanted = set(jobs)
    done = [cell for cell in _read(kept) if Job(cell.setup, cell.method) in wanted]
    yield from done
    wanted -= {Job(cell.setup, cell.method) for cell in done}
    task = ray.remote(_run_part).options(num_cpus=1, max_retries=0)
    left = [task.remote(*part) for part in _parts([job for job in jobs if job in wanted])]
    while left:
        ready, left = ray.wait(left)
        for reference in ready:
            for cell in ray.get(reference):
                if kept is not None:
                    with kept.open("ab") as stream:
                        stream.write(_CELL.dump_json(cell) + b"\n")
                yield cell


def _read(kept: Path | None) -> list[Cell]:
    """The cells in a file; a line that was being written as its process died is none."""
    if kept is None or not kept.is_file():
        return []
    lines = kept.read_bytes().split(b"\n")[:-1]
    return [_CELL.validate_json(line) for line in lines]


def _parts(jobs: Sequence[Job]) -> list[tuple[Setup, list[Strategy | Course]]]:
    """Methods of one setup and one kind together, those that take longest first."""
    groups: dict[tuple[Setup, bool], list[Strategy | Course]] = {}
    for setup, method in jobs:
        groups.setdefault((setup, isinstance(method, Course)), []).append(method)
    slow = ("SAC", "CQL", "IQL")
    order = sorted(groups, key=lambda key: (not key[1], key[0].algorithm not in slow))
    return [
        (key[0], groups[key][first : first + _PART])
        for key in order
        for first in range(0, len(groups[key]), _PART)
    ]


def _run_part(setup: Setup, methods: Sequence[Strategy | Course]) -> list[Cell]:
    process_settings(1)
    courses = [method for method in methods if isinstance(method, Course)]
    at_once = [method for method in methods if isinstance(method, Strategy)]
    return [
        *(run_strategy(setup, strategy) for strategy in at_once),
        *(run_courses(setup, courses) if courses else ()),
    ]
