"""Studies on recorded trials: what was recorded comes back, what was not is predicted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from prune_search.experiment.search_section import Stopping
from prune_search.plan.plan import Plan
from prune_search.records.fronts import hypervolume_curve, log_hypervolume
from prune_search.records.reasons import BUDGET_USED
from tests.benchmarks.recorded.made_up import drawn, recording, retention, twice
from tests.benchmarks.recorded.test_dataset import TASK
from tuners.benchmarks.recorded import world as recorded_world
from tuners.benchmarks.recorded.compare import searches
from tuners.benchmarks.recorded.replay import given_up, replay, stops
from tuners.benchmarks.recorded.retrained import retrained
from tuners.benchmarks.recorded.stopping import AfterRounds
from tuners.benchmarks.recorded.world import World, _Data
from tuners.cli._app import app
from tuners.recordings.dataset import write

STEPS = 400_000


@pytest.fixture(scope="module")
def world() -> World:
    return World(recording(60))


def test_a_recorded_plan_returns_what_it_did(world: World) -> None:
    for trial in recording(60).trials[:5]:
        seen = world.curve(trial.plan, seed=1)
        assert [one.env_steps for one in seen] == [each.env_steps for each in trial.rounds]
        assert [one.sparsity for one in seen] == [each.sparsity for each in trial.rounds]
        for one, each in zip(seen, trial.rounds, strict=True):
            assert one.retention == pytest.approx(recording(60).retention(each), abs=0.05)


def test_other_plans_are_predicted_better_than_by_their_mean(world: World) -> None:
    assert world.error.retention < 0.7 * world.error.spread
    assert world.error.log_density < 0.2
    plans = drawn("cartpole", 84)[60:]
    curves = [(plan, world.curve(plan, seed=2)) for plan in plans]
    ends = [np.mean([world.curve(plan, seed)[-1].retention for seed in range(5)]) for plan in plans]
    true = [retention(plan, curve[-1].sparsity) for plan, curve in curves]
    assert np.corrcoef(ends, true)[0, 1] > 0.5
    for _, curve in curves:
        sparsities = [one.sparsity for one in curve]
        assert sparsities == sorted(sparsities) and sparsities[0] >= 0 and sparsities[-1] < 1
    other = [world.curve(plan, seed=4) for plan in plans]
    assert any(one != curve for one, (_, curve) in zip(other, curves, strict=True))
    assert [world.curve(plan, seed=2) for plan in plans] == [curve for _, curve in curves]


@pytest.mark.slow
def test_seeds_of_a_plan_have_in_common_what_they_had_when_recorded() -> None:
    """Else a search that repeats one plan draws that plan's luck anew, and takes the best."""
    plans = drawn("cartpole", 84)[60:]

    def apart(world: World) -> float:
        """Spread of a plan's seeds, over that of plans."""
        ends = np.array(
            [[world.curve(plan, seed)[-1].retention for seed in range(8)] for plan in plans]
        )
        return float(ends.std(axis=1).mean() / ends.std())

    by_plan, by_seed = (World(twice(40, *one)) for one in ((0.4, 0.05), (0.05, 0.4)))
    assert by_plan.error.of_plan > 0.8 and by_seed.error.of_plan < 0.5
    assert apart(by_plan) < 0.6 * apart(by_seed)
    # Nobody knows how good a plan is on the task: of each study it is drawn anew.
    ends = [[by_plan.curve(plan, 0, study)[-1].retention for study in range(8)] for plan in plans]
    assert np.std(ends, axis=1).mean() > 0.5 * np.std(ends)
    # One seed each tells nothing of it; then it is as elsewhere.
    once = World(recording(20))
    assert once.common is None and once.error.of_plan == 0
    once.assume(np.array([0.9, 0.6]))
    by_seed.assume(np.array([0.9, 0.6]))
    assert once.error.of_plan == 0.6 != by_seed.error.of_plan


