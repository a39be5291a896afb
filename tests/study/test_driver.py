"""A whole study: baseline, search, re-evaluation, tracking, and what a user does with it after."""

from __future__ import annotations

import json
import pickle
import re
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import optuna
import pytest
from ray.rllib.core.rl_module.rl_module import RLModule
from rich.console import Console

from prune_search.errors import UserError
from prune_search.experiment.file import dump
from prune_search.records.folder import StudyFolder
from prune_search.records.fronts import front
from prune_search.records.reasons import SEARCH_STEPS_USED
from prune_search.records.stages import MEANINGS, TRIALS
from prune_search.rllib.configuration.algorithms import MODULE_PATH
from prune_search.trial.baselines.dense_control import control_folder
from tests.study.driving import complete
from tuners import cli
from tuners.benchmarks.wall import wall_overhead
from tuners.display.live import Progress
from tuners.report.study_report import report
from tuners.search.database import states
from tuners.study.driver import run

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def study(tiny: Any, shared_storage: Path, baseline: Any, tmp_path_factory: Any) -> StudyFolder:
    """A study of three trials, one of which the floor ends."""
    experiment = tiny(
        "search.trials=3",
        "pruning.ratio={low: 0.5, high: 0.95, log: true}",
        "baseline.control=true",
        storage=shared_storage,
    )
    log = tmp_path_factory.mktemp("log") / "progress.txt"
    with log.open("w") as stream:
        folder = complete(experiment, "whole", Console(file=stream, width=200))
    folder.path.joinpath("progress.txt").write_text(log.read_text())
    return folder


def test_every_trial_is_complete_everywhere(study: StudyFolder) -> None:
    trials = study.trials()
    assert [trial.number for trial in trials] == [0, 1, 2]
    assert all(trial.state == "complete" and len(trial.points) == 2 for trial in trials)
    assert [trial.chosen_by for trial in trials] == ["curves"] * 3
    found = states(study)
    assert found == dict.fromkeys(range(3), optuna.trial.TrialState.COMPLETE)
    client = mlflow.MlflowClient(f"sqlite:///{study.path.parent / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'prune-search'")
    runs = client.search_runs([experiment.experiment_id], "tags.study = 'whole'")
    assert len(runs) == 4
    assert {one.info.status for one in runs} == {"FINISHED"}


def test_optuna_was_told_what_the_trials_deliver(study: StudyFolder) -> None:
    from prune_search.records.fronts import summary

    told = optuna.load_study(study_name="whole", storage=study.optuna_url)
    for trial, record in zip(told.trials, study.trials(), strict=True):
        figures = summary(record, 0.95)
        assert trial.values == [figures["retention"], figures["compression"]]


def test_the_baseline_was_found_in_the_cache(study: StudyFolder, baseline: Any) -> None:
    record = study.study()
    assert record is not None and record.baseline == baseline
    assert record.baseline_s == 0 and record.ended is not None and record.wall_s > 0
    assert "wall / RLlib" in wall_overhead(study)
    # The wall time is that of its stages, which all took some.
    assert list(record.stages) == list(MEANINGS) and min(record.stages.values()) > 0
    assert sum(record.stages.values()) == pytest.approx(record.wall_s)
    assert record.stages[TRIALS] > max(trial.seconds for trial in study.trials())
    assert all(f" s  {stage}: " in wall_overhead(study) for stage in MEANINGS)
    assert record.control is not None and record.control_s == record.control.train_s > 0


def test_the_dense_control_is_there_for_the_next_study(
    study: StudyFolder, tiny: Any, baseline: Any, shared_storage: Path
) -> None:
    record, final = study.study(), study.final()
    assert record is not None and final is not None and final.control is not None
    assert record.control is not None and record.control.env_steps >= 2000
    assert len(record.control.rounds) == 2
    assert control_folder(shared_storage, tiny(), baseline).record() == record.control


def test_progress_is_readable_without_a_terminal(study: StudyFolder) -> None:
    text = (study.path / "progress.txt").read_text()
    lines = text.splitlines()
    assert "whole: " in lines[0]
    assert sum("of 3 trials ended" in line for line in lines) == 6
    assert "evaluating the front" in text.split("of 3 trials ended")[-1]
    assert "Traceback" not in text and "WARNING" not in text


