"""Courses of masks while a policy trains: real trials of a few iterations, and what they did."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ray.rllib.core.rl_module.rl_module import RLModule

from prune_search.errors import one_line
from prune_search.experiment.schema import Experiment
from prune_search.plan.plan import Plan
from prune_search.records.folder import StudyFolder
from prune_search.records.models import BaselineRecord, Did, Point
from prune_search.rllib.configuration.algorithms import MODULE_PATH
from prune_search.rllib.learners import masks as learner
from prune_search.rllib.networks.roles import CRITIC
from prune_search.rllib.recovery import moments
from prune_search.rllib.runners.choice import build
from prune_search.rllib.running import env_steps, train
from prune_search.sparsity.sizes import size
from prune_search.trial.rounds import TrialRounds
from tuners.benchmarks.methods.baselines import dense
from tuners.benchmarks.methods.methods import RATIO, Cell, Course
from tuners.benchmarks.methods.setups import Setup, small_config, small_experiment

_ROUNDS = 3
_ITERATIONS = 4  # of training, a round
_CLOSE = 0.02  # how far a share of single weights may lie from the one asked for


@dataclass(frozen=True)
class _Start:
    """What the trials of a setup begin with."""

    experiment: Experiment
    baseline: BaselineRecord
    iteration: int
    """Env steps of a training iteration."""
    both: bool
    """Whether there is a critic."""


def run_courses(setup: Setup, chosen: Iterable[Course]) -> Iterator[Cell]:
    """Runs trials of a setup from one dense policy, and looks at what must hold.

    Every part that a course names has done something, and as often as it was due; the ratio is
    reached; each round's checkpoint opens with RLlib alone and has as many zeros as the point says;
    what the policy costs can be counted. Ray must run.

    Args:
        setup: one of `SETUPS`.
        chosen: courses without a `refusal`.
    """
    with TemporaryDirectory() as folder:
        start: _Start | None = None
        for number, course in enumerate(chosen):
            try:
                start = start or _start(setup, Path(folder) / "baseline")
                points = _trial(start, course, Path(folder), number)
                problems = tuple(dict.fromkeys(_problems(start, course, points, Path(folder))))
                did = Did.total([point.did for point in points])
                yield Cell(setup, course, points[-1].weight_sparsity, problems, did)
            except Exception as error:
                # Whatever a cell dies of is what the table has to tell.
                yield Cell(setup, course, None, (f"{type(error).__name__}: {one_line(error)}",))


def _start(setup: Setup, folder: Path) -> _Start:
    experiment = small_experiment(setup)
    folder.mkdir()
    algorithm = build(small_config(experiment))
    try:
        for name in ("initial", "early"):
            moments.keep(algorithm, folder, name)
            before = env_steps(algorithm)
            train(algorithm)
        networks = learner.one(algorithm, lambda held: learner.networks_of(held, units=False))
        record = dense(algorithm, experiment, folder)
        # The checkpoint's configuration says how short an iteration is, which no file can.
        source = experiment.baseline.model_copy(update={"checkpoint": record.checkpoint})
        return _Start(
            experiment.model_copy(update={"baseline": source}).trusting(),
            record,
            env_steps(algorithm) - before,
            any(network.role == CRITIC for network in networks.values()),
        )
    finally:
        algorithm.stop()


def _trial(start: _Start, course: Course, folder: Path, number: int) -> list[Point]:
    experiment = start.experiment
    if course.rewind == "learning_rate":
        schedule = {"lr": [[0, 1e-3], [start.baseline.env_steps, 1e-4]]}
        training = {**experiment.algorithm.training, **schedule}
        algorithm = experiment.algorithm.model_copy(update={"training": training})
        experiment = experiment.model_copy(update={"algorithm": algorithm})
    rounds = TrialRounds(
        experiment, StudyFolder(folder, "matrix"), start.baseline, number, _plan(start, course)
    )
    try:
        while not rounds.done:
            rounds.step()
        return rounds.record.points
    finally:
        rounds.stop()


def _plan(start: _Start, course: Course) -> Plan:
    gated, grown = course.schedule == "gated", course.regrowth != "none"
    return Plan(
        granularity=course.granularity,
        criterion="magnitude",
        allocation="uniform",
        scope="both" if start.both else "actor",
        origin=course.origin,
        ratio=None if gated else RATIO,
        critic_ratio=RATIO if start.both and not gated else None,
        schedule=course.schedule,
        start=None if gated else 0.0,
        end=None if gated or (course.schedule == "one_shot" and not grown) else 0.9,
        regrowth=course.regrowth,
        drop_fraction=0.3 if grown else None,
        regrow_every=2 * start.iteration if grown else None,
        rewind=course.rewind,
        rounds=_ROUNDS,
        env_steps=_ROUNDS * _ITERATIONS * start.iteration,
        lr_scale=1.0,
    )


def _problems(start: _Start, course: Course, points: list[Point], folder: Path) -> Iterator[str]:
    did = Did.total([point.did for point in points])
    if did is None:
        yield "what the dynamic parts did was not recorded"
        return
    gradual = course.schedule in ("linear", "cubic", "cosine")
    least = _ROUNDS if gradual or course.schedule == "geometric" else 1
    if did.prunings < least:
        yield f"{did.prunings} prunings, at least {least} were due"
    if course.rewind not in ("none", "learning_rate") and did.rewinds != did.prunings:
        yield f"{did.rewinds} rewinds after {did.prunings} prunings"
    if course.regrowth != "none" and not did.regrowths == did.regrowths_due > 1:
        yield f"{did.regrowths} regrowths, {did.regrowths_due} were due"
    gate = did.gate_pruned + did.gate_held + did.gate_took_back
    if gate != (len(points) if course.schedule == "gated" else 0):
        yield f"{gate} decisions of the gate in {len(points)} rounds"
    reached = points[-1].weight_sparsity
    exact = course.granularity == "weight" and course.schedule != "gated"
    if exact and not math.isclose(reached, RATIO, abs_tol=_CLOSE):
        yield f"{reached:.3f} reached, {RATIO} asked for"
    for point in points:
        yield from (f"no figure for {name}: {why}" for name, why in point.cost_missing.items())
        checkpoint = folder / "matrix" / point.checkpoint / "algorithm" / MODULE_PATH
        module = RLModule.from_checkpoint(checkpoint)
        kept = module.get_state(inference_only=True)
        nonzero = size({k: v for k, v in module.named_parameters() if k in kept}).nonzero
        if nonzero != point.nonzero:
            yield f"checkpoint {point.round}: {nonzero} weights, its point: {point.nonzero}"
