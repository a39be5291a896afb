"""Random plans on a small task: a study like any other, of which a file keeps every round."""

from __future__ import annotations

from pathlib import Path

import pytest

from prune_search.errors import UserError
from prune_search.experiment.schema import Experiment
from prune_search.records.folder import StudyFolder
from prune_search.trial.preflight import check
from tests.benchmarks.recorded.made_up import drawn
from tests.conftest import TINY
from tests.studies import BASELINE, make_study, make_trial, returned
from tuners.benchmarks.recorded import tasks
from tuners.benchmarks.recorded.record import record
from tuners.benchmarks.recorded.tasks import TASKS, RecordedTask, experiment
from tuners.recordings.dataset import read

NEEDS = {"lunarlander": "Box2D", "minatar-breakout": "minatar"}
"""Modules of environments that an installation may lack."""


@pytest.mark.parametrize("name", TASKS)
def test_random_plans_are_of_every_kind(name: str) -> None:
    plans = drawn(name, 200)
    images = TASKS[name].images
    kinds = {"weight", "neuron", "filter"} if images else {"weight", "neuron"}
    assert {plan.granularity for plan in plans} == kinds
    assert {plan.origin for plan in plans} == {"baseline", "scratch"}
    assert {plan.regrowth for plan in plans} == {"none", "set", "rigl"}
    assert {plan.rewind for plan in plans} == {"none", "early", "initial"}
    assert {plan.env_steps for plan in plans} == set(TASKS[name].env_steps)
    assert len({plan.criterion for plan in plans}) == 11 + images
    ratios = [plan.ratio for plan in plans if plan.ratio is not None]
    assert min(ratios) < 0.7 and max(ratios) > 0.99


@pytest.mark.parametrize("name", TASKS)
def test_random_plans_fit_the_networks(name: str, tmp_path: Path) -> None:
    """What does not fit is found out before hours of training, and here before that."""
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    check(experiment(name, 2, str(tmp_path)))


@pytest.mark.slow
def test_every_round_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "tiny", RecordedTask(TINY, (1200, 2400), seed=0))
    monkeypatch.setitem(tasks._SPACE, "rounds", [2, 3])
    path = tmp_path / "tiny.jsonl.gz"
    assert record("tiny", 2, 1, str(tmp_path / "studies"), path) == 2
    found = read(path)
    folder = StudyFolder(tmp_path / "studies", "recorded-tiny-2")
    study = folder.study()
    assert study is not None and study.baseline is not None
    assert found.task.dense == study.baseline.returned.each
    assert found.task.environment == {"id": "CartPole-v1"}
    for trial, known in zip(found.trials, folder.trials(), strict=True):
        assert trial.plan == known.plan
        assert len(trial.rounds) == len(known.points) and trial.rounds[-1].progress >= 1
        for one, point in zip(trial.rounds, known.points, strict=True):
            assert (one.env_steps, one.sparsity) == (point.env_steps, point.sparsity)
            assert one.returns == point.returned.each and len(one.returns) == 6
    before = path.read_bytes()
    record("tiny", 2, 1, str(tmp_path / "studies"), path)  # nothing is run again
    assert path.read_bytes() == before
    assert record("tiny", 2, 2, str(tmp_path / "studies"), path) == 4
    once, again = read(path).trials[:2], read(path).trials[2:]
    assert once == found.trials
    for one, other in zip(once, again, strict=True):
        assert (one.number, one.plan) == (other.number, other.plan)
        assert one.seed != other.seed and one.rounds != other.rounds
        assert len(one.rounds) == len(other.rounds)


def test_seeds_of_a_plan_begin_from_one_dense_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version trains another one: what is the plan's and what the seed's could not be told
    apart."""

    def made(settings: Experiment, name: str, *, quiet: bool) -> StudyFolder:
        folder = make_study(tmp_path, trials=0, name=name)
        for number, plan in enumerate(drawn("cartpole", 2)):
            folder.write_trial(make_trial(number, plan=plan))
        if name.endswith("-1"):
            study = folder.study()
            assert study is not None
            other = BASELINE.model_copy(update={"returned": returned(499.0)})
            folder.write_study(study.model_copy(update={"baseline": other}))
        return folder

    monkeypatch.setattr("tuners.benchmarks.recorded.record.finished", made)
    with pytest.raises(UserError, match=r"'recorded-cartpole-2-1' .* began from another dense"):
        record("cartpole", 2, 2, str(tmp_path), tmp_path / "cartpole.jsonl.gz")
