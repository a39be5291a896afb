"""How a network's ratio is divided over its layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

Shapes = Mapping[str, tuple[int, ...]]


def _uniform(shapes: Shapes, ratio: float) -> dict[str, float]:
    """The same ratio in every layer."""
    return dict.fromkeys(shapes, ratio)


def _erk(shapes: Shapes, ratio: float) -> dict[str, float]:
    """Erdős-Rényi-kernel: density in proportion to sum(shape) / prod(shape).

    Layers whose density would exceed 1 stay dense, and the others share what remains
    (Evci et al. 2020, Rigging the Lottery, section 3; for linear layers Mocanu et al. 2018).
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    sparse = {name: sum(shape) / sizes[name] for name, shape in shapes.items()}
    to_keep = (1.0 - ratio) * sum(sizes.values())
    scale = 0.0
    while sparse:
        scale = to_keep / sum(raw * sizes[name] for name, raw in sparse.items())
        # Freezing a saturated layer only raises the scale, so all of them can go at once.
        saturated = [name for name, raw in sparse.items() if raw * scale >= 1.0]
        if not saturated:
            break
        for name in saturated:
            del sparse[name]
            to_keep -= sizes[name]
    return {name: 1.0 - sparse[name] * scale if name in sparse else 0.0 for name in shapes}


def _global(shapes: Shapes, ratio: float) -> None:
    """No ratio per layer: scores are ranked over the whole network."""
    return None


ALLOCATIONS: dict[str, Callable[[Shapes, float], dict[str, float] | None]] = {
    "uniform": _uniform,
    "erk": _erk,
    "global": _global,
}


def layer_ratios(name: str, shapes: Shapes, ratio: float) -> dict[str, float] | None:
    """The share of each layer's weights to remove, so that ``ratio`` of all of them go.

    Args:
        name: a key of ``ALLOCATIONS``.
        shapes: the shape of each prunable weight tensor, (out, in, *kernel).
        ratio: share of all these weights to remove, in [0, 1).

    Returns:
        Ratios in [0, 1] by layer, whose average weighted by the layers' sizes is ``ratio``; or
        None for ``global``, where the scores decide.

    Raises:
        ValueError: the allocation is unknown, or the ratio out of range.
    """
    if name not in ALLOCATIONS:
        raise ValueError(f"unknown allocation {name!r}; known: {', '.join(ALLOCATIONS)}")
    if not 0.0 <= ratio < 1.0:
        raise ValueError(f"ratio must be in [0, 1), not {ratio}")
    return ALLOCATIONS[name](shapes, ratio)
