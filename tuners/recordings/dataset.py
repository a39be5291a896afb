"""A file of recorded trials: what each round of each random plan returned, episode by episode.

JSON Lines, gzipped: the first line tells of the task, each other one of a trial. docs/recorded.md
describes the columns.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from prune_search.errors import UserError
from prune_search.plan.names import STORED
from prune_search.plan.plan import Plan
from prune_search.records.models import BaselineRecord
from prune_search.records.returns import Return

VERSION = 1
SHIPPED = Path(__file__).parent / "data"


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Task(_Line):
    """The first line: what the trials were trained on, and from which dense policy."""

    version: Literal[1] = 1
    """Of this format."""
    name: str
    """A key of `TASKS`."""
    environment: dict[str, Any]
    """As in an experiment file."""
    algorithm: dict[str, Any]
    """Likewise, its settings and its model's."""
    software: dict[str, str]
    """Versions of what trained."""
    licence: Literal["CC0-1.0"] = "CC0-1.0"
    parameters: int
    """Of the inference network, dense."""
    weights: int
    """Of these, entries of kernels; the rest are biases."""
    baseline_env_steps: int
    dense: list[float]
    """Returns of the baseline, an episode each, on the env seeds of all points below."""
    random: list[float]
    """Of uniformly random actions on the same env seeds."""


class Round(_Line):
    """A round of a trial."""

    progress: float
    """Env steps used / the trial's, in (0, 1]; slightly above where iterations are long."""
    env_steps: int
    """Of the trial so far."""
    sparsity: float
    """Share of the inference network's parameters that are zero, biases counted, in [0, 1)."""
    weight_sparsity: float
    """Share of its kernels' entries."""
    trained_sparsity: float
    """Share of all that is trained, critic included."""
    compact: int | None
    """Parameters after lossless compaction."""
    compact_nonzero: int | None
    """Of these, those that are not zero."""
    returns: list[float]
    """Of the evaluation, an episode each."""
    return_pruned: float
    """Mean at the round's start, right after the pruning that falls there."""


class Trial(_Line):
    """A line: a random plan, and all its rounds."""

    number: int
    """Of the plan, the same for all its seeds."""
    seed: int
    """Of the training."""
    plan: Plan
    rounds: list[Round]


class Recording(_Line):
    """A whole file."""

    task: Task
    trials: list[Trial]

    @cached_property
    def baseline(self) -> BaselineRecord:
        """The task's dense policy, of which nothing is kept but figures; returns are means."""
        dense, random = (
            Return(aggregate="mean", iqm=mean, low=mean, high=mean, episodes=len(each), each=each)
            for each in (self.task.dense, self.task.random)
            for mean in [float(np.mean(each))]
        )
        return BaselineRecord(
            key=self.task.name,
            checkpoint="",
            returned=dense,
            random=random,
            parameters=self.task.parameters,
            weights=self.task.weights,
            env_steps=self.task.baseline_env_steps,
            train_s=0.0,
        )

    def retention(self, each: Round) -> float:
        """Share of the dense policy's gain over random actions that a round keeps."""
        return self.baseline.retention(float(np.mean(each.returns)))


@cache
def shipped() -> tuple[Recording, ...]:
    """The recordings that come with the package, by name."""
    return tuple(read(path) for path in sorted(SHIPPED.glob("*.jsonl.gz")))


def write(path: Path, task: Task, trials: Sequence[Trial]) -> None:
    """Writes a file; the same content gives the same bytes."""
    lines = [task.model_dump_json(), *(trial.model_dump_json() for trial in trials)]
    text = "\n".join(lines) + "\n"
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def read(path: Path) -> Recording:
    """A recording.

    Raises:
        UserError: the file can't be read, or holds something else.
    """
    try:
        first, *rest = gzip.decompress(path.read_bytes()).decode().splitlines()
        task = Task.model_validate_json(first)
        trials = [Trial.model_validate_json(line, context=STORED) for line in rest]
    except (gzip.BadGzipFile, EOFError, ValueError) as error:  # pydantic's are ValueErrors
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not a file of recorded trials: {reason}") from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{path}: cannot be read: {reason}") from None
    return Recording(task=task, trials=trials)
