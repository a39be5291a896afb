"""Which choices mattered: what made a difference is found, what made none is not, and a page."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.benchmarks.recorded.made_up import recording
from tests.benchmarks.recorded.test_dataset import TASK
from tuners.benchmarks.recorded.choices import ALL, Effect, clear, compacted, effects, worth
from tuners.cli._app import app
from tuners.recordings.dataset import Recording, write


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    """Two tasks, of which the second is the first with half of the retention."""
    first, second = recording(120), recording(120, seed=1)
    task = second.task.model_copy(update={"name": "acrobot", "dense": [980.0]})
    of_acrobot = [
        trial.model_copy(update={"plan": trial.plan.model_copy(update={"env_steps": 80_000})})
        for trial in second.trials
    ]
    return [first, second.model_copy(update={"task": task, "trials": of_acrobot})]


@pytest.fixture(scope="module")
def found(recordings: list[Recording]) -> list[Effect]:
    return effects(recordings)


def test_a_trial_that_loses_nothing_is_worth_its_compression() -> None:
    one = recording(1)
    whole = (
        one.trials[0]
        .rounds[-1]
        .model_copy(update={"sparsity": 1 - 1 / TASK.parameters, "returns": one.task.dense})
    )
    trial = one.trials[0].model_copy(update={"rounds": [whole]})
    assert worth(one, trial) == pytest.approx(1.0)
    at_random = whole.model_copy(update={"returns": one.task.random})
    assert worth(one, trial.model_copy(update={"rounds": [at_random]})) == 0.0


def test_what_made_a_difference_is_told_and_nothing_else(found: list[Effect]) -> None:
    """In what was made up, criterion, origin, ratio and budget decide; the rest does nothing."""
    over_all = [one for one in found if one.task == ALL]
    told = {(one.field, one.value): one.difference for one in clear(over_all)}
    assert told["ratio", "below 0.9"] < 0 < told["origin", "baseline"]
    assert told["criterion", "random"] < 0 < told["criterion", "saliency"]
    decide = {"criterion", "origin", "ratio", "budget", "end", "schedule"}  # the last two: how far
    assert len([field for field, _ in told if field not in decide]) <= 1


def test_intervals_hold_the_difference_and_the_other_side_is_not_told_twice(
    found: list[Effect],
) -> None:
    assert all(one.low <= one.difference <= one.high for one in found)
    origins = [one for one in found if one.field == "origin" and one.task == ALL]
    assert [one.value for one in origins] == ["baseline"]
    assert {one.task for one in found} == {"cartpole", "acrobot", ALL}


def test_the_same_plans_on_two_tasks_do_not_tell_more_than_on_one() -> None:
    """Else intervals would be too narrow, as two results of one plan are not two plans."""
    one = recording(60)
    again = one.task.model_copy(update={"name": "noisy-cartpole"})
    found = effects([one, one.model_copy(update={"task": again})])
    alone = {(e.field, e.value): e for e in found if e.task == "cartpole"}
    pooled = {(e.field, e.value): e for e in found if e.task == ALL}
    assert pooled.keys() == alone.keys()
    for key, each in pooled.items():
        assert each.trials == alone[key].trials
        assert (each.low, each.high) == pytest.approx((alone[key].low, alone[key].high))


def test_what_could_not_be_chosen_otherwise_is_no_choice(
    recordings: list[Recording], found: list[Effect]
) -> None:
    """Only weights can regrow: trials of neurons say nothing of it."""
    of_weights = sum(
        trial.plan.granularity == "weight" for one in recordings for trial in one.trials
    )
    regrown = [one for one in found if one.field == "regrowth" and one.task == ALL]
    assert 0 < sum(one.trials for one in regrown) <= of_weights


def test_what_compaction_takes_out_can_be_counted_as_gone() -> None:
    one = recording(1)
    last = one.trials[0].rounds[-1]
    known = last.model_copy(update={"compact_nonzero": 461})
    trials = [one.trials[0].model_copy(update={"rounds": [last, known]})]
    found = compacted(one.model_copy(update={"trials": trials})).trials[0].rounds
    assert [each.sparsity for each in found] == [last.sparsity, pytest.approx(0.9)]


@pytest.mark.slow
def test_a_page_and_its_picture(tmp_path: Path, recordings: list[Recording]) -> None:
    files = [tmp_path / f"{one.task.name}.jsonl.gz" for one in recordings]
    for path, one in zip(files, recordings, strict=True):
        write(path, one.task, one.trials)
    page = tmp_path / "choices.md"
    asked = ["benchmark", "choices", *map(str, files), "--to", str(page)]
    assert CliRunner().invoke(app, asked).exit_code == 0
    text = page.read_text()
    assert "240 trials of random plans on 2 tasks" in text and "choices.png" in text
    assert (tmp_path / "choices.png").read_bytes().startswith(b"\x89PNG")
    assert CliRunner().invoke(app, ["benchmark", "choices", str(tmp_path / "no")]).exit_code != 0
