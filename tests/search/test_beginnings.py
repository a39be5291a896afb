"""What a study begins with: grids, screenings, earlier studies; and samplers' options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
import pytest

from prune_search.errors import UserError
from prune_search.experiment.file import dump
from prune_search.experiment.pruning import Pruning
from prune_search.records.folder import StudyFolder
from prune_search.records.layer_curves import SensitivityPoint, SensitivityRecord
from prune_search.records.models import StudyRecord, TrialRecord
from prune_search.records.objectives import objectives
from prune_search.records.reasons import SEARCH_TIME_USED
from tests.studies import BASELINE, STARTED, make_point, returned
from tuners.search.beginnings import FROM, check_warm_start, grid, ranked, screened
from tuners.search.samplers import check_sampler, sampler
from tuners.search.schedulers import scheduler
from tuners.search.searcher import StudySearch
from tuners.search.space import Space
from tuners.study.creation import create

LISTS = [
    "pruning.criterion=[magnitude, threshold]",
    "pruning.allocation=[erk, global]",
    "pruning.schedule=[cubic, one_shot]",
    "pruning.ratio=[0.8, 0.9]",
    "pruning.threshold=0.5",
    "search.sampler=grid",
    "search.trials=50",
]


def opened(experiment: Any, path: Path, name: str, **more: Any) -> StudySearch:
    folder = StudyFolder(path, name)
    folder.path.mkdir(exist_ok=True)
    return StudySearch(experiment, folder, **more)


def test_a_grid_is_every_combination_once(tiny: Any) -> None:
    """Conditional: a threshold has neither a ratio nor an allocation."""
    found = list(grid(tiny(*LISTS).pruning))
    assert len(found) == 2 * 2 * 2 + 2
    assert len({str(sorted(one.items())) for one in found}) == len(found)
    assert [one["ratio"] for one in found[:2]] == [0.8, 0.9]  # the last field changes first
    assert sum(one["criterion"] == "threshold" for one in found) == 2


@pytest.mark.slow
def test_a_grid_study_runs_its_combinations_in_order_and_no_more(tiny: Any, tmp_path: Path) -> None:
    experiment = tiny(*LISTS)
    plans = []
    for number in range(10):
        searcher = opened(experiment, tmp_path, "study")  # each time a new driver
        assert searcher.trials == 10 and not searcher.done
        config = searcher.suggest("a")
        assert config is not None and config["number"] == number
        plans.append(config["plan"])
        searcher.on_trial_complete("a", {"retention": 1.0, "compression": 2.0})
    assert searcher.done and searcher.suggest("b") == searcher.FINISHED
    assert len({str(plan) for plan in plans}) == 10
    assert [plan["ratio"] for plan in plans[:4]] == [0.8, 0.9, 0.8, 0.9]
    assert opened(tiny(*LISTS, "search.trials=3"), tmp_path, "few").trials == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["pruning.ratio={low: 0.5, high: 0.9}"], "a grid takes lists, and pruning.ratio is"),
        (["pruning.ratio={low: 0.5, high: 0.9, log: true}"], "lists, and pruning.ratio is a range"),
        (["pruning.allocation=searched"], "a grid takes lists, and the density of layers"),
        (["search.sampler_options={seed: 1}"], "search.sampler_options: a grid has none"),
    ],
)
def test_what_a_grid_cannot_do(tiny: Any, changes: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_sampler(tiny(*LISTS, *changes))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("tpe", "{n_startup: 3}", "unknown 'n_startup', did you mean n_startup_trials. known"),
        ("tpe", "{seed: 3}", "unknown 'seed'; known are:"),
        ("random", "{population_size: 3}", "of random: unknown 'population_size'"),
        ("tpe", "{n_ei_candidates: many}", "n_ei_candidates': 'many'"),
        ("nsga2", "{population_size: 1}", "`population_size` must be greater than or equal to 2"),
    ],
)
def test_options_that_a_sampler_lacks(tiny: Any, name: str, options: str, message: str) -> None:
    experiment = tiny(f"search.sampler={name}", f"search.sampler_options={options}")
    with pytest.raises(UserError, match=message) as caught:
        check_sampler(experiment)
    assert str(caught.value).startswith("search.sampler_options") and "\n" not in str(caught.value)


def test_options_reach_the_sampler(tiny: Any) -> None:
    experiment = tiny("search.sampler=nsga2", "search.sampler_options={population_size: 6}")
    check_sampler(experiment)
    space = Space(experiment.pruning)
    assert sampler(experiment.search, 3, space, list)._population_size == 6  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "{name: asha, options: {max_time: 3}}",
            "of asha: unknown 'max_time', did you mean max_t. known are:",
        ),
        ("{name: asha, options: {metric: return}}", "unknown 'metric'; known are:"),
        ("{name: asha, options: {reduction_factor: 1}}", "Reduction Factor not valid!"),
        ("{name: median_stopping, options: {hard_stop: false}}", "unknown 'hard_stop'"),
    ],
)
def test_options_that_a_scheduler_lacks(tiny: Any, given: str, message: str) -> None:
    experiment = tiny("search.objectives=[macs]", f"search.scheduler={given}")
    with pytest.raises(UserError, match=message) as caught:
        scheduler(experiment)
    assert str(caught.value).startswith("search.scheduler.options")


def test_a_scheduler_counts_env_steps_in_the_objectives_direction(tiny: Any) -> None:
    made = scheduler(tiny("search.objectives=[macs]", "search.scheduler={name: median_stopping}"))
    assert made is not None and (made._time_attr, made._metric) == ("env_steps", "macs")
    assert made._compare_op is min and made._grace_period == 1_000
    assert scheduler(tiny()) is None


def earlier(tiny: Any, storage: Path, *changes: str) -> StudyFolder:
    """Five trials: two complete, one stopped, one with a ratio of 0.5, one cut off."""
    space = ["pruning.criterion=magnitude", "pruning.ratio={low: 0.5, high: 0.95}"]
    experiment = tiny(*space, "search.trials=5", *changes, storage=storage)
    folder = StudyFolder(storage, "earlier")
    searcher = opened(experiment, storage, "earlier")
    folder.experiment_file.write_text(dump(experiment))
    folder.write_study(StudyRecord(name="earlier", started=STARTED, baseline=BASELINE))
    for number in range(4):
        config = searcher.suggest(f"a{number}")
        assert config is not None
        plan = {**config["plan"], "ratio": [0.9, 0.8, 0.9, 0.5][number]}
        record = TrialRecord(
            number=number,
            plan=plan,  # type: ignore[arg-type]
            state="stopped" if number == 2 else "complete",
            started=STARTED,
            points=[make_point(number, 1, plan["ratio"], 480).model_copy(update={"macs": 4_000})],
        )
        folder.write_trial(record)
        searcher.on_trial_complete(f"a{number}", {"retention": 1.0, "compression": 2.0})
    cut_off = record.model_dump() | {"number": 4, "reason": SEARCH_TIME_USED}
    cut_off["plan"]["ratio"] = 0.85  # which the new study could have had
    folder.trial_path(4).mkdir()
    folder.trial_file(4).write_text(json.dumps(cut_off))  # complete, as earlier versions wrote it
    return folder


def test_a_study_learns_from_those_trials_of_another_that_it_could_have_had(
    tiny: Any, tmp_path: Path
) -> None:
    """Also under other objectives and with more choices; its own trials count from there on."""
    folder = earlier(tiny, tmp_path)
    experiment = tiny(
        "pruning.ratio={low: 0.7, high: 0.99, log: true}",
        "pruning.criterion=[magnitude, saliency]",
        "search.objectives=[sparsity, macs]",
        "search.constraints.max_parameters=500",
        "search.warm_start=[earlier]",
        "search.first=[{ratio: 0.75}]",
        storage=tmp_path,
    )
    check_warm_start(experiment)
    for _ in range(2):  # a driver that goes on adds nothing
        searcher = opened(experiment, tmp_path, "new")
        study = optuna.load_study(study_name="new", storage=searcher._folder.optuna_url)
        told = [trial for trial in study.trials if FROM in trial.user_attrs]
        assert [trial.user_attrs[FROM] for trial in told] == [f"earlier/t0{n}" for n in range(3)]
        assert not searcher.done
    for trial, ratio in zip(told, (0.9, 0.8, 0.9), strict=True):
        figures = objectives(folder.trials()[trial.number], 0.95)
        assert trial.values == [figures["sparsity"], figures["macs"]]
        assert trial.params["criterion"] == "magnitude"
        assert trial.params["ratio_density"] == pytest.approx(1 - ratio)
        assert set(trial.constraints) == {"max_parameters"}
    config = searcher.suggest("a")
    assert config is not None and config["number"] == 3
    assert config["plan"]["ratio"] == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("search.warm_start=[none]", "search.warm_start: name: no study 'none' in"),
        ("algorithm.training.lr=0.1", "study 'earlier' has another baseline"),
        ("evaluation.episodes=7", "study 'earlier' has another baseline"),
        ("pruning.layers=['*encoder*']", "study 'earlier' has another pruning.layers"),
    ],
)
def test_studies_that_cannot_be_learned_from(
    tiny: Any, tmp_path: Path, change: str, message: str
) -> None:
    earlier(tiny, tmp_path)
    experiment = tiny("search.warm_start=[earlier]", change, storage=tmp_path)
    with pytest.raises(UserError, match=message):
        create(experiment, "new", "new")
    assert not (tmp_path / "new").exists()


def sensitive(criterion: str, *retentions: float, granularity: str = "weight") -> SensitivityRecord:
    points = [
        SensitivityPoint(asked=0.5, ratio=0.5, retention=kept, returned=returned(kept))
        for kept in retentions
    ]
    return SensitivityRecord(
        environment="CartPole-v1", granularity=granularity, criterion=criterion, baseline="b",
        layers=["*"], seed=0, episodes=6, dense=returned(500), random=returned(20),
        weights={"a": 10, "b": 10}, points={"a": points[:1], "b": points[1:]}, flat=[],
    )  # fmt: skip


def test_what_a_screening_finds_comes_first(tiny: Any, tmp_path: Path) -> None:
    records = [
        sensitive("random", 0.1, 0.2),
        sensitive("saliency", 0.9, 0.8),
        sensitive("magnitude", 0.6, 0.7, granularity="neuron"),
    ]
    space = Pruning(
        granularity=["weight", "neuron"],
        criterion=["magnitude", "saliency", "random"],
        allocation=["erk", "sensitivity"],
    )
    found = ranked(records, space)
    assert [(one["granularity"], one["criterion"]) for one in found] == [
        ("weight", "saliency"),
        ("neuron", "magnitude"),
        ("weight", "random"),
    ]
    assert {one["allocation"] for one in found} == {"sensitivity"}
    assert "allocation" not in ranked(records, Pruning(criterion=["random", "saliency"]))[0]
    experiment = tiny("search.trials=9").model_copy(update={"pruning": space})
    searcher = opened(experiment, tmp_path, "study", screened=found)
    for expected in found:
        config = searcher.suggest(expected["criterion"])
        assert config is not None and expected.items() <= config["plan"].items()
        searcher.on_trial_complete(expected["criterion"], {"retention": 1.0, "compression": 2.0})
        searcher = opened(experiment, tmp_path, "study")  # a new driver, which screens no more


@pytest.mark.slow
def test_a_screening_measures_every_criterion_once(
    tiny: Any, baseline: Any, tmp_path: Path
) -> None:
    """Threshold can't be screened; the records stay for trials that need them."""
    experiment = tiny("search.screening=2", "pruning.ratio=0.9")
    folder = StudyFolder(tmp_path, "study")
    found = screened(experiment, folder, baseline)
    assert sorted(one["criterion"] for one in found) == ["magnitude", "saliency"]
    assert len(list(folder.path.glob("sensitivity/*.json"))) == 2
    assert screened(experiment, folder, baseline) == found
