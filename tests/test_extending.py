"""The page on entries of one's own: its module and its experiment, as they stand there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from prune_search.records.folder import StudyFolder

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
SMALL = (
    *("baseline.env_steps=4096", "baseline.control=false", "pruning.env_steps=6000"),
    *("pruning.rounds=3", "pruning.patience=100", "pruning.regrow_every=1500"),
    *("algorithm.model.fcnet_hiddens=[16,16]", "algorithm.training.num_epochs=2"),
    *("algorithm.training.train_batch_size_per_learner=1024", "search.stopping=null"),
    *("evaluation.episodes=5", "evaluation.final_episodes=5", "evaluation.max_steps=100"),
    *("baseline.early=0.5", "search.trials=4"),
)


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found.group(1)


@pytest.mark.slow
def test_a_study_of_ones_own_entries(tmp_path: Path) -> None:
    (tmp_path / "my_pruning.py").write_text(block("python"))
    (tmp_path / "mine.yaml").write_text(block("yaml"))
    changes = [part for change in SMALL for part in ("--set", change)]
    ran = subprocess.run(
        [sys.executable, "-m", "tuners.cli", "run", "mine.yaml", "--name", "mine", *changes],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    folder = StudyFolder(tmp_path / "studies", "mine")
    own, units, pattern, ticket = folder.trials()
    assert {trial.state for trial in folder.trials()} == {"complete"}, ran.stdout

    assert own.plan.label.startswith("weight/energy/spare_the_first/square_root/where_it_is_wide")
    assert own.did is not None and own.did.regrowths == own.did.regrowths_due > 0
    assert own.plan.ratio is not None
    aimed = [own.plan.ratio * (point.progress / 0.75) ** 0.5 for point in own.points]
    assert own.points[0].target == pytest.approx(min(aimed[0], own.plan.ratio), abs=0.15)
    layers = own.points[-1].layers
    assert min(layers.values()) == 0 < max(layers.values())  # the first layer stays whole

    assert units.plan.criterion == "loudest" and units.points[-1].physical < 400
    assert pattern.points[-1].weight_sparsity == pytest.approx(0.25, abs=0.02)
    assert ticket.did is not None and ticket.did.rewinds == ticket.did.prunings > 0

    lines = [json.loads(line) for line in (folder.path / "lines.jsonl").read_text().splitlines()]
    assert {"trial": "t03", "points": 3} in lines
    assert not (tmp_path / "studies" / "mlflow.db").exists()
    (study,) = optuna.get_all_study_summaries(folder.optuna_url)
    told = optuna.load_study(study_name=study.study_name, storage=folder.optuna_url).trials
    least = [min(point.retention for point in trial.points) for trial in folder.trials()]
    assert [trial.values[0] for trial in told] == pytest.approx(least)


def test_a_name_that_no_module_registers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(block("yaml").replace("modules: [my_pruning]", ""))
    ran = subprocess.run(
        [sys.executable, "-m", "tuners.cli", "run", "mine.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert "unknown 'energy'" in ran.stderr and "Traceback" not in ran.stderr


@pytest.mark.slow
def test_a_criterion_of_ones_own_is_known_where_layers_are_pruned_alone(tmp_path: Path) -> None:
    """The command is refused for its granularity, and not for a criterion that a module brings."""
    (tmp_path / "my_pruning.py").write_text(block("python"))
    (tmp_path / "mine.yaml").write_text(block("yaml"))
    asked = ["mine.yaml", "--criterion", "loudest", "--granularity", "weight"]
    ran = subprocess.run(
        [sys.executable, "-m", "tuners.cli", "sensitivity", *asked],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert "criterion 'loudest' does not go with granularity 'weight'" in ran.stderr
