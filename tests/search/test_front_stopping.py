"""The rule that stops trials, with made-up results: what it needs, who speaks, when it dares."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prune_search.experiment.search_section import Stopping
from prune_search.records.folder import StudyFolder
from prune_search.records.fronts import front, log_hypervolume
from prune_search.records.models import Point, TrialRecord
from tests.plans import plan
from tests.studies import BASELINE, make_point
from tuners.search.front_stopping import CONTINUE, FrontStopping
from tuners.search.improvement import front_area, improves, needed_retention
from tuners.study.stages.stoppers import EarlyStopping


def trial(
    number: int,
    *rounds: tuple[float, float],
    state: str = "complete",
    ratio: float | None = 0.9,
    **fields: object,
) -> TrialRecord:
    """A trial of six rounds, with (sparsity, retention) of those it has run; without biases."""
    made = [
        make_point(number, at, sparsity, BASELINE.return_at(retention))
        for at, (sparsity, retention) in enumerate(rounds, start=1)
    ]
    points = [point.model_copy(update={"weight_sparsity": point.sparsity}) for point in made]
    return TrialRecord(
        number=number,
        plan=plan(ratio=ratio, rounds=6, **fields),
        state=state,  # type: ignore[arg-type]
        started=0.0,
        points=points,
    )


BY_VALUE: Any = {"criterion": "threshold", "threshold": 1.0, "threshold_unit": "std"}


def running(number: int, *rounds: tuple[float, float], **fields: object) -> TrialRecord:
    return trial(number, *rounds, state="running", **fields)  # type: ignore[arg-type]


def rule(finished: Sequence[TrialRecord], confidence: float = 0.8) -> FrontStopping:
    made = FrontStopping(confidence, Stopping().gain)
    made.add(finished)
    return made


GOOD = [trial(number, (0.5, 0.99), (0.9, 0.95), (0.9, 0.97)) for number in range(9)]


def test_a_collapsed_trial_is_stopped_once_enough_have_finished() -> None:
    """Nine trials gained 0.02 after their second round; this one would need 0.9."""
    collapsed = running(21, (0.5, 0.9), (0.9, 0.05))
    assert rule(GOOD[:3]).on_trial_result(collapsed) == CONTINUE
    decision = rule(GOOD[:4]).on_trial_result(collapsed)
    assert decision.stop
    assert "have to keep 97" in decision.reason
    assert "of 4 finished trials that looked as bad, none came that far" in decision.reason
    assert rule(GOOD[:8], 0.9).on_trial_result(collapsed) == CONTINUE
    assert rule(GOOD, 0.9).on_trial_result(collapsed).stop


def test_a_trial_that_is_reported_again_after_a_resumption_counts_once() -> None:
    """Tune reports the last round of one that had ended when its driver was killed."""
    found = rule(GOOD[:3])
    for ended in GOOD[:3]:
        found.on_trial_result(ended)
    assert found.on_trial_result(running(21, (0.5, 0.9), (0.9, 0.05))) == CONTINUE


def test_a_round_that_ends_a_little_sooner_than_others_is_compared_with_theirs() -> None:
    """Training iterations overshoot: rounds of like trials end at slightly different progress."""
    collapsed = running(21, (0.5, 0.05))
    sooner = [
        point.model_copy(update={"progress": point.progress - 0.002}) for point in collapsed.points
    ]
    decision = rule(GOOD).on_trial_result(collapsed)
    assert decision.stop
    assert rule(GOOD).on_trial_result(collapsed.model_copy(update={"points": sooner})) == decision


def test_every_fourth_trial_runs_to_its_end_and_calibrates() -> None:
    """However it does; those that ended by themselves because nothing stopped them do not."""
    collapsed = running(20, (0.5, 0.9), (0.9, 0.05))
    assert rule(GOOD).on_trial_result(collapsed) == CONTINUE
    assert [n for n in range(21) if rule([]).calibrates(n)] == [0, 1, 2, 3, 4, 8, 12, 16, 20]
    assert [n for n in range(21) if rule([], 0.9).calibrates(n)] == [*range(9), 12, 16, 20]
    reason = rule(GOOD).on_trial_result(running(21, (0.5, 0.9), (0.9, 0.05))).reason
    assert "of 6 finished trials that looked as bad" in reason  # 0 to 4 and 8


def test_collapses_that_others_recovered_from_are_waited_for() -> None:
    """Of four that looked as bad as this one, one made the front: too many at 0.8."""
    recovered = [
        trial(number, (0.5, 0.9), (0.9, 0.05), (0.9, 0.98 + 0.01 * number))
        if number < 2
        else GOOD[number]
        for number in range(9)
    ]
    again = running(21, (0.5, 0.9), (0.9, 0.05))
    assert rule(recovered).on_trial_result(again) == CONTINUE
    decision = rule(recovered, 0.6).on_trial_result(again)
    assert decision.stop
    assert "of 4 finished trials that looked as bad, 1 came that far" in decision.reason


def test_one_look_that_was_wrong_is_held_against_all_looks_of_a_trial() -> None:
    """The trials that recovered looked bad only once, and this one looks bad at another time."""
    late = [trial(n, (0.9, 0.97), *[(0.9, 0.97)] * 2, (0.9, 0.1), (0.9, 0.97)) for n in range(3)]
    best = trial(3, (0.9, 0.2), (0.9, 0.9), (0.9, 0.9), (0.9, 0.99))
    made = rule([*late, best])
    assert made.on_trial_result(running(21, (0.9, 0.5), (0.9, 0.5))) == CONTINUE


def test_a_trial_whose_aim_the_front_has_is_stopped_though_it_is_good() -> None:
    """No trial was ever better than 0.99, and the front has 0.99 at more sparsity than this."""
    sparse = [*GOOD, trial(10, (0.95, 0.99), ratio=0.95)]
    assert rule(sparse).on_trial_result(running(21, (0.6, 0.99), ratio=0.8)).stop
    assert rule(sparse).on_trial_result(running(21, (0.6, 0.99), ratio=0.97)) == CONTINUE


def test_trials_that_had_more_to_remove_prove_nothing() -> None:
    """They lost more than this one would; only that they once held the return counts."""
    harder = [trial(n, (0.5, 0.99), (0.99, 0.2), (0.99, 0.3), ratio=0.99) for n in range(20)]
    assert rule(harder).on_trial_result(running(30, (0.4, 0.9), ratio=0.8)) == CONTINUE
    as_hard = running(30, (0.5, 0.9), (0.99, 0.1), ratio=0.995)
    assert rule(harder).on_trial_result(as_hard) == CONTINUE  # beyond all: any return would do
    assert rule(harder).on_trial_result(running(30, (0.5, 0.9), (0.99, 0.1), ratio=0.99)).stop


def test_a_trial_is_compared_at_its_own_progress() -> None:
    """What others gained early on says nothing about its last rounds."""
    rising = [trial(n, (0.9, 0.1), (0.9, 0.96), (0.9, 0.97)) for n in range(9)]
    first, second = ((0.9, 0.05),), ((0.9, 0.05), (0.9, 0.05))
    assert rule(rising).on_trial_result(running(21, *first, ratio=0.91)) == CONTINUE
    assert rule(rising).on_trial_result(running(21, *second, ratio=0.91)).stop
    # The same as all others, it would add nothing.
    assert rule(rising).on_trial_result(running(21, (0.9, 0.1), ratio=0.9)).stop


def test_trials_from_scratch_are_not_judged_by_those_from_the_baseline() -> None:
    """A policy that has yet to learn the task gains what one that has learned it never does."""
    unlearned = running(21, (0.5, 0.0), (0.9, 0.1), origin="scratch")
    assert rule(GOOD).on_trial_result(unlearned) == CONTINUE
    never = [
        trial(n, (0.5, 0.0), (0.9, 0.1), (0.9, 0.1), origin="scratch") for n in range(32, 48, 4)
    ]
    assert rule([*GOOD, *never]).on_trial_result(unlearned).stop


def test_stopped_trials_are_not_asked_but_their_points_count() -> None:
    made = rule(GOOD)
    front_of = trial(11, (0.95, 0.99), state="stopped", ratio=0.97)
    made.add([front_of])
    assert "of 6" in made.on_trial_result(running(21, (0.9, 0.1))).reason
    decision = made.on_trial_result(running(21, (0.6, 0.99), ratio=0.9))
    assert decision.stop and "have to keep 99.6%" in decision.reason


def test_ended_trials_are_left_alone() -> None:
    made = rule(GOOD)
    for state in ("complete", "stopped", "failed"):
        assert made.on_trial_result(trial(20, (0.9, 0.0), state=state)) == CONTINUE
    assert made.on_trial_result(running(21)) == CONTINUE


def test_a_driver_that_goes_on_decides_as_the_old_one() -> None:
    whole, parts = rule([]), rule([])
    for number, known in enumerate(GOOD):
        for rounds in range(1, 4):
            state = "complete" if rounds == 3 else "running"
            update = {"points": known.points[:rounds], "state": state}
            whole.on_trial_result(known.model_copy(update=update))
        parts = rule(GOOD[: number + 1])
        probe = running(21, (0.5, 0.9), (0.9, 0.05))
        assert whole.on_trial_result(probe) == parts.on_trial_result(probe)


def test_a_record_that_is_behind_is_not_decided_on(tmp_path: Path) -> None:
    """Else it would lose the round that it lacks."""
    folder = StudyFolder(tmp_path, "study")
    for known in GOOD:
        folder.write_trial(known)
    collapsed = running(21, (0.5, 0.9), (0.9, 0.05))
    folder.write_trial(collapsed)
    stopper = EarlyStopping(Stopping(), folder)
    assert not stopper("a", {"number": 21, "round": 3})
    assert not stopper("a", {"number": 22, "round": 0})
    assert folder.trial(21) == collapsed
    assert stopper("a", {"number": 21, "round": 2})
    stopped = folder.trial(21)
    assert stopped is not None and stopped.state == "stopped"
    assert stopped.points == collapsed.points and "no longer improves" in stopped.reason


def test_a_plans_other_seeds_run_to_their_end(tmp_path: Path) -> None:
    """However badly they do, else only those that do well would be reported."""
    folder = StudyFolder(tmp_path, "study")
    for known in GOOD:
        folder.write_trial(known)
    folder.write_trial(running(21, (0.5, 0.9), (0.9, 0.05)))  # a plan that has run before
    folder.write_trial(running(21, (0.5, 0.9), (0.9, 0.05), ratio=0.89))
    stopper = EarlyStopping(Stopping(), folder, seeds=2)
    assert not stopper("a", {"number": 20, "round": 2})
    assert stopper("b", {"number": 21, "round": 2})


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (running(0, (0.3, 1.0), ratio=0.9), 0.9),
        (running(0, (0.93, 1.0), ratio=0.9), 0.93),  # units go whole
        (running(0, (0.0, 1.0), ratio=0.9, scope="critic"), 0.0),
        (running(0, (0.3, 1.0), **BY_VALUE, schedule="cubic", end=0.5), 1.0),
        (running(0, *[(0.3, 1.0)] * 3, **BY_VALUE, schedule="cubic", end=0.5), 0.3),
        (running(0, (0.3, 1.0), **BY_VALUE, schedule="one_shot"), 0.3),
        (running(0, *[(0.3, 1.0)] * 5, schedule="gated"), 1.0),
    ],
)
def test_reach(record: TrialRecord, expected: float) -> None:
    found = FrontStopping(0.8).reach(record.plan, record.points)
    assert found == pytest.approx(expected, abs=1e-3)  # whole parameters


def test_reach_is_what_ratios_have_led_to() -> None:
    """Biases stay of single weights, and kernels that `pruning.layers` does not name; units go
    whole, and whatever else a granularity comes to is its own."""
    ended = [
        trial(0, *[(0.3, 1.0)] * 5, (0.6, 1.0), ratio=0.8),
        trial(1, *[(0.3, 1.0)] * 5, (0.9, 1.0), ratio=0.8, granularity="neuron"),
        trial(2, (0.1, 1.0), ratio=0.8, granularity="2:4"),  # gave up before its end
    ]
    found = rule(ended)
    points = running(3, (0.3, 1.0)).points

    def reached(granularity: str) -> float:
        return found.reach(plan(ratio=0.96, granularity=granularity), points)

    assert reached("weight") == pytest.approx(0.96 * 0.6 / 0.8, abs=1e-3)
    assert reached("neuron") == reached("filter") == pytest.approx(0.96)


@pytest.mark.parametrize("prunable", [0.96, 0.5])
def test_what_cannot_get_beyond_the_front_is_stopped_though_its_ratio_is_higher(
    prunable: float,
) -> None:
    """Only a share of the parameters may be pruned: the rest are biases, or kernels left out."""
    far = 0.99 * prunable
    finished = [
        trial(number, (0.3, 1.0), *[(far, 0.98)] * 4, (far, 1.0), ratio=0.99) for number in range(9)
    ]
    assert rule(finished).on_trial_result(running(9, (0.3, 1.0), ratio=0.99)).stop
    further = running(9, (0.3, 1.0), ratio=0.999)
    assert not rule(finished).on_trial_result(further).stop


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.floats(0, 0.999), st.floats(-0.5, 1.2)), min_size=1, max_size=8),
    st.floats(0.01, 1),
    st.floats(1e-6, 0.5),
)
def test_what_is_needed_adds_just_that_area(
    placed: list[tuple[float, float]], sparsity: float, area: float
) -> None:
    def at(sparsity: float, retention: float) -> Point:
        made = make_point(0, 1, 0.5, 1.0)
        iqm = made.returned.model_copy(
            update={"aggregate": "iqm", "iqm": BASELINE.return_at(retention)}
        )
        update = {"sparsity": sparsity, "retention": retention, "returned": iqm}
        return made.model_copy(update=update)

    best = front(at(*each) for each in placed)
    needed = needed_retention(best, sparsity, area)
    added = front_area([*best, at(sparsity, needed)]) - front_area(best)
    assert added == pytest.approx(area, abs=1e-9)


def made_up(rng: random.Random, number: int, asleep: float) -> TrialRecord:
    """A whole trial: pruned at once or step by step, recovering, as far as its method bears.

    A share of them sleeps, at a quarter of its retention, until its last rounds.
    """
    ratio, bears = 1 - 0.3 * 0.02 ** rng.random(), rng.choice([0.97, 0.985, 0.993, 0.996])
    at_once, harm = rng.random() < 0.4, rng.random() * 0.6
    wakes = rng.choice([4, 5, 6]) if rng.random() < asleep else 0
    rounds = []
    for at in range(1, 7):
        sparsity = ratio if at_once else ratio * min(1, at / 4) ** 0.3
        kept = 1 / (1 + ((1 - bears) / (1 - sparsity)) ** 3) * (0.25 if at < wakes else 1)
        hurt = harm * (0.5**at if at_once else 0.3 * 0.6**at)
        rounds.append((sparsity, min(1.05, kept * (1 - hurt) + rng.gauss(0, 0.02))))
    return trial(number, *rounds, ratio=ratio)


@pytest.mark.parametrize(
    ("confidence", "asleep"), [(0.8, 0.9), pytest.param(0.7, 0.0, marks=pytest.mark.slow)]
)
def test_as_few_stopped_trials_are_wrong_as_stated(
    confidence: float, asleep: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """What they would still have measured is looked up: would the front have grown?"""
    studies, trials, rounds = 6, 40, 6
    stopped = wrong = used = 0
    kept, all_stopped = [], 0
    for seed in range(studies):
        rng, made, seen, all_of_it = random.Random(seed), rule([], confidence), [], []
        fates = []
        for number in range(trials):
            whole = made_up(rng, number, asleep)
            all_of_it += whole.points
            for done in range(1, rounds + 1):
                so_far = {"points": whole.points[:done], "state": "running"}
                record = whole.model_copy(update=so_far if done < rounds else {})
                seen.append(whole.points[done - 1])
                used += 1
                if made.on_trial_result(record).stop:
                    stopped += 1
                    wrong += improves(whole.points[done:], seen, made.gain)
                    break
            fates.append(done < rounds)
        kept.append(log_hypervolume(seen) / log_hypervolume(all_of_it))
        all_stopped += all(fates[4:])
    with capsys.disabled():
        print(
            f"\nstopped wrongly: {wrong} of {stopped}, {wrong / stopped:.1%}, stated at most"
            f" {1 - confidence:.0%}; {used / (studies * trials * rounds):.0%} of the rounds run;"
            f" {sum(kept) / studies:.1%} of the front kept"
        )
    assert stopped > 0.2 * studies * trials
    assert wrong / stopped <= 1 - confidence
    assert used < 0.8 * studies * trials * rounds
    assert all_stopped == 0
    assert min(kept) > 0.9 and sum(kept) / studies > 0.98  # of the front of all of them
