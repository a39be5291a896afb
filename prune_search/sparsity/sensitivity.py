"""Layers pruned as far as each can bear, by what pruning them one at a time has cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from prune_search.sparsity.allocation import (
    ALLOCATIONS,
    Allocation,
    check_ratio,
    proportional,
    register_fitted,
)
from prune_search.sparsity.named import Shapes

Curve = Sequence[tuple[float, float]]
"""Measured (ratio of the layer's weights removed, retention), in any order."""

_HALVINGS = 100  # more than a float's digits: the level is exact


@register_fitted("sensitivity", "curves")
def by_sensitivity(curves: Mapping[str, Curve]) -> Allocation:
    """The allocation that divides every ratio by ``sensitivity_ratios``.

    Raises:
        ValueError: as ``sensitivity_ratios``; on use, a layer has no curve.
    """
    known = {name: _decreasing(name, curve) for name, curve in curves.items()}

    def ratios(shapes: Shapes, ratio: float) -> dict[str, float]:
        return _at_total(known, {name: math.prod(shape) for name, shape in shapes.items()}, ratio)

    return Allocation("sensitivity", ratios)


def sensitivity_ratios(
    curves: Mapping[str, Curve], sizes: Mapping[str, int], ratio: float
) -> dict[str, float]:
    """Each layer's highest ratio at which its retention still holds one common level.

    Sensitivity scans of single layers are Han et al.'s (2015, Learning both weights and
    connections, section 3 and figure 6); the rule that turns them into ratios is this one:

    1. A curve starts at (0, 1), the dense network, and ends at (1, 0), the layer gone, unless it
       has points of its own there, or falls below 0 before.
    2. Noise is taken out by the non-increasing fit of least squares (isotonic regression); between
       points the curve is linear.
    3. At the level τ a layer has the highest ratio at which its curve is at least τ, 0 if it is
       nowhere. τ is bisected until the total is ``ratio``.
    4. Where curves are flat at that very τ, many ratios are as good: all such layers go the same
       share of their flat stretch. Layers with equal curves thus have equal ratios.

    Ratios meet the total exactly, and none falls when the total grows.

    Args:
        curves: (ratio, retention) by layer; ratios in [0, 1].
        sizes: how many weights each layer has; every layer here needs a curve.
        ratio: share of all weights to remove, in [0, 1).

    Returns:
        Ratios in [0, 1] by layer, in the order of ``sizes``.

    Raises:
        ValueError: a layer has no curve; a curve's ratio is out of range or there twice, or its
            retention not finite; ``ratio`` is out of range.
    """
    check_ratio(ratio)
    known = {name: _decreasing(name, curve) for name, curve in curves.items()}
    return _at_total(known, sizes, ratio)


def _at_total(
    curves: Mapping[str, list[tuple[float, float]]], sizes: Mapping[str, int], ratio: float
) -> dict[str, float]:
    missing = [name for name in sizes if name not in curves]
    if missing:
        raise ValueError(f"layers without a sensitivity curve: {', '.join(missing)}")
    if not sizes:
        return {}
    target = ratio * sum(sizes.values())

    def at(level: float) -> dict[str, float]:
        return {name: _highest(curves[name], level) for name in sizes}

    def total(ratios: Mapping[str, float]) -> float:
        return sum(ratios[name] * size for name, size in sizes.items())

    # At `low` all goes, at `high` nothing; the bounds do not depend on the ratio, so that the
    # intervals of two ratios are the same or apart, which keeps every layer monotone.
    low = min(curves[name][-1][1] for name in sizes)
    high = max(curves[name][0][1] for name in sizes) + 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        if total(at(middle)) >= target:
            low = middle
        else:
            high = middle
    least, most = at(high), at(low)
    between = total(most) - total(least)
    share = (target - total(least)) / between if between > 0.0 else 0.0
    return {name: least[name] + share * (most[name] - least[name]) for name in sizes}


def _highest(curve: list[tuple[float, float]], level: float) -> float:
    """The highest ratio at which a non-increasing curve is at least ``level``; 0 if none."""
    if curve[0][1] < level:
        return 0.0
    left, above = curve[0]
    for right, below in curve[1:]:
        if below < level:
            return left + (right - left) * (above - level) / (above - below)
        left, above = right, below
    return left


def _decreasing(name: str, curve: Curve) -> list[tuple[float, float]]:
    """Points at 0, the measured ratios and 1; the non-increasing fit of least squares."""
    points = dict(curve)
    if len(points) != len(curve):
        raise ValueError(f"the sensitivity curve of {name!r} has a ratio twice")
    for ratio, retention in points.items():
        if not 0.0 <= ratio <= 1.0:
            raise ValueError(f"a ratio in the curve of {name!r} must be in [0, 1], not {ratio}")
        if not math.isfinite(retention):
            raise ValueError(f"the retention of {name!r} at {ratio} must be finite: {retention}")
    points.setdefault(0.0, 1.0)
    points.setdefault(1.0, min(0.0, *points.values()))
    ratios = sorted(points)
    blocks: list[tuple[float, int]] = []  # pool adjacent violators: mean and number of each block
    for ratio in ratios:
        mean, count = points[ratio], 1
        while blocks and blocks[-1][0] < mean:
            before, number = blocks.pop()
            mean = (mean * count + before * number) / (count + number)
            count += number
        blocks.append((mean, count))
    fitted = [mean for mean, count in blocks for _ in range(count)]
    return list(zip(ratios, fitted, strict=True))


register_fitted("searched", "densities")(proportional)
ALLOCATIONS.close()
