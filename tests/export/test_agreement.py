"""How an artifact's actions agree with RLlib's, and what is said of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from prune_search.artifacts.base import Artifact
from prune_search.artifacts.card import Card
from prune_search.export.measuring import Agreement, agreement
from prune_search.export.recording import Recorded

ROWS = 8


class Fixed(Artifact):
    """Gives what it is told to."""

    rows = True

    def __init__(self, actions: NDArray[Any], discrete: bool) -> None:
        self._actions = actions
        self.card = Card(
            version="0",
            target="fixed",
            name="tests t00/1",
            task=None,
            measurement=None,
            observation_shape=(1,),
            state_size=0,
            noise="none",
            noise_size=0,
            discrete=discrete,
            action_shape=actions.shape[1:],
            parameters=1,
            nonzero=1,
        )

    def step(self, observation: Any, state: Any, noise: Any) -> tuple[NDArray[Any], Any]:
        return self._actions, state


def compared(got: Any, want: Any, ranges: Any = None, *, discrete: bool = False) -> Agreement:
    """Of one number of each action."""
    theirs = np.resize(np.asarray(want), (ROWS, 1))
    seen, begins = np.zeros((ROWS, 1), np.float32), np.arange(ROWS) == 0
    recorded = Recorded(
        seen, theirs, begins, None if ranges is None else np.array([ranges], np.float64)
    )
    ours = np.resize(np.asarray(got), (ROWS, 1))
    return agreement(Fixed(ours, discrete), recorded)


def test_continuous_actions_that_differ_by_rounding_alone_are_the_same() -> None:
    want = np.linspace(-1, 1, ROWS, dtype=np.float32)
    found = compared(np.nextafter(want, np.float32(2)), want, ranges=2.0)
    assert found.equal == 1 and 0 < found.difference < 1e-6 and found.holds(False)
    said = found.words("RLlib")
    assert said.startswith("100.00% are those of RLlib within 1e-05 of an action's size, the large")
    assert said.endswith(f"largest difference is {found.difference:.1e} of it")


def test_what_is_rounded_by_design_tells_how_far_it_is_off() -> None:
    want = np.linspace(-1, 1, ROWS, dtype=np.float32)
    off = want + np.where(np.arange(ROWS) < 6, 0.01, 0).astype(np.float32)
    found = compared(off, want, ranges=2.0)
    assert found.equal == 0.25 and found.difference == pytest.approx(0.01, rel=1e-4)
    assert not found.holds(False)
    assert found.words("the point").startswith("25.00% are those of the point within 1e-05")
    assert "the largest difference is 1.0e-02 of it" in found.words("the point")


@pytest.mark.parametrize(
    ("ranges", "largest", "size"),
    [
        (0.02, 0.01, 0.01),  # a small range: half of it
        (2.0, 0.3, 1.0),
        (600.0, 200.0, 200.0),  # of RLlib's, the largest
        (300.0, 300.0, 150.0),
        (np.inf, 5.0, 5.0),
        (0.0, 0.5, 1.0),
        (None, 0.5, 1.0),
    ],
)
def test_differences_are_relative_to_an_actions_size(
    ranges: float | None, largest: float, size: float
) -> None:
    found = compared([largest + 0.1 * size], [largest], ranges)
    assert found.difference == pytest.approx(0.1)


def test_discrete_actions_are_equal_or_not() -> None:
    found = compared([0, 1, 1, 0], [0, 1, 1, 1], discrete=True)
    assert (found.equal, found.tolerance, found.difference) == (0.75, 0, 1)
    assert found.words("RLlib") == "75.00% are those of RLlib, the largest difference is 1.0e+00"