def test_what_all_errors_have_in_common_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much of the rest is the plan's."""
    off = 0.2

    def leaning(data: _Data, _: object) -> np.ndarray:
        return np.column_stack([np.zeros(len(data.kept)), np.full(len(data.kept), off)])

    [plan] = drawn("cartpole", 21)[20:]
    straight = World(recording(20))
    monkeypatch.setattr(recorded_world, "_left_out", lambda *a: 0 * leaning(*a))
    exact = [each.retention for each in World(recording(20)).curve(plan, 0)]
    monkeypatch.setattr(recorded_world, "_left_out", leaning)
    world = World(recording(20))
    assert [each.retention for each in straight.curve(plan, 0)] != exact
    for share in (0.0, 0.5, 1.0):
        world.assume(np.array([share, share]))
        kept = [each.retention for each in world.curve(plan, 0)]
        assert kept == pytest.approx([each + off for each in exact])


def test_a_front_is_worth_what_is_left_of_it_with_other_seeds() -> None:
    """The luckiest of many seeds of one plan is worth no more than any of them."""
    world = World(twice(40, 0.05, 0.4))
    for seed in range(3):
        chosen = searches(recording(1), seed, STEPS)["expert, neurons"].experiment
        trials = replay(world, chosen, STEPS)
        assert len({trial.plan for trial in trials}) == 1 < len(trials)
        seen = log_hypervolume([point for trial in trials for point in trial.points])
        anew = retrained(world, seed, trials)
        assert 0 < anew < seen
        assert retrained(world, seed, trials) == anew != retrained(world, seed + 1, trials)


@pytest.mark.slow
def test_a_point_s_target_is_what_the_plan_asks_for(world: World) -> None:
    """A study's probes go by it: with single weights a sparsity never reaches a ratio."""
    chosen = searches(recording(1), 0, STEPS)["unstopped"].experiment
    trials = replay(world, chosen, STEPS)
    whole = [one for one in trials if one.reason == BUDGET_USED]
    assert whole
    for trial in whole:
        targets = [point.target for point in trial.points]
        assert targets == sorted(targets)
        assert targets[-1] in (trial.plan.ratio, trial.plan.threshold)


@pytest.mark.slow
def test_trials_are_given_up_as_in_studies(world: World) -> None:
    """Recorded ones were not: what a search is shown of them would be more than a study shows."""
    chosen = searches(recording(1), 0, STEPS)["unstopped"].experiment
    floor, patience = chosen.pruning.floor, chosen.pruning.patience
    trials = replay(world, chosen, STEPS)[:-1]
    given_up = [one for one in trials if one.reason != BUDGET_USED]
    assert 0 < len(given_up) < len(trials)
    for trial in given_up:
        assert trial.state == "complete" and "pruning.floor" in trial.reason
        assert len(trial.points) < trial.plan.rounds
        assert all(point.retention < floor for point in trial.points[-patience:])
    never = chosen.pruning.model_copy(update={"patience": 1_000})
    whole = replay(world, chosen.model_copy(update={"pruning": never}), STEPS)[:-1]
    assert {one.reason for one in whole} == {BUDGET_USED}


@pytest.mark.slow
def test_every_search_is_replayed_for_as_many_env_steps(world: World) -> None:
    of_acrobot = recording(1).task.model_copy(
        update={"name": "acrobot", "environment": {"id": "Acrobot-v1"}}
    )
    acrobot = recording(1).model_copy(update={"task": of_acrobot})  # others have been recorded
    begin: dict[str, list[Plan]] = {}
    gave_up: dict[str, int] = {}
    for name, chosen in searches(acrobot, 0, STEPS).items():
        curves = ("unstopped", "nothing borrowed", "default after probes", "nothing given up")
        again = [
            replay(world, chosen.experiment, STEPS, chosen.rule and chosen.rule())
            for _ in range(2 if name in ("default", "probed tpe") else 1)
        ]
        trials = again[0]
        spent = sum(trial.env_steps for trial in trials)
        assert STEPS <= spent < STEPS + 60_000, name
        thawed = sum(len(trial.thawed) for trial in trials)
        numbers = [trial.number for trial in trials]
        assert numbers == sorted(set(numbers)) and numbers[-1] < len(numbers) + thawed
        assert name in ("default", *curves) or not thawed
        assert all(trial.ended for trial in trials) and trials == again[-1]
        curve = hypervolume_curve(trials, log_hypervolume)
        values = [value for _, value in curve]
        assert values == sorted(values) and 0 < values[-1] <= 1
        begin[name] = [trial.plan for trial in trials[:1]]
        if name.startswith("expert"):
            assert {trial.plan.criterion for trial in trials} == {"magnitude"}
        stopped = [trial for trial in trials if trial.env_steps_saved]
        ruled = ("halving", "pareto rank", "half the rounds")
        may = (
            "default",
            "borrowed",
            "default after probes",
            "given up",
            "thawed",
            "probed tpe",
            *ruled,
        )
        assert not stopped or name.endswith(may)
        assert stopped or not name.endswith(ruled)
        gave_up |= {name: sum(trial.collapsed for trial in trials)}
    assert gave_up["nothing given up"] == 0 < gave_up["default"]
    for name in ("default after probes", "probed", "probed tpe", "probed tpe, halving"):
        strategies = [(plan.criterion, plan.schedule, plan.ratio) for plan in begin[name]]
        assert strategies[0] == ("magnitude", "geometric", 0.997), name  # a probe
    assert begin["default"] == begin["unstopped"] != begin["tpe"]
    assert begin["tpe"] == begin["random"] == begin["nothing borrowed"] != begin["probed tpe"]


