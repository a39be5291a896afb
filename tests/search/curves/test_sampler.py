"""The sampler learns from rounds, of trials that run too; through Optuna, and in studies."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from prune_search.experiment.schema import Experiment
from prune_search.records.fronts import log_hypervolume
from prune_search.records.models import TrialRecord
from tests.benchmarks.recorded.made_up import recording
from tests.search.test_searcher import EVERYTHING
from tuners.benchmarks.recorded.compare import searches
from tuners.benchmarks.recorded.replay import replay
from tuners.benchmarks.recorded.tasks import experiment
from tuners.benchmarks.recorded.world import World
from tuners.search.curves.sampler import CurveSampler
from tuners.search.samplers import check_sampler, sampler
from tuners.search.space import suggest

STEPS = 900_000


@pytest.fixture(scope="module")
def world() -> World:
    return World(recording(80))


def with_sampler(chosen: Experiment, name: str, **options: Any) -> Experiment:
    changes = {"sampler": name, "sampler_options": options}
    return chosen.model_copy(update={"search": chosen.search.model_copy(update=changes)})


@pytest.mark.slow
def test_it_gets_further_than_random_choices_in_as_many_env_steps(world: World) -> None:
    found: dict[str, list[float]] = {"random": [], "curves": []}
    for seed in range(4):
        random = searches(recording(1), seed, STEPS)["random"].experiment
        for name, each in found.items():
            trials = replay(world, with_sampler(random, name), STEPS)
            each.append(log_hypervolume([point for trial in trials for point in trial.points]))
    assert np.mean(found["curves"]) > np.mean(found["random"]) + 0.02


def asked(known: list[TrialRecord], seed: int = 0, pruning: Any = None) -> dict[str, Any]:
    """The parameters of the next trial."""
    pruning = pruning or experiment("cartpole", 1, ".").pruning
    space = partial(suggest, pruning=pruning)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in known:  # as many as there are, so that parents are found by their number
        space(study.ask())
    study.sampler = CurveSampler(seed, space, lambda: known)
    trial = study.ask()
    space(trial)
    return trial.params


@pytest.fixture(scope="module")
def known(world: World) -> list[TrialRecord]:
    random = searches(recording(1), 0, STEPS)["random"].experiment
    return replay(world, random, STEPS)


def test_what_it_suggests_follows_from_seed_and_records_alone(known: list[TrialRecord]) -> None:
    assert asked(known) == asked(known) != asked(known, seed=1)
    assert asked(known) != asked(known[:5])


def test_rounds_of_running_trials_count(known: list[TrialRecord]) -> None:
    started = known[-1].model_copy(update={"state": "running", "ended": None})
    few = started.model_copy(update={"points": known[-1].points[:1]})
    assert asked([*known[:-1], few]) != asked([*known[:-1], started])


def test_what_runs_is_not_begun_again(world: World, known: list[TrialRecord]) -> None:
    chosen = asked(known)
    plan = suggest(optuna.trial.FixedTrial(chosen), experiment("cartpole", 1, ".").pruning)
    begun = known[0].model_copy(
        update={"number": len(known), "plan": plan, "state": "running", "points": []}
    )
    other = asked([*known, begun])
    assert other != chosen
    plan = suggest(optuna.trial.FixedTrial(other), experiment("cartpole", 1, ".").pruning)
    assert plan != begun.plan


def test_until_there_are_trials_it_draws_at_random(known: list[TrialRecord]) -> None:
    assert asked([]) == asked(known[:3])
    options = searches(recording(1), 0, STEPS)["random"].experiment.search.model_copy(
        update={"sampler": "curves", "sampler_options": {"startup": 2}}
    )
    space = partial(suggest, pruning=experiment("cartpole", 1, ".").pruning)
    made = sampler(options, 3, space, lambda: known[:2])
    study = optuna.create_study(sampler=made)
    trial = study.ask()
    space(trial)
    assert made._chosen  # type: ignore[attr-defined]


def test_spaces_of_every_kind(known: list[TrialRecord]) -> None:
    wide = EVERYTHING.model_copy(
        update={"allocation": ["erk", "searched"], "schedule": ["cubic", "gated"]}
    )
    space = partial(suggest, pruning=wide, layers=("one", "two"))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in known:
        space(study.ask())
    study.sampler = CurveSampler(0, space, lambda: known)
    assert space(study.ask()).env_steps == 60_000


def test_its_options_are_checked(tmp_path: Path) -> None:
    chosen = experiment("cartpole", 4, str(tmp_path))
    check_sampler(with_sampler(chosen, "curves", startup=6))
    with pytest.raises(Exception, match="sampler_options"):
        check_sampler(with_sampler(chosen, "curves", start=6))
    with pytest.raises(Exception, match=r"startup: must be a whole number from 1 on, got 0"):
        check_sampler(with_sampler(chosen, "curves", startup=0))
