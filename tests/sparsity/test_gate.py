"""The gate on made-up response curves: no training, so that each decision can be checked."""

import math
import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prune_search.sparsity.gate import Gate

History = list[tuple[float, float]]
GATE = Gate(hold=0.9, floor=0.5)


def distance(low: float, high: float) -> float:
    """Natural logarithm of the densities' quotient."""
    return math.log1p(-low) - math.log1p(-high)


class Policy:
    """A made-up policy: what it can retain falls at a cliff, and training closes the gap.

    Attributes:
        cliff: the ratio up to which it can retain everything.
        slope: retention lost per unit of log-density beyond the cliff; infinite for a step to 0.
        recovery: share of the gap to what is possible that a round of training closes.
        shock: retention lost at once per unit of log-density that is removed.
        noise: standard deviation of the measured retention.
    """

    def __init__(
        self,
        cliff: float,
        slope: float = math.inf,
        recovery: float = 1.0,
        shock: float = 0.0,
        noise: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.cliff, self.slope, self.recovery = cliff, slope, recovery
        self.shock, self.noise = shock, noise
        self.random = random.Random(seed)
        self.ratio, self.health = 0.0, 1.0

    def round(self, ratio: float) -> float:
        beyond = distance(self.cliff, ratio)
        possible = 1.0 if beyond <= 1e-12 else max(0.0, 1.0 - self.slope * beyond)
        self.health -= self.shock * max(0.0, distance(self.ratio, ratio))
        self.health += self.recovery * (possible - self.health)
        self.ratio = ratio
        return self.health + self.random.gauss(0.0, self.noise)


def drive(gate: Gate, policy: Policy, rounds: int, history: History | None = None) -> History:
    history = list(history or [])
    for _ in range(rounds):
        ratio = gate.next_ratio(history)
        assert 0.0 <= ratio <= gate.highest < 1.0
        history.append((ratio, policy.round(ratio)))
    return history


def settling(gate: Gate, history: History) -> int:
    """The number of rounds after which the gate had settled at first."""
    return next(n for n in range(len(history) + 1) if gate.settled(history[:n]))


# --- single decisions


def test_density_shrinks_by_the_step_while_it_holds() -> None:
    assert GATE.next_ratio([]) == 0.5
    assert GATE.next_ratio([(0.5, 0.9)]) == pytest.approx(0.75)
    assert GATE.next_ratio([(0.5, 0.9), (0.75, 1.2)]) == pytest.approx(0.875)
    assert Gate(hold=0.9, floor=0.5, step=0.2).next_ratio([(0.2, 1.0)]) == pytest.approx(0.36)


def test_it_pauses_between_floor_and_hold_and_goes_on_after_recovery() -> None:
    history: History = [(0.5, 1.0), (0.75, 0.6), (0.75, 0.89)]
    assert GATE.next_ratio(history[:2]) == GATE.next_ratio(history) == 0.75
    assert GATE.next_ratio([*history, (0.75, 0.9)]) == pytest.approx(0.875)  # same step
    assert GATE.next_ratio([*history, (0.75, 0.89)]) == 0.5  # two rounds of patience are over
    assert Gate(hold=0.9, floor=0.5, patience=0).next_ratio(history[:2]) == 0.5


def test_below_the_floor_it_goes_back_and_halves_the_step() -> None:
    history: History = [(0.5, 1.0), (0.75, 0.49)]
    assert GATE.next_ratio(history) == 0.5
    assert GATE.next_ratio([*history, (0.5, 1.0)]) == pytest.approx(1 - 0.5 * 0.75)


def test_it_goes_back_twice_as_far_each_time_down_to_dense() -> None:
    held: History = [(1.0 - 0.9**n, 1.0) for n in range(1, 11)]
    gate = Gate(hold=0.9, floor=0.5, step=0.1)
    history = list(held)
    visited = []
    for _ in range(6):
        ratio = gate.next_ratio(history)
        visited.append(ratio)
        history.append((ratio, 0.0))
    # 11 steps were tried: then 1, 2, 4 and 8 of them are taken back, and all.
    expected = [1.0 - 0.9**n for n in (11, 10, 9, 7, 3, 0)]
    assert visited == pytest.approx(expected)
    assert gate.next_ratio(history) == 0.0
    # From there by half of the share that is known to fail at the latest.
    assert gate.next_ratio([*history, (0.0, 1.0)]) == pytest.approx(0.1)  # at most the first step


def test_three_steps_that_hold_double_the_step_up_to_the_first() -> None:
    history: History = [(0.5, 0.0), (0.0, 1.0)]
    densities = []
    for _ in range(5):
        ratio = GATE.next_ratio(history)
        densities.append((1.0 - ratio) / (1.0 - history[-1][0]))
        history.append((ratio, 1.0))
    assert densities == pytest.approx([0.75, 0.75, 0.75, 0.5, 0.5])
    history.append((GATE.next_ratio(history), 1.0))
    assert GATE.next_ratio(history) == pytest.approx(1.0 - 0.5 * (1.0 - history[-1][0]))


def test_a_dense_network_that_fails_is_kept_until_it_holds() -> None:
    assert GATE.next_ratio([(0.0, 0.1)]) == 0.0
    assert GATE.next_ratio([(0.0, 0.1), (0.0, 0.7)]) == 0.0
    assert not GATE.settled([(0.0, 0.1)])
    assert GATE.next_ratio([(0.0, 0.1), (0.0, 1.0)]) == 0.5


def test_it_stops_at_the_highest_ratio() -> None:
    gate = Gate(hold=0.9, floor=0.5, highest=0.8)
    history = drive(gate, Policy(cliff=0.99), 5)
    assert [ratio for ratio, _ in history] == pytest.approx([0.5, 0.75, 0.8, 0.8, 0.8])
    assert settling(gate, history) == 3


# --- response curves


@pytest.mark.parametrize("cliff", [0.0, 0.3, 0.8, 0.95, 0.99, 0.998])
def test_it_finds_a_cliff_and_stays(cliff: float) -> None:
    history = drive(GATE, Policy(cliff), 60)
    end = settling(GATE, history)
    assert end <= 40
    assert 0.0 <= distance(history[end - 1][0], cliff) < 0.05
    assert {ratio for ratio, _ in history[end:]} == {history[end - 1][0]}
    assert all(GATE.settled(history[:n]) for n in range(end, len(history) + 1))


@pytest.mark.parametrize("cliff", [0.3, 0.9, 0.98])
def test_it_finds_where_a_slope_crosses_hold(cliff: float) -> None:
    history = drive(GATE, Policy(cliff, slope=1.0), 120)
    end = settling(GATE, history)
    crossing = 1.0 - (1.0 - cliff) * math.exp(-0.1)
    assert 0.0 <= distance(history[end - 1][0], crossing) < 0.05


@pytest.mark.parametrize("seed", range(20))
def test_it_finds_a_cliff_in_noise(seed: int) -> None:
    policy = Policy(0.95, slope=2.0, noise=0.03, seed=seed)
    history = drive(GATE, policy, 120)
    last = [ratio for ratio, _ in history[-20:]]
    assert all(abs(distance(ratio, 0.95)) < 0.25 for ratio in last)
    assert any(GATE.settled(history[:n]) for n in range(100, 121))


@pytest.mark.parametrize("shock", [0.3, 1.0])
def test_recovery_that_takes_rounds_is_waited_for(shock: float) -> None:
    history = drive(GATE, Policy(0.97, recovery=0.6, shock=shock), 150)
    end = settling(GATE, history)
    assert -1e-9 <= distance(history[end - 1][0], 0.97) < 0.08


@pytest.mark.parametrize("after", [0.0, 0.4, 0.8, 0.93])
@pytest.mark.parametrize("change", [3, 12, 40, 90])
def test_it_follows_a_cliff_down_and_back_up(change: int, after: float) -> None:
    policy = Policy(0.96, recovery=0.8)
    history = drive(GATE, policy, change)
    policy.cliff = after
    history = drive(GATE, policy, 80, history)
    settled = [n for n in range(change + 1, len(history) + 1) if GATE.settled(history[:n])]
    assert settled
    low = history[settled[-1] - 1][0]
    assert 0.0 <= distance(low, after) < 0.05
    policy.cliff = 0.96
    history = drive(GATE, policy, 150, history)
    if change >= 40:  # it had found the first cliff, so it knows that there is more to have
        assert 0.0 <= distance(history[-1][0], 0.96) < 0.08
    else:
        assert history[-1][0] >= low


def test_once_settled_below_its_best_it_probes_ever_more_rarely() -> None:
    policy = Policy(0.96)
    history = drive(GATE, policy, 40)
    policy.cliff = 0.5
    history = drive(GATE, policy, 400, history)
    failures = [n for n, (_, retention) in enumerate(history) if n > 80 and retention < 0.9]
    gaps = [after - before for before, after in pairwise(failures)]
    assert len(failures) <= 8
    assert gaps == sorted(gaps) and gaps[-1] > 60


# --- properties

retentions = st.floats(-2.0, 2.0)


@settings(max_examples=200)
@given(measured=st.lists(retentions, max_size=80), step=st.floats(0.02, 0.99))
def test_ratios_are_in_range_and_rules_hold_whatever_is_measured(
    measured: list[float], step: float
) -> None:
    gate = Gate(hold=0.9, floor=0.5, step=step)
    history: History = []
    for retention in measured:
        ratio = gate.next_ratio(history)
        assert 0.0 <= ratio <= gate.highest
        if history:
            before, seen = history[-1]
            if seen >= gate.hold:  # one step on at most, never back
                assert before <= ratio <= max(before, 1.0 - (1.0 - before) * (1.0 - step)) + 1e-12
                assert (ratio == before) == gate.settled(history)
            elif seen >= gate.floor:
                assert ratio <= before
                assert not gate.settled(history)
            else:  # back to a ratio that has held, or dense
                assert ratio < before or before == 0.0
                assert ratio in {0.0, *(one for one, good in history if good >= gate.hold)}
                assert not gate.settled(history)
        history.append((ratio, retention))


@settings(max_examples=100)
@given(cliff=st.floats(0.0, 0.999), step=st.floats(0.1, 0.7))
def test_it_converges_to_any_cliff_from_below(cliff: float, step: float) -> None:
    gate = Gate(hold=0.9, floor=0.5, step=step)
    history = drive(gate, Policy(cliff), 150)
    end = settling(gate, history)
    assert -1e-9 <= distance(history[end - 1][0], cliff) < 0.05


@settings(max_examples=100)
@given(measured=st.lists(retentions, max_size=40), cut=st.integers(0, 40))
def test_a_resumed_trial_decides_the_same(measured: list[float], cut: int) -> None:
    gate = Gate(hold=0.9, floor=0.5)
    history: History = []
    for retention in measured:
        history.append((gate.next_ratio(history), retention))
    resumed = Gate(hold=0.9, floor=0.5)  # knows nothing but the part before the cut
    again = history[:cut]
    for retention in measured[cut:]:
        again.append((resumed.next_ratio(again), retention))
    assert again == history
    frozen = list(history)
    assert gate.next_ratio(tuple(history)) == resumed.next_ratio(history)
    assert gate.settled(history) == resumed.settled(again) and history == frozen


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gate(hold=0.5, floor=0.5), "floor must be less than hold"),
        (lambda: Gate(hold=math.nan, floor=0.5), "floor must be less than hold"),
        (lambda: Gate(hold=0.9, floor=0.5, step=1.0), r"step must be in \(0, 1\), not 1.0"),
        (lambda: Gate(hold=0.9, floor=0.5, step=0.1, smallest=0.2), "smallest must be in"),
        (lambda: Gate(hold=0.9, floor=0.5, patience=-1), "patience must be at least 0"),
        (lambda: Gate(hold=0.9, floor=0.5, highest=1.0), r"highest must be in \(0, 1\)"),
        (lambda: GATE.next_ratio([(1.0, 1.0)]), r"ratios must be in \[0, 1\), not 1.0"),
        (lambda: GATE.settled([(0.5, math.nan)]), "retention at ratio 0.5 is NaN"),
    ],
)
def test_what_it_refuses(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
