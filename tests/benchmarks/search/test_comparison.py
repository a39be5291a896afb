"""The benchmark of the search: what is compared, the ratio's arithmetic, and a tiny run of it."""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
from pathlib import Path, PurePath
from typing import Any

import pytest

from prune_search.experiment.file import dump, load, parse, presets
from prune_search.experiment.schema import Experiment
from prune_search.records.folder import StudyFolder
from prune_search.records.models import FinalRecord
from prune_search.records.returns import Return
from prune_search.rllib.evaluation.checkpoint_meter import CheckpointMeter
from prune_search.trial.preflight import check
from tests.experiment.test_examples import PRESETS, needed
from tests.studies import make_trial
from tuners import cli
from tuners.benchmarks.differences import speed
from tuners.benchmarks.search.arms import GRID, arms
from tuners.benchmarks.search.comparison import Result
from tuners.benchmarks.search.front_history import final_curves
from tuners.benchmarks.search.page import page

ARMS = ["default", "probes", "grid"]
DOCS = Path(__file__).parents[3] / "docs"


def test_the_arms_differ_in_the_search_alone(tiny: Any) -> None:
    experiment = tiny("search.trials=7", "search.time_s=60")
    found = arms(experiment, seed=3, env_steps=13_000)
    names = ["default", "unstopped", "probed tpe", "probed", "random", "expert", "grid"]
    assert list(found) == names
    for settings in found.values():
        assert settings.baseline == experiment.baseline
        assert settings.evaluation == experiment.evaluation
        assert (settings.search.env_steps, settings.search.seed) == (13_000, 3)
        assert settings.search.time_s is None
        assert parse(dump(settings)) == settings  # as a study's folder keeps it
    default, unstopped, tpe, probed, random, expert, grid = found.values()
    for searched in (default, unstopped, tpe, probed, random):
        assert searched.pruning == experiment.pruning
    assert default.search.stopping and default.search.sampler == "curves"
    assert default.search.sampler_options == {"without": experiment.environment.id}
    assert default.search.probes == 0
    # Each differs in one thing from another.
    assert unstopped.search == default.search.model_copy(update={"stopping": None})
    assert tpe.search.stopping and (tpe.search.sampler, tpe.search.probes) == ("tpe", 4)
    others = {"sampler": "random", "stopping": None}
    assert probed.search == tpe.search.model_copy(update=others)
    assert random.search == probed.search.model_copy(update={"probes": 0})
    assert expert.search.trials == 7  # each takes a trial's 2,000 env steps
    assert expert.pruning.ratio == [0.99] and expert.pruning.allocation == "erk"
    assert (expert.pruning.origin, expert.pruning.schedule) == ("baseline", "geometric")
    # Even if every trial were stopped after the first of its two rounds of 1,000 env steps.
    assert default.search.trials == random.search.trials == 13
    assert grid.search.trials == 3  # each takes the baseline's 6,000 env steps
    assert [given["ratio"] for given in grid.search.first] == [0.5, 0.8, 0.9]
    assert grid.pruning.origin == "scratch" and grid.pruning.ratio == list(GRID)


def test_what_is_done_by_hand_uses_its_env_steps_where_trials_are_given_up(tiny: Any) -> None:
    """Each of two rounds, which may end after the first."""
    found = arms(tiny("pruning.patience=1"), seed=0, env_steps=13_000)
    assert found["expert"].search.trials == len(found["expert"].search.first) == 13
    assert found["grid"].search.trials == 5
    assert [given["ratio"] for given in found["grid"].search.first][:3] == [0.5, 0.8, 0.9]


def test_where_neurons_may_go_an_expert_would_prune_neurons_too(tiny: Any) -> None:
    found = arms(tiny("pruning.granularity=[weight, neuron]"), seed=0, env_steps=13_000)
    neurons, weights = found["expert, neurons"].pruning, found["expert"].pruning
    assert (weights.granularity, neurons.granularity) == ("weight", "neuron")
    assert neurons.model_copy(update={"granularity": "weight"}) == weights


def test_where_the_file_s_sampler_is_another_it_is_compared_with_curves(tiny: Any) -> None:
    options = ("search.sampler=nsga2", "search.sampler_options={population_size: 6}")
    found = arms(tiny(*options, "search.probes=2"), seed=0, env_steps=13_000)
    samplers = {name: each.search.sampler for name, each in found.items()}
    assert samplers["default"] == samplers["unstopped"] == "nsga2"
    assert samplers["curves"] == "curves" and found["curves"].search.probes == 0
    assert samplers["probed tpe"] == "tpe" and found["probed tpe"].search.probes == 2
    for settings in found.values():  # none is given another's options
        check(settings)


