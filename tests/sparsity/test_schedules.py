import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prune_search.sparsity import SCHEDULES, Schedule, schedule


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    start = draw(st.floats(0.0, 0.9))
    end = draw(st.floats(start + 0.05, 1.0))
    return schedule(draw(st.sampled_from(sorted(SCHEDULES))), start, end, draw(st.integers(1, 30)))


unit = st.floats(0.0, 1.0)
final_ratio = st.floats(0.0, 0.9999)


@settings(max_examples=300)
@given(schedules(), unit, unit, final_ratio)
def test_monotone_within_bounds(chosen: Schedule, one: float, other: float, final: float) -> None:
    early, late = sorted((one, other))
    assert 0.0 <= chosen.fraction(early) <= chosen.fraction(late) <= 1.0
    assert 0.0 <= chosen.at(early, final) <= chosen.at(late, final) <= final


@settings(max_examples=100)
@given(schedules(), final_ratio)
def test_ends(chosen: Schedule, final: float) -> None:
    assert chosen.fraction(chosen.start - 1e-6) == 0.0 == chosen.at(chosen.start - 1e-6, final)
    for progress in (chosen.end, 1.0, 1.3):
        assert chosen.fraction(progress) == 1.0
        assert chosen.at(progress, final) == final


def test_one_shot_is_all_at_start() -> None:
    chosen = schedule("one_shot", 0.3, 0.9, 5)
    assert [chosen.at(progress, 0.8) for progress in (0.0, 0.29, 0.3, 0.5)] == [0, 0, 0.8, 0.8]


def test_linear_is_half_way_in_the_middle() -> None:
    assert schedule("linear", 0.2, 0.6, 1).at(0.4, 0.9) == pytest.approx(0.45)


def test_cubic_is_gradual_magnitude_pruning() -> None:
    chosen = schedule("cubic", 0.2, 0.8, 1)
    assert chosen.at(0.2, 0.95) == 0.0
    assert chosen.at(0.35, 0.95) == pytest.approx(0.95 * (1 - 0.75**3))
    assert chosen.at(0.5, 0.95) == pytest.approx(0.95 * (1 - 0.5**3))
    assert chosen.at(0.8, 0.95) == 0.95


def test_cosine_is_half_a_wave() -> None:
    chosen = schedule("cosine", 0.2, 0.8, 1)
    found = [chosen.at(progress, 0.9) for progress in (0.2, 0.3, 0.4, 0.5, 0.6, 0.8)]
    quarter = (2 - 3**0.5) / 4  # at a sixth of the way
    assert found == pytest.approx([0.0, 0.9 * quarter, 0.225, 0.45, 0.675, 0.9])


def test_geometric_removes_the_same_share_of_what_remains() -> None:
    chosen = schedule("geometric", 0.0, 1.0, 3)
    ratios = [chosen.at(progress, 1 - 0.8**3) for progress in (0.0, 1 / 3, 2 / 3)]
    assert ratios == pytest.approx([0.2, 0.36, 0.488])


@settings(max_examples=200)
@given(st.integers(1, 60), st.floats(0.0, 0.5), st.floats(0.6, 1.0))
def test_geometric_makes_every_step_when_it_is_due(steps: int, start: float, end: float) -> None:
    chosen = schedule("geometric", start, end, steps)
    for step in range(steps):
        due = start + (end - start) * step / steps
        between = start + (end - start) * (step + 0.5) / steps
        assert chosen.fraction(due) == chosen.fraction(between) == (step + 1) / steps


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(
    ("start", "end", "steps", "field"),
    [
        (-0.1, 0.5, 1, "start"),
        (1.0, 1.0, 1, "start"),
        (0.5, 0.5, 1, "end"),
        (0.5, 1.1, 1, "end"),
        (float("nan"), 0.5, 1, "start"),
        (0.0, 1.0, 0, "steps"),
    ],
)
def test_an_error_names_its_field(
    name: str, start: float, end: float, steps: int, field: str
) -> None:
    with pytest.raises(ValueError, match=f"^{field} must be"):
        schedule(name, start, end, steps)


@given(st.sampled_from(sorted(SCHEDULES)), st.floats(0, 20), st.floats(0, 1.2), st.floats(0, 1.2))
def test_thresholds_of_any_size_grow(name: str, final: float, one: float, other: float) -> None:
    """Also above 1, where a ratio's powers would be complex numbers."""
    chosen, early, late = schedule(name, 0.0, 0.8, 4), min(one, other), max(one, other)
    assert 0 <= chosen.threshold(early, final) <= chosen.threshold(late, final) <= final
    assert chosen.threshold(1.0, final) == final


def test_schedules_are_values() -> None:
    assert schedule("cubic", 0.0, 1.0, 1) == schedule("cubic", 0.0, 1.0, 1)
    assert schedule("cubic", 0.0, 1.0, 1) != schedule("linear", 0.0, 1.0, 1)
    assert repr(schedule("one_shot", 0.0, 1.0, 1)) == "OneShot(start=0.0, end=1.0, steps=1)"


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        ValueError,
        match=r"'sine', did you mean cosine\? known are: one_shot, linear, cubic, cosine",
    ):
        schedule("sine", 0.0, 1.0, 1)
