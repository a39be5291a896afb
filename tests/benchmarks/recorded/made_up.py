"""A recording that nobody trained: retention falls at a density that the plan's choices decide."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import optuna
from optuna.samplers import RandomSampler

from prune_search.plan.plan import Plan
from prune_search.trial.pruning.targets import plan_schedule
from tests.benchmarks.recorded.test_dataset import TASK
from tuners.benchmarks.recorded.tasks import experiment
from tuners.recordings.dataset import Recording, Round, Trial
from tuners.search.space import Space

DENSE, RANDOM, EPISODES = 500.0, 20.0, 10


def drawn(name: str, count: int) -> list[Plan]:
    """Random plans of a task's space."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = Space(experiment(name, count, "nowhere").pruning)
    study, found = optuna.create_study(sampler=RandomSampler(seed=0)), []
    for _ in range(count):
        trial = study.ask()
        found.append(space(trial))
        study.tell(trial, 0.0)
    return found


def retention(plan: Plan, sparsity: float) -> float:
    """What a plan keeps: saliency goes furthest, random breaks early, training longer helps."""
    good = {"saliency": 4.0, "magnitude": 3.5, "random": 1.0}.get(plan.criterion, 2.5)
    good += 0.5 * math.log(plan.env_steps / 30_000) - (plan.origin == "scratch")
    return 1 / (1 + math.exp(3 * (-math.log(1 - sparsity) - good)))


@cache
def recording(trials: int, seed: int = 0) -> Recording:
    """Of CartPole's space."""
    generator = np.random.default_rng(seed)
    return _made(
        [
            Trial(number=number, seed=seed, plan=plan, rounds=rounds(plan, generator))
            for number, plan in enumerate(drawn("cartpole", trials))
        ]
    )


def twice(trials: int, of_plan: float, of_seed: float) -> Recording:
    """Each plan with two seeds: it keeps more or less than it should, and so does each seed.

    Args:
        trials: plans.
        of_plan: standard deviation of a plan's own retention.
        of_seed: of a seed's.
    """
    generator = np.random.default_rng(1)
    found = []
    for number, plan in enumerate(drawn("cartpole", trials)):
        own = generator.normal(0, of_plan)
        for seed in (0, 1):
            more = own + generator.normal(0, of_seed)
            made = rounds(plan, generator, more)
            found.append(Trial(number=number, seed=seed, plan=plan, rounds=made))
    return _made(found)


def _made(trials: list[Trial]) -> Recording:
    task = TASK.model_copy(update={"dense": [DENSE], "random": [RANDOM]})
    return Recording(task=task, trials=trials)


def rounds(plan: Plan, generator: np.random.Generator, more: float = 0.0) -> list[Round]:
    """A trial's, in all of which so much more is kept."""
    schedule, found = plan_schedule(plan), []
    assert schedule is not None
    for number in range(plan.rounds):
        progress = (number + 1) / plan.rounds
        aim = 0.6 if plan.ratio is None or plan.scope == "critic" else plan.ratio
        sparsity = 0.98 * schedule.at(progress, aim)
        kept = retention(plan, sparsity) + more + generator.normal(0, 0.02, EPISODES)
        found.append(
            Round(
                progress=progress,
                env_steps=round(progress * plan.env_steps),
                sparsity=sparsity,
                weight_sparsity=sparsity,
                trained_sparsity=sparsity,
                compact=None,
                compact_nonzero=None,
                returns=(RANDOM + kept * (DENSE - RANDOM)).tolist(),
                return_pruned=RANDOM,
            )
        )
    return found
