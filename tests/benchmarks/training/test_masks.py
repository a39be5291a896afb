"""The overhead benchmark measures what it says it does."""

from __future__ import annotations

from typing import Any

import pytest

from tuners.benchmarks.training.masks import masks_overhead, removal_speed


@pytest.mark.slow
def test_masks_overhead_compares_a_pruned_with_an_unmasked_network(
    tiny: Any, local_ray: None
) -> None:
    result = masks_overhead(tiny(), pairs=2)
    # 688 of the 755 parameters are kernels', of which 90 % go.
    assert result.sparsity == pytest.approx(0.9 * 688 / 755, abs=0.005)
    assert 0 < result.low <= result.median <= result.high


@pytest.mark.slow
def test_removal_speed_updates_networks_of_both_sizes(tiny: Any, local_ray: None) -> None:
    result = removal_speed(tiny("algorithm.model.fcnet_hiddens=[64, 64]"), pairs=1)
    assert result.sparsity > 0.8
    assert 0 < result.low <= result.median <= result.high
