"""The overhead benchmark measures what it says it does."""

from __future__ import annotations

from typing import Any

import pytest

from prune_search.training.benchmark import masks_overhead


def test_masks_overhead_compares_a_pruned_with_an_unmasked_network(
    tiny: Any, local_ray: None
) -> None:
    result = masks_overhead(tiny(), pairs=2)
    # 688 of the 755 parameters are kernels', of which 90 % go.
    assert result.sparsity == pytest.approx(0.9 * 688 / 755, abs=0.005)
    assert 0 < result.low <= result.median <= result.high
