"""What the driver costs a trial, and whether that grows with the trials before it.

Studies of trials whose rounds take no time run on a cluster of several nodes on this machine, by
`tuners.study.stages.trials`' own search: with Tune, Optuna's database, the trials' records, the
display, early stopping and MLflow's database. What remains is what a trial costs beside its
training.
"""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from rich.console import Console

from prune_search.errors import UserError
from prune_search.experiment.schema import Experiment
from prune_search.experiment.search_section import Stopping
from prune_search.records.models import StudyRecord
from tuners.benchmarks.simulation import BASELINE, SimulatedTrial
from tuners.display.live import Progress
from tuners.spans import FOLLOW, PROJECT, SUGGEST, TELL, Span, listening
from tuners.study.capacity import concurrency
from tuners.study.cluster import connection
from tuners.study.creation import create
from tuners.study.stages.driven import DrivenStudy
from tuners.study.stages.trials import search

STRETCH = 100
"""Trials of each item of the curve, more or less."""
_PATIENCE_S = 600.0
_PARTS = ("optuna", "records", "mlflow")
_PART_OF = {SUGGEST: "optuna", TELL: "optuna", FOLLOW: "records", PROJECT: "mlflow"}


@dataclass(frozen=True)
class Seconds:
    """Seconds a trial."""

    wall_s: float
    cpu_s: float
    """Of the driver's process, all of its threads."""


@dataclass(frozen=True)
class Scale:
    """What one study's trials cost the driver."""

    study: str
    trials: int
    start_s: float
    """Wall seconds until the first trial has ended: Tune's start, the trials' processes'."""
    whole: Seconds
    """From the search's start until MLflow has all of it, start_s included."""
    parts: dict[str, Seconds]
    """ray: Tune, Ray, and waiting for the trials' processes, without tail_s; optuna: suggest and
    tell; records: reading and closing them, the display, early stopping; mlflow: its thread,
    beside the others."""
    curve: list[tuple[int, Seconds]]
    """How many trials had ended, and what each cost since the item before; without start_s and
    tail_s. Empty for one trial."""
    tail_s: float
    """Wall seconds from the last trial's end until MLflow had all of it."""
    load: float
    """The machine's load average, of one minute, when it began."""


def benchmark(
    experiment: Experiment,
    trials: Sequence[int],
    nodes: int,
    report: Callable[[str], None],
) -> list[Scale]:
    """Runs a study for each number of trials, on one cluster.

    Args:
        experiment: its search space, sampler and storage are used; nothing is trained.
        trials: of each study.
        nodes: of the cluster, with room for two trials each.
        report: told of each study, in a line.

    Raises:
        UserError: as `tuners.study.creation.create`; a trial has failed; MLflow lacks something ten
            minutes after the search's end.
    """
    with _cluster(nodes) as address:
        resources = experiment.resources.model_copy(
            update={"address": address, "concurrent_trials": 0}
        )
        experiment = experiment.model_copy(update={"resources": resources})
        found = []
        with connection(resources):
            for number in trials:
                found.append(_measure(experiment, number))
                whole = found[-1].whole
                report(
                    f"{number} trials: {whole.wall_s:.3f} s a trial, of the driver's CPU"
                    f" {whole.cpu_s:.3f} s; load average {found[-1].load:.1f} on"
                    f" {os.cpu_count()} cores when it began"
                )
    return found


def to_json(found: Sequence[Scale]) -> list[dict[str, object]]:
    """Plain types."""
    return [asdict(one) for one in found]


@contextmanager
def _cluster(nodes: int) -> Iterator[str]:
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 2, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(nodes - 1):
            cluster.add_node(num_cpus=2)
        yield str(cluster.address)
    finally:
        cluster.shutdown()


def _measure(experiment: Experiment, trials: int) -> Scale:
    settings = experiment.search.model_copy(
        update={
            "trials": trials,
            # Asked after each round, and so sure of itself that it stops few.
            "stopping": Stopping(confidence=0.95),
        }
    )
    tracking = experiment.tracking.model_copy(update={"to": "mlflow"})
    experiment = experiment.model_copy(update={"search": settings, "tracking": tracking})
    name = f"scale-{trials}"
    folder = create(experiment, name, name)
    folder.write_study(StudyRecord(name=name, started=time.time(), baseline=BASELINE))
    progress = Progress(experiment, name, [], Console(file=io.StringIO()))
    study = DrivenStudy(folder, experiment, progress)
    study.know(concurrent_trials=concurrency(experiment, study.request))
    load = os.getloadavg()[0]
    with _Stopwatch() as watch:
        study.tracker.start()
        progress.begin_search(BASELINE)
        search(study, SimulatedTrial)
        study.know(ended=time.time())
        study.keep()
        tracked = study.tracker.finish(_PATIENCE_S)
    for trial in folder.trials():
        if trial.state not in ("complete", "stopped"):
            raise UserError(f"benchmark scale: {trial.name} is {trial.state}: {trial.reason}")
    if tracked.pending:
        raise UserError(f"benchmark scale: {tracked.problem or 'MLflow is late'}")
    return watch.scale(name, trials, load)


class _Stopwatch:
    """Seconds that the driver spends in its parts, for as long as the context lasts."""

    def __init__(self) -> None:
        self._spent: dict[str, list[float]] = {part: [0.0, 0.0] for part in _PARTS}
        self._ends: list[tuple[float, float]] = []
        self._lock = threading.Lock()
        self._listening = listening(self._ended_span)

    def __enter__(self) -> _Stopwatch:
        self._listening.__enter__()
        self._began = _now()
        return self

    def __exit__(self, *error: Any) -> None:
        self._ended = _now()
        self._listening.__exit__(*error)

    def _ended_span(self, span: Span) -> None:
        with self._lock:
            part = self._spent[_PART_OF[span.part]]
            part[0] += span.wall_s
            part[1] += span.cpu_s
            if span.part == TELL:
                self._ends.append(_now())

    def scale(self, study: str, trials: int, load: float) -> Scale:
        """What was seen, a trial."""
        whole = _per(trials, self._began, self._ended)
        parts = {name: Seconds(*(value / trials for value in self._spent[name])) for name in _PARTS}
        tail_s = self._ended[0] - self._ends[-1][0]
        here = parts["optuna"].wall_s + parts["records"].wall_s + tail_s / trials
        ray = Seconds(whole.wall_s - here, whole.cpu_s - sum(cost.cpu_s for cost in parts.values()))
        return Scale(
            study=study,
            trials=trials,
            start_s=self._ends[0][0] - self._began[0],
            whole=whole,
            parts={"ray": ray, **parts},
            curve=_curve(self._ends),
            tail_s=tail_s,
            load=load,
        )


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _curve(ends: Sequence[tuple[float, float]]) -> list[tuple[int, Seconds]]:
    last = len(ends) - 1
    marks = [*range(0, max(1, last - STRETCH // 2), STRETCH), last]
    return [(b + 1, _per(b - a, ends[a], ends[b])) for a, b in pairwise(marks) if a < b]


def _per(trials: int, begin: tuple[float, float], end: tuple[float, float]) -> Seconds:
    return Seconds((end[0] - begin[0]) / trials, (end[1] - begin[1]) / trials)