def test_a_search_that_curves_would_refuse_is_compared_with_the_others(tiny: Any) -> None:
    for asked in ("search.constraints={max_macs: 900}", "search.objectives=[retention, macs]"):
        found = arms(tiny(asked), seed=0, env_steps=13_000)
        assert "curves" not in found and {"default", "random", "expert"} <= found.keys()
        assert found["default"].search.sampler == "tpe" and "probed tpe" not in found
        for settings in found.values():
            check(settings)


@pytest.mark.parametrize(
    "preset",
    [
        pytest.param(name, marks=[] if name in ("cartpole", "pendulum") else [pytest.mark.slow])
        for name in presets()
    ],
)
def test_every_preset_can_be_compared(preset: str) -> None:
    needed(PRESETS.get(preset, ()))
    for settings in arms(load(preset), seed=0, env_steps=500_000).values():
        assert isinstance(settings, Experiment)
        check(settings)


def test_plans_that_no_file_can_ask_for_are_refused_before_any_training(refusal: Any) -> None:
    told = refusal(
        *("benchmark", "search", "--preset", "cartpole", "--retrain", "2"),
        *("--set", "pruning.allocation=[uniform, searched]"),
    )
    assert "--retrain: must be 0 where pruning.allocation may be searched" in told


def test_a_search_without_points_has_no_curve(tiny: Any, tmp_path: Path) -> None:
    failed = make_trial(0, rounds=0, state="failed")
    assert final_curves(StudyFolder(tmp_path, "failed"), tiny(), [failed]) == ([], [])


def test_the_ratio_of_env_steps() -> None:
    """The default reaches 0.8 at 200 or 400 of 1,000 env steps, 0.9 at 600 or never."""
    curves = [[(100, 0.5), (200, 0.85), (600, 0.9)], [(400, 0.8), (1_000, 0.8)]]
    found = speed(curves, [0.8, 0.8], env_steps=1_000)
    assert (found.median, found.reached) == (0.4, 1.0)
    assert found.quartiles == (0.2, 0.4) and found.interval == (0.2, 0.4)
    found = speed(curves, [0.9], env_steps=1_000)
    assert found.reached == 0.5 and found.median == math.inf
    assert found.interval == (0.6, math.inf)
    assert speed(curves[:1], [0.7], env_steps=400).median == 0.5


def test_the_baseline_s_env_steps_can_be_counted_too() -> None:
    found = speed([[(200, 0.85)]], [0.8], env_steps=1_000 + 600, before=600)
    assert found.median == 0.5
    assert speed([[(200, 0.85)]], [0.8], env_steps=1_000, before=600).median == 0.8


def is_the_page_of(found: dict[str, Any], arguments: list[str]) -> None:
    text, result = Path("found.md").read_text(), Result.of_json(found)
    assert result.to_json() == found and text == page(result, PurePath("found.png"))
    block = text.split("```bash\n")[1].split("```")[0]
    told = ["prune-search", "benchmark", "search", *arguments, "--to", "found.json"]
    assert shlex.split(block.replace("\\\n", " ")) == told
    default, _, grid = (one["final_log_curve"] for one in found["studies"])
    assert f"{default[-1][1]:.3f} [" in text and not grid and " | 0.000 [0.000, 0.000] |" in text


