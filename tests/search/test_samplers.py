"""Samplers: what they heed, and that stopped trials don't mislead them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from prune_search.errors import UserError
from prune_search.experiment.pruning import Pruning
from prune_search.experiment.search_section import Search, Stopping
from prune_search.records.folder import StudyFolder
from prune_search.records.models import TrialRecord
from prune_search.records.objectives import objectives as figures_of
from tests.plans import plan
from tests.search.test_space import EVERYTHING
from tests.studies import BASELINE, make_point
from tuners.search.database import result_of
from tuners.search.front_stopping import FrontStopping
from tuners.search.samplers import SAMPLERS, check_sampler, sampler
from tuners.search.searcher import StudySearch
from tuners.search.space import Space
from tuners.search.usual import fallen_back, probes_of, sampler_of

SPACE = Space(EVERYTHING)


@pytest.mark.parametrize(
    ("changes", "named", "probes"),
    [
        ([], "curves", 0),
        (["search.objectives=[retention, log_hypervolume]"], "curves", 0),
        (["search.probes=2"], "curves", 2),
        (["search.objectives=[retention, macs]"], "tpe", 4),
        (["search.constraints={max_macs: 900}"], "tpe", 4),
        (["search.warm_start=[earlier]"], "tpe", 4),
        (["search.sampler=tpe"], "tpe", 4),
        (["search.sampler=random", "search.probes=0"], "random", 0),
        (["search.sampler=curves"], "curves", 0),
    ],
)
def test_auto_is_curves_where_curves_looks_at_all_that_is_asked_for(
    tiny: Any, changes: list[str], named: str, probes: int
) -> None:
    experiment = tiny(*changes)
    assert (sampler_of(experiment.search), probes_of(experiment.search)) == (named, probes)
    check_sampler(experiment)
    found = sampler(experiment.search, 0, Space(experiment.pruning), list)
    assert isinstance(found, SAMPLERS[named].kind)
    falls_back = not any("sampler" in change for change in changes) and named == "tpe"
    assert bool(fallen_back(experiment.search)) == falls_back


def test_options_are_of_a_sampler_that_is_named(tiny: Any) -> None:
    with pytest.raises(UserError, match="must name the sampler that they are of"):
        tiny("search.sampler_options={startup: 2}")


@pytest.mark.slow
def test_the_sampler_heeds_constraints(tiny: Any, tmp_path: Path) -> None:
    """The better the compression, the more it breaks the limit: the best there is lies at it."""
    experiment = tiny(
        "pruning.criterion=magnitude", "pruning.scope=actor",
        "pruning.schedule=cubic", "pruning.allocation=uniform",
        "pruning.ratio={low: 0.1, high: 0.9}", "search.trials=45",
    )  # fmt: skip
    folder = StudyFolder(tmp_path, "study")
    folder.path.mkdir()
    searcher, ratios = StudySearch(experiment, folder), []
    for number in range(45):
        config = searcher.suggest(f"a{number}")
        assert config is not None
        ratios.append(config["plan"]["ratio"])
        figures = {"retention": 1.0, "compression": ratios[-1]}
        searcher.on_trial_complete(
            f"a{number}", {**figures, "constraints/max_macs": ratios[-1] - 0.4}
        )
    off = [abs(ratio - 0.4) for ratio in ratios]
    assert sum(off[-15:]) < 0.8 * sum(off[:15])
    study = optuna.load_study(study_name="study", storage=folder.optuna_url)
    best = [trial.params["ratio"] for trial in study.best_trials]
    assert best == [max(ratio for ratio in ratios if ratio <= 0.4)]
    assert study.trials[3].constraints == {"max_macs": pytest.approx(ratios[3] - 0.4)}


def share_of_the_better(as_pruned: bool, seed: int) -> float:
    """How many of a study's later trials have the criterion that bears three times the sparsity.

    Trials are made up; the sampler and the rule that stops them are a study's. One in four by
    chance.
    """
    rng, objectives = random.Random(seed), ("retention", "compression")
    study = optuna.create_study(directions=["maximize"] * 2)
    rule, chosen = FrontStopping(0.8, Stopping().gain), []
    for number in range(40):
        study.sampler = sampler(Search(sampler="tpe", seed=seed), number, SPACE, list)
        asked = study.ask()
        chosen.append(asked.suggest_categorical("criterion", [*"abcd"]) == "a")
        ratio = 1 - asked.suggest_float("ratio_density", 0.01, 0.5, log=True)
        breaks = 0.01 if chosen[-1] else 0.03  # density
        record = TrialRecord(number=number, plan=plan(ratio=ratio), state="running", started=0.0)
        for at in range(1, 7):
            sparsity = ratio * min(1, at / 4) ** 0.3
            kept = (1 - 0.2 * 0.5**at) / (1 + (breaks / (1 - sparsity)) ** 3)
            iqm = BASELINE.return_at(kept + rng.gauss(0, 0.05))
            points = [*record.points, make_point(number, at, sparsity, iqm)]
            state = "complete" if at == 6 else "running"
            record = record.model_copy(update={"points": points, "state": state})
            if rule.on_trial_result(record).stop:
                record = record.model_copy(update={"state": "stopped"})
                break
        figures = figures_of(record, 0.95)
        told = result_of(record, objectives)
        if as_pruned and record.state == "stopped":
            told = TrialState.PRUNED
        values = [figures[name] for name in objectives]
        study.tell(asked, values if told is TrialState.COMPLETE else None, state=told)
    return sum(chosen[20:]) / 20


@pytest.mark.slow
def test_a_better_criterion_is_found_though_trials_are_stopped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Told as pruned, it would be punished for having made the front that it can't improve."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    seeds = 40  # a mean's standard error is 0.02
    shares = {
        name: sum(share_of_the_better(as_pruned, seed) for seed in range(seeds)) / seeds
        for name, as_pruned in (("stopped", False), ("as pruned", True))
    }
    with capsys.disabled():
        told = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        print(f"\nthe better criterion among later trials: {told}; by chance 25%")
    assert shares["stopped"] > shares["as pruned"] + 0.05
    assert shares["stopped"] > 0.4


def test_samplers_differ_by_trial() -> None:
    space = Pruning(ratio={"low": 0.1, "high": 0.9}, criterion="magnitude")  # type: ignore[arg-type]
    drawn = set()
    for number in range(5):
        study = optuna.create_study(sampler=sampler(Search(sampler="random"), number, SPACE, list))
        drawn.add(Space(space)(study.ask()).ratio)
    assert len(drawn) == 5