@pytest.mark.slow
def test_a_trial_that_goes_on_counts_once_as_in_studies(world: World) -> None:
    of_acrobot = TASK.model_copy(update={"name": "acrobot", "environment": "Acrobot-v1"})
    acrobot = recording(1).model_copy(update={"task": of_acrobot})
    chosen = searches(acrobot, 0, STEPS)["default"].experiment
    search = chosen.search.model_copy(update={"trials": 9})
    trials = replay(world, chosen.model_copy(update={"search": search}), 100 * STEPS)
    assert len(trials) == 9 and sum(len(trial.thawed) for trial in trials) > 0


@pytest.mark.slow
def test_stops_are_wrong_where_the_front_would_still_have_grown(world: World) -> None:
    """Stopping all after their first rounds is wrong for those that would have gone furthest."""
    chosen = searches(recording(1), 0, STEPS)["unstopped"].experiment
    default = searches(recording(1), 0, STEPS)["default"].experiment
    assert stops(world, chosen, replay(world, chosen, STEPS)) == (0, 0)
    found = stops(world, default, replay(world, chosen, STEPS, AfterRounds(0.3)))
    assert 0 < found.wrong < found.stopped
    never = stops(world, default, replay(world, chosen, STEPS, AfterRounds(1.0)))
    assert never == (0, 0)
    # Held against a front that cannot be improved, no stop is wrong.
    huge = default.model_copy(
        update={"search": default.search.model_copy(update={"stopping": Stopping(gain=0.999)})}
    )
    assert stops(world, huge, replay(world, chosen, STEPS, AfterRounds(0.9))).wrong == 0


@pytest.mark.slow
def test_what_was_given_up_wrongly_would_have_improved_the_front(world: World) -> None:
    """With a floor above all retentions each trial gives up after its first round."""
    patient = searches(recording(1), 0, STEPS)["nothing given up"].experiment
    assert given_up(world, patient, replay(world, patient, STEPS)) == (0, 0)
    chosen = searches(recording(1), 0, STEPS)["random"].experiment
    pruning = chosen.pruning.model_copy(update={"floor": 2.0, "patience": 1})
    eager = chosen.model_copy(update={"pruning": pruning})
    trials = replay(world, eager, STEPS)
    begun = [one for one in trials[:-1] if one.plan.origin == "baseline"]  # others have to learn
    assert {len(one.points) for one in begun if one.plan.schedule != "gated"} == {1}
    found = given_up(world, eager, trials)
    assert 0 < found.wrong < found.stopped == sum(trial.collapsed for trial in trials)


@pytest.mark.slow
def test_the_command_compares_all_on_a_file(tmp_path: Path) -> None:
    path, page = tmp_path / "cartpole.jsonl.gz", tmp_path / "page.md"
    found = recording(20)
    write(path, found.task, found.trials)
    arguments = ["benchmark", "replay", str(path), "--seeds", "2", "--env-steps", "200000"]
    done = CliRunner().invoke(app, [*arguments, "--to", str(page)])
    assert done.exit_code == 0, done.output
    text = page.read_text()
    assert f"## {TASK.name}" in text
    for name in ("default", "random", "expert", "tpe", "nsga2", "gp", "default after probes"):
        assert f"| {name} | 0." in text
    assert "200,000 env steps" in text and "| env steps of the default / its own | anew |" in text
    assert "| wrong stops | wrongly given up |" in text
