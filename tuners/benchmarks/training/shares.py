"""Where an iteration's time goes: the stack is looked at every millisecond of CPU time."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from types import FrameType
from typing import NamedTuple

from prune_search.rllib.configuration.algorithms import algorithm_config
from prune_search.rllib.runners.choice import build
from prune_search.rllib.running import process_settings
from tuners.benchmarks.training.sampling import Task, begin_to_learn

_EVERY_S = 0.001
_WARM_UP = 3
REST = "rest of RLlib's iteration"


class _Part(NamedTuple):
    """What a function, or one of several, and all that it calls count as."""

    name: str
    where: str
    """In the path of its file."""
    functions: frozenset[str]


def _part(name: str, where: str, *functions: str) -> _Part:
    return _Part(name, where, frozenset(functions))


_PARTS = (
    _part("environments and gymnasium's vector of them", "", "_try_env_step"),
    _part("network and distribution, while sampling", "runners/lean", "_act"),
    _part("rows, episodes and figures of sampling", "single_agent_env_runner", "sample"),
    _part("rows, episodes and figures of sampling", "runners/lean", "get_metrics", "sample"),
    _part("replay buffer", "replay_buffers", "add", "sample", "update_priorities"),
    _part("learner connectors, GAE among them", "", "_make_batch_if_necessary"),
    _part("forward passes", "runners/update", "_forward"),
    _part("losses", "", "compute_losses"),
    _part("backward passes", "", "_computed", "compute_gradients"),
    _part("clipping", "runners/gradients", "_clipped"),
    _part("clipping", "learners/masks", "__call__"),
    _part("Adam, and whether gradients are finite", "", "apply", "apply_gradients"),
    _part("target networks", "", "after_gradient_based_update"),
    _part("rest of the update: minibatches, figures, timers", "learner_group", "update"),
)
"""The first that the stack has counts."""


class Shares(NamedTuple):
    """Of an iteration's time."""

    parts: dict[str, float]
    """By name, in [0, 1]; they add up to 1."""
    looks: int
    """Times the stack was looked at."""


def shares(task: Task, iterations: int) -> Shares:
    """What the parts of an iteration take, with the lean env runner and update where they can be.

    Args:
        iterations: 1 or more, after a few that are not counted.
    """
    experiment = task.experiment("resources.runner=auto")
    process_settings(experiment.resources.threads)
    algorithm = build(algorithm_config(experiment, 0))
    try:
        begin_to_learn(algorithm)
        for _ in range(_WARM_UP):
            algorithm.train()
        found: Counter[str] = Counter()

        def look(_: int, frame: FrameType | None) -> None:
            found[_part_of(frame)] += 1

        before = signal.signal(signal.SIGPROF, look)
        signal.setitimer(signal.ITIMER_PROF, _EVERY_S, _EVERY_S)
        try:
            for _ in range(iterations):
                algorithm.train()
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, before)
    finally:
        algorithm.stop()
    looks = found.total()
    names = [*dict.fromkeys(part.name for part in _PARTS), REST]
    return Shares({name: found[name] / looks for name in names if found[name]}, looks)


def _part_of(frame: FrameType | None) -> str:
    stack = [(one.f_code.co_filename, one.f_code.co_name) for one in _outwards(frame)]
    for part in _PARTS:
        if any(name in part.functions and part.where in file for file, name in stack):
            return part.name
    return REST


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back
