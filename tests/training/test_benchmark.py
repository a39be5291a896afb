"""The overhead benchmark measures what it says it does."""

from __future__ import annotations

from typing import Any

import pytest

from prune_search.training.benchmark import masks_overhead


def test_masks_overhead_compares_a_pruned_with_an_unmasked_network(
    tiny: Any, local_ray: None
) -> None:
    result = masks_overhead(tiny(), pairs=2)
    assert result.weight_sparsity == pytest.approx(0.9, abs=0.005)
    assert 0 < result.low <= result.median <= result.high