@pytest.mark.slow
def test_a_tiny_benchmark_runs_studies_and_finds_them_again(
    tiny: Any, shared_storage: Path, baseline: Any, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    # A search that begins with probes.
    changes = ("pruning.env_steps=1000", "pruning.rounds=1", "pruning.ratio=0.3")
    brief = tiny(*changes, "search.sampler=tpe")
    Path("tiny.yaml").write_text(dump(brief))
    arguments = [
        "--preset",
        "tiny.yaml",
        "--seeds",
        "1",
        "--env-steps",
        "1100",
        "--against",
        "grid",
        "--retrain",
        "2",
        "--run-on",
    ]
    arguments += ["--storage", str(shared_storage)]

    def run(*more: str) -> tuple[int, str]:
        words = ["prune-search", "benchmark", "search", *arguments, *more]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        read = capsys.readouterr()
        return int(ended.value.code or 0), read.out + read.err

    code, text = run("--to", "found.json")
    assert code == 0, text
    assert "2/2 benchmark-tiny-grid-1100-0: hypervolume" in text
    assert "the hypervolume of probes / probes's" in text and "of grid / grid's" in text
    assert text.count("with the baseline's") == 2
    assert "default: 0 of 0 trials that it stopped" in text  # the grid stops none
    found = json.loads(Path("found.json").read_text())
    assert Path("found.png").stat().st_size > 5_000
    is_the_page_of(found, arguments[: arguments.index("--storage")])
    assert [one["arm"] for one in found["studies"]] == ARMS
    for one in found["studies"]:
        folder = shared_storage / one["study"]
        assert json.loads((folder / "study.json").read_text())["ended"]
        assert one["env_steps"] >= 1_000
        assert len(one["final_curve"]) <= sum(1 for _ in folder.glob("trials/*/round-*"))
    assert found["studies"][0]["curve"]  # the grid's one round lies beyond the env steps
    assert found["studies"][0]["final_curve"]
    assert list(found["ratios"]) == ARMS[1:]
    default, probes, grid = (one["anew"] for one in found["studies"])
    assert len(default) == len(grid) == 2 and probes == []
    assert min(default) >= 0
    again = StudyFolder(shared_storage, "benchmark-tiny-default-1100-0-anew-2").trials()
    plans = {trial.plan.model_dump_json() for trial in again}
    assert len(again) == 2 * len(plans) and all(trial.state == "complete" for trial in again)
    trained = {trial.points[0].return_training for trial in again}
    assert len(trained) == len(again)  # each in a training of its own
    study = StudyFolder(shared_storage, "benchmark-tiny-default-1100-0").trials()
    assert plans <= {trial.plan.model_dump_json() for trial in study}
    trials = sorted(shared_storage.glob("benchmark-*/trials/*/trial.json"))
    before = [path.stat().st_mtime_ns for path in trials]
    assert run("--to", "found.json")[0] == 0
    assert json.loads(Path("found.json").read_text()) == found
    assert [path.stat().st_mtime_ns for path in trials] == before
    code, text = run("--set", "search.retention=0.5")
    assert code == 2 and "was run with other settings; give another --storage" in text
    assert run("--to", "found.png")[0] == run("--to", "found.md")[0] == 2
    code, text = run("--against", "luck")
    assert code == 2 and "known are: curves, expert, grid, probed, random, unstopped" in text


def test_a_search_s_fronts_are_measured_on_the_final_seeds(
    tiny: Any, baseline: Any, shared_storage: Path, tmp_path: Path
) -> None:
    """What is on the last front has been measured; what was on an earlier one is measured now."""
    experiment = tiny(storage=shared_storage)
    folder = StudyFolder(tmp_path, "made-up")
    better, worse = Return(iqm=400, low=390, high=410, episodes=8), baseline.returned
    trial = make_trial(0, rounds=2)
    first, second = (
        point.model_copy(
            update={
                "sparsity": 0.5,
                "retention": retention,
                "returned": worse.model_copy(update={"aggregate": "iqm", "iqm": value}),
                "checkpoint": os.path.relpath(Path(baseline.checkpoint).parent, folder.path),
            }
        )
        for point, retention, value in zip(trial.points, (0.5, 0.9), (50.0, 90.0), strict=True)
    )
    folder.write_trial(trial.model_copy(update={"points": [first, second]}))
    random = Return(iqm=0, low=0, high=0, episodes=8)
    folder.write_final(FinalRecord(baseline=better, random=random, points={second.name: better}))
    curve, logarithmic = final_curves(folder, experiment, folder.trials())
    meter = CheckpointMeter(experiment, shared_storage)
    seed, episodes = experiment.evaluation.final_seed, experiment.evaluation.final_episodes
    measured = meter.measure(Path(baseline.checkpoint), seed, episodes).returned
    steps = [point.env_steps for point in (first, second)]
    assert curve == [
        (steps[0], pytest.approx(0.5 * measured.value / 400)),
        (steps[1], pytest.approx(0.5)),
    ]
    half = 1 - math.log(first.parameters / 2) / math.log(first.parameters)
    assert logarithmic == [
        (steps[0], pytest.approx(half * measured.value / 400)),
        (steps[1], pytest.approx(half)),
    ]
    written = (folder.path / "history.json").read_text()
    assert final_curves(folder, experiment, folder.trials()) == (curve, logarithmic)
    assert (folder.path / "history.json").read_text() == written


@pytest.mark.parametrize("file", sorted(DOCS.glob("search-*.json")), ids=lambda file: file.stem)
def test_the_pages_are_of_the_figures_beside_them(file: Path) -> None:
    found = Result.of_json(json.loads(file.read_text(encoding="utf-8")))
    picture = file.with_suffix(".png")
    assert picture.is_file()
    text = file.with_suffix(".md").read_text(encoding="utf-8")
    assert text == page(found, PurePath(picture.name))
