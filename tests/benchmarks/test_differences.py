"""How far searches and plans are apart."""

from __future__ import annotations

import numpy as np
import pytest

from tuners.benchmarks.differences import Ahead


def test_the_interval_of_a_lead_is_welchs() -> None:
    random = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        a, b = random.normal(3, 1, 5), random.normal(1, 3, 5)
        found = Ahead.of(a.tolist(), b.tolist())
        held += found.low <= 2 <= found.high
    assert 0.92 <= held / 400 <= 0.98
    found = Ahead.of([0.5, 0.6, 0.7], [0.2, 0.3, 0.4])
    assert found.mean == pytest.approx(0.3) and str(found) == "+0.300 (+0.073, +0.527)"


def test_where_nothing_varies_the_lead_is_what_it_is() -> None:
    """Also where sums in another order differ in their last digits."""
    assert Ahead.of([5.0, 5.0], [3.0, 3.0]) == (2.0, 2.0, 2.0)
    one = Ahead.of([0.1 + 0.2, 0.3], [0.3, 0.3])
    assert one.low == one.high == one.mean == pytest.approx(0.0)
    assert Ahead.of([5.0, 5.0], [3.0, 3.1]).low < 1.95
