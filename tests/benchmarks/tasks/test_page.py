"""What studies have found on their tasks, kept and shown as one page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.commands import refused
from tests.studies import end_study, make_study, make_trial
from tuners.benchmarks.tasks.page import page

DOCS = Path(__file__).parents[3] / "docs"


def test_studies_are_kept_and_put_on_one_page(tmp_path: Path, command: Any) -> None:
    for name in ("cartpole", "other"):
        end_study(make_study(tmp_path, name=name))
    place = ("--storage", str(tmp_path), "--to", "found.md")
    ran = command("benchmark", "tasks", "cartpole", *place, cwd=tmp_path)
    assert ran.status == 0, ran
    first = (tmp_path / "found.md").read_text()
    command("benchmark", "tasks", "other", *place, cwd=tmp_path)
    both = (tmp_path / "found.md").read_text()
    assert (first.count("## CartPole-v1"), both.count("## CartPole-v1")) == (1, 2)
    assert "## CartPole-v1\n" in first and "[CartPole-v1](#cartpole-v1)" in first
    for name in ("cartpole", "other"):  # of one environment
        assert f"## CartPole-v1 ({name})\n" in both
        assert f"[CartPole-v1 ({name})](#cartpole-v1-{name})" in both
    assert {path.name for path in (tmp_path / "found").iterdir()} == {
        *("cartpole.json", "cartpole.png", "other.json", "other.png")
    }
    kept = json.loads((tmp_path / "found" / "other.json").read_text())
    for one in kept["front"]:  # each is on the page, as it was measured on the final seeds
        assert f"{one['point']}" in both and f"| {one['return']:.1f} [{one['low']:.1f}, " in both
        assert one["retention_low"] <= one["retention"] <= one["retention_high"]
        assert one["retention"] == pytest.approx((one["return"] - 21) / (498 - 21))
    assert str(tmp_path) not in json.dumps(kept)
    # How to find it again, whatever chooses plans by default.
    assert "`prune-search run other`:" in both and kept["sampler"] == "curves"
    assert "run other --set search.sampler=tpe`:" in page([{**kept, "sampler": "tpe"}])
    del kept["sampler"]  # kept before there was another default
    assert "run other --set search.sampler=tpe`:" in page([kept])
    # Others' figures stand where they are of the same setting.
    assert "Graesser et al. 2022 have" in page([{**kept, "study": "acrobot-dqn"}])
    assert "Graesser et al. 2022 have" not in both
    again = command("benchmark", "tasks", *place, cwd=tmp_path)
    assert again.status == 0 and (tmp_path / "found.md").read_text() == both


def test_plans_of_several_seeds_stand_below_the_front(tmp_path: Path, command: Any) -> None:
    folder = make_study(tmp_path)
    plan = folder.trials()[1].plan
    for number, state in ((3, "complete"), (4, "stopped")):
        folder.write_trial(make_trial(number, state=state).model_copy(update={"plan": plan}))
    end_study(folder)
    place = ("--storage", str(tmp_path), "--to", "found.md")
    assert command("benchmark", "tasks", "cartpole", *place, cwd=tmp_path).status == 0
    kept = json.loads((tmp_path / "found" / "cartpole.json").read_text())
    (one,) = kept["repeated"]
    first, again = (folder.trials()[number].points[-1].returned.value for number in (1, 3))
    assert one["return"] == pytest.approx((first + again) / 2)
    assert (one["seeds"], one["left_out"], one["collapsed"]) == (2, 1, 0)
    assert one["low"] < min(first, again) and max(first, again) < one["high"]  # over two seeds
    text = (tmp_path / "found.md").read_text()
    row = f"| {plan.label} | 2 | 0 | 1 | {one['sparsity']:.1%} | {one['return']:.1f} ["
    assert row in text and row not in page([{**kept, "repeated": []}])
    del kept["repeated"]  # kept before they were
    assert row not in page([kept])


def test_what_cannot_be_shown_is_said(tmp_path: Path, command: Any) -> None:
    make_study(tmp_path)
    place = ("--storage", str(tmp_path), "--to")
    for arguments, told in (
        (("cartpole", *place, "found.md"), "study 'cartpole' has no front on its final seeds yet"),
        ((*place, "found.md"), "nothing is kept in 'found' yet; name a study"),
        ((*place, "nowhere/found.md"), "--to: no folder 'nowhere'"),
        ((*place, "found.json"), "--to: must be a .md file"),
    ):
        assert told in refused(command("benchmark", "tasks", *arguments, cwd=tmp_path))


def test_the_page_is_of_the_figures_beside_it() -> None:
    kept = [json.loads(file.read_text()) for file in sorted((DOCS / "results").glob("*.json"))]
    assert page(kept) == (DOCS / "results.md").read_text(encoding="utf-8")
    assert all((DOCS / "results" / f"{task['study']}.png").is_file() for task in kept)
