"""Policies under a harder task, from the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.studies import unpack_old_study
from tuners.benchmarks.robustness_page import page


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return unpack_old_study(tmp_path)


def test_the_dense_policy_and_a_point_under_changes(storage: Path, command: Any) -> None:
    changes = ("--under", "noise=0.3", "--under", "physics.force_mag=0.2")
    idle = ("--under", "physics.screen_width=2")
    options = ("--episodes", "10", "--min-retention", "0.1", "--to", "found.json")
    ran = command(
        "robustness", "old", *changes, *idle, *options, "--storage", str(storage), cwd=storage
    )
    assert ran.status == 0, ran
    found = json.loads((storage / "found.json").read_text())
    rows = found["studies"]
    assert [row["under"] for row in rows] == ["", *changes[1::2], *idle[1:]]
    assert [row["idle"] for row in rows] == [False, False, False, True]
    assert ran.out.count("the change does nothing here") == 1
    assert len({row["dense"]["return"] for row in rows}) > 1  # it is another task
    assert len({row["random"] for row in rows}) > 1
    assert found["over_studies"] == [] and "physics.force_mag=0.2" in ran.out

    point = rows[0]["point"]
    told = command(
        *("evaluate", "old", point, "--under", "noise=0.3", "--episodes", "10", "--seed", "2"),
        *("--json", "--storage", str(storage)),
        cwd=storage,
    )
    alone = json.loads(told.out)
    assert alone["return"] == pytest.approx(rows[1]["pruned"]["return"])
    assert alone["under"] == "noise=0.3"


def test_mistakes_are_told_before_anything_is_measured(storage: Path, command: Any) -> None:
    place = ("--storage", str(storage))
    for arguments, message in (
        (("robustness", "old", "--under", "noize=1"), "did you mean noise?"),
        (("robustness", "old", "--under", "physics.wings=2"), "no number wings"),
        (("robustness", "old", "--min-retention", "9"), "no point of study"),
        (("evaluate", "file.onnx", "--under", "noise=1"), "--under"),
    ):
        ran = command(*arguments, *place, cwd=storage)
        assert ran.status == 2 and message in ran.error and "dense" not in ran.error, ran


def test_several_studies_are_one_page(storage: Path, command: Any) -> None:
    shutil.copytree(storage / "old", storage / "again")
    files = []
    for name in ("one", "other"):
        files.append(f"{name}.json")
        options = ("--under", "delay=1", "--episodes", "6", "--min-retention", "0.1")
        written = ("--to", files[-1], "--storage", str(storage))
        ran = command("robustness", "old", "again", *options, *written, cwd=storage)
        assert ran.status == 0, ran
    ran = command("benchmark", "robustness", *files, "--to", "page.md", cwd=storage)
    assert ran.status == 0, ran
    text = (storage / "page.md").read_text()
    assert "Of 2 changes on 2 tasks" in text and text.count("## CartPole-v1") == 2
    assert text.count("2 studies of 1 dense policy;") == 2
    found = json.loads((storage / "one.json").read_text())["over_studies"]
    assert f"| delay=1 | {found[1]['dense']:.1f} | {found[1]['pruned']:.1f} |" in text
    command(
        "robustness",
        "old",
        "--under",
        "delay=1",
        "--to",
        "single.json",
        "--episodes",
        "6",
        "--min-retention",
        "0.1",
        "--storage",
        str(storage),
        cwd=storage,
    )
    ran = command("benchmark", "robustness", "single.json", cwd=storage)
    assert ran.status == 2 and "is of one study" in ran.error


def test_the_page_is_of_the_figures_beside_it() -> None:
    docs = Path(__file__).parents[2] / "docs"
    tasks = [json.loads(file.read_text()) for file in sorted(docs.glob("robustness-*.json"))]
    assert page(tasks) == (docs / "robustness.md").read_text(encoding="utf-8")


def test_the_page_says_of_a_change_that_it_does_nothing() -> None:
    docs = Path(__file__).parents[2] / "docs"
    task = json.loads((docs / "robustness-acrobot.json").read_text())
    for one in task["studies"]:
        one["idle"] = one["under"] == "delay=1"
    said = [line for line in page([task]).splitlines() if "(does nothing here)" in line]
    assert len(said) == 1 and said[0].startswith("| delay=1 (does nothing here) |")


def test_what_a_change_does_is_told_from_what_was_so_without_it() -> None:
    """Policies that are as much better without a change bear it neither better nor worse."""
    docs = Path(__file__).parents[2] / "docs"
    task = json.loads((docs / "robustness-lunarlander.json").read_text())
    without = {one["study"]: one for one in task["studies"] if not one["under"]}
    for one in task["studies"]:
        for policy in ("dense", "pruned") if one["under"] == "delay=1" else ():
            one[policy]["return"] = without[one["study"]][policy]["return"] - 20
    (row,) = (line for line in page([task]).splitlines() if line.startswith("| delay=1"))
    assert "| +0.0 [+0.0, +0.0] |" in row.replace("-0.0", "+0.0")