def test_show_evaluate_and_restore(
    study: StudyFolder, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    storage = ["--storage", str(study.path.parent)]

    def command(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["prune-search", *arguments, *storage])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        return str(capsys.readouterr().out)

    assert "whole" in command("list")
    assert "Front" in command("show", "whole")
    shown = json.loads(command("show", "whole", "--json"))
    points = front(point for trial in study.trials() for point in trial.points)
    assert [item["point"] for item in shown["front"]] == [point.name for point in points]
    documented = {
        "trial", "strategy", "sparsity", "weight_sparsity", "nonzero", "return_iqm", "return_low",
        "return_high", "retention", "checkpoint", "final_return_iqm",
    }  # fmt: skip
    for item in shown["front"]:
        assert documented <= set(item) and item["final_return_iqm"] is not None
        measured = json.loads(command("evaluate", "whole", item["point"], "--json"))
        for key in ("sparsity", "weight_sparsity", "nonzero", "return_iqm", "return_low"):
            assert measured[key] == item[key], key
        final = json.loads(
            command("evaluate", "whole", item["point"], "--episodes", "8", "--seed", "1", "--json")
        )
        assert final["return_iqm"] == item["final_return_iqm"]
    for dense in ("baseline", "control"):
        assert "sparsity" in command("evaluate", "whole", dense)
    for name in ("baseline", points[0].name):
        command("restore", "whole", name, "--to", name.replace("/", "-"))
    assert "non-zero) -> " in command("compact", "whole", points[-1].name, "--to", "compact")
    small = RLModule.from_checkpoint(tmp_path / "compact" / "default_policy")
    assert sum(value.numel() for value in small.parameters()) == points[-1].compact
    command("restore", "whole", points[-1].name, "--dense", "--to", "dense")
    dense = RLModule.from_checkpoint(tmp_path / "dense" / "default_policy")
    assert sum(int(value.count_nonzero()) for value in dense.parameters()) > points[-1].nonzero
    record = study.study()
    assert record is not None and record.baseline is not None
    for copy, source in (
        ("baseline", Path(record.baseline.checkpoint)),
        (points[0].name.replace("/", "-"), study.path / points[0].checkpoint / "algorithm"),
    ):
        ours, theirs = (_weights(path) for path in (tmp_path / copy, source))
        assert ours.keys() == theirs.keys()
        assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def _weights(algorithm: Path) -> dict[str, Any]:
    with (algorithm / MODULE_PATH / "module_state.pkl").open("rb") as stream:
        state: dict[str, Any] = pickle.load(stream)
    return state


def test_a_finished_study_can_be_resumed_and_nothing_changes(study: StudyFolder) -> None:
    from tuners.catalog.finding import open_study

    before, known = (study.trials(), study.final()), study.study()
    folder, experiment = open_study(str(study.path.parent), "whole")
    run(folder, experiment, Progress(experiment, "whole", study.trials(), Console(quiet=True)))
    assert (study.trials(), study.final()) == before
    record = study.study()
    assert record is not None and known is not None
    assert record.wall_s > known.wall_s  # this time is added, to its stages too
    assert sum(record.stages.values()) == pytest.approx(record.wall_s)


def test_a_study_whose_file_was_changed_is_not_mixed_with_its_old_baseline(
    study: StudyFolder, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    text = study.experiment_file.read_text()
    study.experiment_file.write_text(text.replace("lr: 0.002", "lr: 0.003"))
    command = ["prune-search", "resume", study.name, "--storage", str(study.path.parent)]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    study.experiment_file.write_text(text)
    assert ended.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "algorithm.training.lr was 0.002, is 0.003. Undo that, or begin a new study" in said


@pytest.mark.slow
def test_a_budget_of_env_steps_ends_the_search(tiny: Any, shared_storage: Path) -> None:
    experiment = tiny(
        "search.trials=20",
        "search.env_steps=3000",
        "pruning.rounds=8",
        "pruning.env_steps=9000",
        storage=shared_storage,
    )
    folder = complete(experiment, "budget")
    trials = folder.trials()
    assert 1 <= len(trials) < 5
    cut_off = {trial.number for trial in trials if trial.cut_off}
    assert all(trial.state == "complete" for trial in trials if trial.number not in cut_off)
    assert cut_off and {trials[number].reason for number in cut_off} == {SEARCH_STEPS_USED}
    assert not any(trial.collapsed or trial.env_steps_saved for trial in trials)
    failed = {n for n, state in states(folder).items() if state is optuna.trial.TrialState.FAIL}
    assert failed == cut_off  # which samplers leave out
    assert folder.final() is not None


@pytest.mark.slow
def test_what_a_policy_costs_can_be_the_objective(tiny: Any, shared_storage: Path) -> None:
    experiment = tiny(
        "search.trials=1",
        "search.objectives=[return_low, macs, bytes, latency_us]",
        "search.constraints={min_return: 1000, max_parameters: 10, max_latency_us: 1e6}",
        "pruning={granularity: neuron, criterion: magnitude, rounds: 1, env_steps: 1000}",
        storage=shared_storage,
    )
    with (said := StringIO()):
        folder = complete(experiment, "costs", Console(file=said, width=200))
        assert "plans are chosen by tpe; search.constraints: the sampler curves" in said.getvalue()
    (point,) = folder.trials()[0].points
    (told,) = optuna.load_study(study_name="costs", storage=folder.optuna_url).trials
    assert told.values == [point.returned.low, point.macs, point.bytes, point.latency_us]
    assert point.bytes == 4 * point.physical < 4 * point.parameters
    assert point.latency_us is not None and 1 < point.latency_us < 1e5
    assert told.constraints["min_return"] > 0 and told.constraints["max_latency_us"] < 0
    assert told.constraints["max_parameters"] == pytest.approx(point.nonzero / 10 - 1)


@pytest.mark.slow
def test_a_plan_over_two_seeds(tiny: Any, shared_storage: Path) -> None:
    experiment = tiny(
        "search.trials=2",
        "search.seeds=2",
        "search.probes=0",
        "pruning.ratio={low: 0.5, high: 0.95, log: true}",
        storage=shared_storage,
    )
    folder = complete(experiment, "seeds")
    first, second = folder.trials()
    assert first.plan == second.plan
    found = report(folder, experiment)
    (plan,) = found.repeated
    assert [len(one.points) for one in plan.rounds] == [2, 2]
    for number, one in enumerate(plan.rounds):
        a, b = first.points[number].returned, second.points[number].returned
        assert one.returned.each == a.each + b.each and len(a.each) == 6
        # Two seeds say little: their t interval may reach beyond what any episode returned.
        assert one.returned.low <= one.returned.value <= one.returned.high
    # Other seeds, other policies.
    assert first.points[-1].returned.each != second.points[-1].returned.each


def test_a_threshold_that_removes_a_layer_is_refused(
    tiny: Any, shared_storage: Path, baseline: Any
) -> None:
    """Only the trained weights can tell: said before any trial begins."""
    experiment = tiny(
        "pruning.criterion=threshold",
        "pruning.threshold=50.0",
        "pruning.threshold_unit=absolute",
        storage=shared_storage,
    )
    with pytest.raises(UserError, match=r"50 \(absolute\) would remove all of encoder"):
        complete(experiment, "emptied")
    assert not StudyFolder(shared_storage, "emptied").trials()


@pytest.mark.slow
def test_a_baseline_no_better_than_chance_is_kept_and_trained_on(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    experiment = tiny(
        "baseline.env_steps=1", "algorithm.training.lr=1e-9", "baseline.seed=3", storage=tmp_path
    )
    file = tmp_path / "weak.yaml"
    file.write_text(dump(experiment))
    steps = [0]
    for command in (["run", str(file)], ["resume", "weak"]):
        monkeypatch.setattr(sys, "argv", ["prune-search", *command, "--storage", str(tmp_path)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 2
        said = " ".join(capsys.readouterr().err.split())
        assert "no better than that of random actions" in said
        assert "prune-search resume weak" in said
        found = re.search(r"after ([\d,]+) env steps", said)
        assert found
        steps.append(int(found[1].replace(",", "")))
        assert StudyFolder(tmp_path, "weak").experiment_file.is_file()
    assert steps[2] > steps[1] > 500


@pytest.mark.slow
def test_the_users_own_checkpoint_is_the_baseline(tiny: Any, baseline: Any, tmp_path: Path) -> None:
    experiment = tiny(
        f"baseline.checkpoint={baseline.checkpoint}",
        "search.trials=1",
        "pruning.rounds=1",
        storage=tmp_path,
    )
    with pytest.raises(UserError, match="add --trust-checkpoint"):
        complete(experiment, "mine")
    folder = complete(experiment.trusting(), "mine")
    record = folder.study()
    assert record is not None and record.baseline is not None
    assert record.baseline.returned == baseline.returned
    assert record.baseline.env_steps == 0
    assert len(folder.trials()[0].points) == 1
