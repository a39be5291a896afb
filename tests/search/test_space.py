"""The search space is conditional, and a plan of it can be asked for by name."""

from __future__ import annotations

import optuna
from hypothesis import given as examples
from hypothesis import settings
from hypothesis import strategies as st
from optuna.trial import FixedTrial

from prune_search.experiment.pruning import Pruning
from prune_search.experiment.search_section import Search
from tuners.search.space import Space, given, parameters

EVERYTHING = Pruning(
    granularity=["weight", "neuron"],
    criterion=["magnitude", "threshold", "random", "gradient", "saliency"],
    scope=["actor", "critic", "both"],
    critic_ratio={"low": 0.1, "high": 0.8},  # type: ignore[arg-type]
    start={"low": 0.0, "high": 0.3},  # type: ignore[arg-type]
    end=[0.5, 0.8],
    rounds={"low": 2, "high": 6},  # type: ignore[arg-type]
    lr_scale=[0.5, 1.0],
)


_ASKED_OFTEN = Space(EVERYTHING)


@settings(max_examples=60)
@examples(st.integers(0, 2**31))
def test_a_plan_has_what_applies_to_it_and_nothing_else(seed: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask()
    plan = Space(EVERYTHING)(trial)
    by_value = plan.criterion == "threshold"
    assert (plan.threshold is not None) == (plan.threshold_unit is not None) == by_value
    assert (plan.ratio is None) == (plan.allocation is None) == by_value
    assert (plan.critic_ratio is not None) == (plan.scope == "both" and not by_value)
    assert (plan.end is None) == (plan.schedule == "one_shot")
    if plan.ratio is not None:
        assert 0.8 - 1e-9 <= plan.ratio <= 0.99 + 1e-9
    assert 2 <= plan.rounds <= 6 and plan.env_steps == 60_000
    assert "env_steps" not in trial.params  # one value is no parameter
    # Asking the same trial again changes nothing, nor does what a space was asked for before.
    assert Space(EVERYTHING)(trial) == _ASKED_OFTEN(trial) == plan


def test_log_ratios_are_even_in_the_logarithm_of_density() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = Pruning(criterion="magnitude", ratio={"low": 0.9, "high": 0.999, "log": True})  # type: ignore[arg-type]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    ratios = [Space(space)(study.ask()).ratio or 0 for _ in range(300)]
    assert 0.4 < sum(ratio > 0.99 for ratio in ratios) / 300 < 0.6


@settings(max_examples=60)
@examples(st.integers(0, 2**31))
def test_a_plan_can_be_asked_for_again(seed: int) -> None:
    """By the fields that an experiment file gives; 1 - (1 - ratio) is not quite the ratio."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    plan = Space(EVERYTHING)(study.ask())
    wanted = given(plan)
    again = Space(EVERYTHING)(FixedTrial(parameters(wanted, EVERYTHING)))
    ratios = {"ratio", "critic_ratio"}
    assert again.model_dump(exclude=ratios) == plan.model_dump(exclude=ratios)
    for name in ratios:
        one, other = getattr(plan, name), getattr(again, name)
        assert (one is None) == (other is None) and abs((one or 0) - (other or 0)) < 1e-12
    Search(first=[wanted])
