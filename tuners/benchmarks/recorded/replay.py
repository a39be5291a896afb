"""A study without training: the search's own sampler, probes and stopping, on a recorded world."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Protocol

import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState

from prune_search.experiment.pruning import Pruning
from prune_search.experiment.schema import Experiment
from prune_search.plan.plan import Plan
from prune_search.records.models import Point, TrialRecord
from prune_search.records.objectives import OBJECTIVES, objectives
from prune_search.records.reasons import SEARCH_STEPS_USED
from prune_search.records.returns import Return
from prune_search.sparsity.selection.granularities import GRANULARITIES
from prune_search.trial.pruning.targets import level_at, levels
from prune_search.trial.rounds import why_over
from tuners.benchmarks.recorded.world import Seen, World
from tuners.search.database import result_of
from tuners.search.front_stopping import CONTINUE, Decision, FrontStopping
from tuners.search.improvement import Stops, improves
from tuners.search.probes import probe
from tuners.search.samplers import sampler
from tuners.search.space import Space, parameters
from tuners.search.usual import probes_of


class Rule(Protocol):
    """What decides after each round whether a trial goes on."""

    def on_trial_result(self, trial: TrialRecord) -> Decision: ...


def replay(
    world: World, experiment: Experiment, env_steps: int, rule: Rule | None = None
) -> list[TrialRecord]:
    """A study of so many env steps, one trial at a time, in less than a second.

    What a driver does with Tune, Ray and folders is left out; what chooses and stops trials is the
    same code.

    Args:
        world: of the experiment's task.
        experiment: its `search`, seed included, and its `pruning`.
        env_steps: after which the study ends, in the middle of a trial.
        rule: stops trials in place of the experiment's own.

    Returns:
        Its trials, in order.
    """
    search, pruning = experiment.search, experiment.pruning
    goals = list(search.objectives)
    directions = [
        StudyDirection.MINIMIZE if OBJECTIVES[name].minimised else StudyDirection.MAXIMIZE
        for name in goals
    ]
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=directions)
    own = search.stopping
    if rule is None and own is not None:
        rule = FrontStopping(own.confidence, own.gain)
    known: list[TrialRecord] = []
    space = Space(pruning)
    spent = 0
    for number in count():  # as Optuna numbers them: one that goes on is a further one there
        if spent >= env_steps or len(known) >= search.trials:
            break
        given = _given(number, experiment, known)
        if given is not None:
            study.enqueue_trial(parameters(given, pruning))
        study.sampler = sampler(search, number, space, lambda: known, world.baseline, pruning)
        trial = study.ask()
        plan = space(trial)
        begun = getattr(study.sampler, "thaws", None)
        record = begun.going_on() if begun else _begun(number, plan)
        before = record.env_steps
        seen = world.curve(record.plan, _seed(experiment, record.number), search.seed)
        record = _run(world, record, seen, rule, spent - before, env_steps, pruning)
        spent += record.env_steps - before
        if begun:
            known[known.index(begun)] = record
        else:
            known.append(record)
        state, values = result_of(record, goals), None
        if state is TrialState.COMPLETE:
            found = objectives(record, search.retention)
            values = [found[name] for name in goals]
        study.tell(trial, values, state=state)
    return known


def stops(world: World, experiment: Experiment, trials: Sequence[TrialRecord]) -> Stops:
    """How often a replayed study stopped trials, and how often that was wrong.

    A trial's world goes on where it was stopped, and its later rounds are held against the front as
    it was then. What counts as an improvement is what the study's own rule takes for one.

    Args:
        world: that it was replayed in.
        experiment: of the study.
        trials: all of it, in order.
    """
    return _ended_early(world, experiment, trials, lambda one: bool(one.env_steps_saved))


def given_up(world: World, experiment: Experiment, trials: Sequence[TrialRecord]) -> Stops:
    """The same of trials that gave up by themselves, below `pruning.floor`."""
    return _ended_early(world, experiment, trials, lambda one: one.collapsed)


def _ended_early(
    world: World,
    experiment: Experiment,
    trials: Sequence[TrialRecord],
    early: Callable[[TrialRecord], bool],
) -> Stops:
    own = experiment.search.stopping
    gain = own.gain if own else 0.0
    every = [point for trial in trials for point in trial.points]
    ended = wrong = 0
    for trial in filter(early, trials):
        seen = [point for point in every if point.time <= trial.points[-1].time]
        whole = trial
        seeds = _seed(experiment, trial.number), experiment.search.seed
        for each in world.curve(trial.plan, *seeds)[len(trial.points) :]:
            whole = _with_point(world, whole, each, 0)
            # Who would have let a trial run on that gave up would not have it give up later.
            if not trial.collapsed and why_over(whole, experiment.pruning):
                break
        ended += 1
        wrong += improves(whole.points[len(trial.points) :], seen, gain)
    return Stops(ended, wrong)


def _seed(experiment: Experiment, number: int) -> int:
    """Of what happens to a trial."""
    return experiment.search.seed * 1_000_003 + number


def _given(
    number: int, experiment: Experiment, known: list[TrialRecord]
) -> dict[str, object] | None:
    """What the search begins with, trial by trial; None once the sampler chooses."""
    search = experiment.search
    if number < len(search.first):
        return search.first[number]
    number -= len(search.first)
    if number < probes_of(search):
        return probe(number, known, experiment.pruning, search.retention)
    return None


def _begun(number: int, plan: Plan) -> TrialRecord:
    return TrialRecord(number=number, plan=plan, state="running", started=0.0)


def _run(
    world: World,
    record: TrialRecord,
    curve: Sequence[Seen],
    stopping: Rule | None,
    spent: int,
    most: int,
    pruning: Pruning,
) -> TrialRecord:
    """Round by round, until it is over, or stopped, or the study has spent the most it may.

    Args:
        record: of the trial so far.
        curve: all of its rounds.
        spent: by all other trials.
    """
    for seen in curve[len(record.points) :]:
        steps = spent + seen.env_steps
        record = _with_point(world, record, seen, steps)
        over = why_over(record, pruning)
        state = "complete" if over else "running"
        record = record.model_copy(update={"state": state, "reason": over})
        if steps >= most and not over:
            return record.model_copy(update={"state": "stopped", "reason": SEARCH_STEPS_USED})
        decision = stopping.on_trial_result(record) if stopping else CONTINUE
        if over:
            break
        if decision.stop:
            return record.model_copy(update={"state": "stopped", "reason": decision.reason})
    return record


def _with_point(world: World, record: TrialRecord, seen: Seen, steps: int) -> TrialRecord:
    points = [*record.points, _point(world, seen, record, steps)]
    return record.model_copy(update={"points": points})


def _point(world: World, seen: Seen, record: TrialRecord, steps: int) -> Point:
    """A trial's next, as it would have written it; of costs what follows from the sparsity.

    Time passes by the study's env steps.
    """
    parameters_of, weights = world.task.parameters, world.task.weights
    nonzero = max(1, round(parameters_of * (1 - seen.sparsity)))
    structured = GRANULARITIES[record.plan.granularity].structured
    # Of single weights biases stay.
    in_kernels = (parameters_of - nonzero) / (parameters_of if structured else weights)
    value = world.returned(seen.retention)
    return Point(
        trial=record.number,
        round=len(record.points),
        progress=seen.progress,
        target=level_at(record.plan, seen.progress, next(iter(levels(record.plan).values()))),
        sparsity=1 - nonzero / parameters_of,
        weight_sparsity=min(in_kernels, 1.0),
        trained_sparsity=seen.sparsity,
        parameters=parameters_of,
        nonzero=nonzero,
        compression=parameters_of / nonzero,
        returned=Return(
            aggregate="mean", iqm=value, low=value, high=value, episodes=1, each=[value]
        ),
        retention=seen.retention,
        env_steps=seen.env_steps,
        layers={},
        return_pruned=value,
        return_training=None,
        train_s=0.0,
        eval_s=0.0,
        time=float(steps),
        checkpoint="",
    )
