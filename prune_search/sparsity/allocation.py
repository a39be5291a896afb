"""How a network's ratio is divided over its layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from prune_search.registry import Registry
from prune_search.sparsity.named import Shapes

if TYPE_CHECKING:
    from torch import Tensor

Allocate = Callable[[Shapes, float], dict[str, float] | None]
"""Shapes of the prunable weight tensors, (out, in, *kernel), and a total ratio in [0, 1) to the
ratio of each layer; None where the scores decide."""


@dataclass(frozen=True)
class Allocation:
    """A way to divide a ratio.

    Attributes:
        name: its name in ``ALLOCATIONS``.
        ratios: the ratio of each layer; call ``layer_ratios``, which checks its arguments.
        rescale: for single weights, makes one layer's scores comparable with other layers'. Takes
            and gives a vector in ascending order; -inf marks weights that are removed already, and
            stays.
        fitted_to: what it is made from before it can be used, by layer: densities that are searched
            for, or sensitivity curves that are measured on the dense network; None where it needs
            nothing.
        fit: makes it from that.
    """

    name: str
    ratios: Allocate
    rescale: Callable[[Tensor], Tensor] | None = None
    fitted_to: Literal["densities", "curves"] | None = None
    fit: Callable[[Mapping[str, Any]], Allocation] | None = None


ALLOCATIONS: Registry[Allocation] = Registry("allocation")


def register_allocation(
    name: str, *, rescale: Callable[[Tensor], Tensor] | None = None
) -> Callable[[Allocate], Allocate]:
    """Registers a function of the layers' shapes and a total ratio as an allocation.

    Args:
        name: its name, for files and calls.
        rescale: as ``Allocation`` has it.

    Raises:
        ValueError: the name is taken.
    """

    return ALLOCATIONS.registering(name, lambda ratios: Allocation(name, ratios, rescale))


def register_fitted(
    name: str, fitted_to: Literal["densities", "curves"]
) -> Callable[[Callable[[Mapping[str, Any]], Allocation]], Callable[..., Allocation]]:
    """Registers a function that makes an allocation from figures of the layers."""

    def unfitted(shapes: Shapes, ratio: float) -> dict[str, float]:
        raise ValueError(f"allocation {name!r} is made from the layers' {fitted_to}; give it made")

    return ALLOCATIONS.registering(
        name, lambda fit: Allocation(name, unfitted, fitted_to=fitted_to, fit=fit)
    )


def proportional(densities: Mapping[str, float]) -> Allocation:
    """Densities in given proportions: min(1, scale · density), at the scale that meets the ratio.

    Args:
        densities: for each layer a number in (0, 1]: the density it would have.

    Raises:
        ValueError: a density is out of range; on use, a layer has none.
    """
    raw = dict(densities)
    for name, density in raw.items():
        if not 0.0 < density <= 1.0:
            raise ValueError(f"the density of {name!r} must be in (0, 1], not {density}")

    def ratios(shapes: Shapes, ratio: float) -> dict[str, float]:
        missing = [name for name in shapes if name not in raw]
        if missing:
            raise ValueError(f"layers without a density: {', '.join(missing)}")
        return _saturating({name: raw[name] for name in shapes}, shapes, ratio)

    return Allocation("searched", ratios)


def layer_ratios(
    allocation: str | Allocation, shapes: Shapes, ratio: float
) -> dict[str, float] | None:
    """The share of each layer's weights to remove, so that ``ratio`` of all of them go.

    Args:
        allocation: a key of ``ALLOCATIONS``, or an allocation.
        shapes: the shape of each prunable weight tensor, (out, in, *kernel).
        ratio: share of all these weights to remove, in [0, 1).

    Returns:
        Ratios in [0, 1] by layer, whose average weighted by the layers' sizes is ``ratio``; or
        None for ``global`` and ``lamp``, where the scores decide.

    Raises:
        ValueError: the allocation is unknown, or the ratio out of range.
    """
    chosen = find_allocation(allocation)
    check_ratio(ratio)
    return chosen.ratios(shapes, ratio)


def find_allocation(allocation: str | Allocation) -> Allocation:
    """The allocation of that name; an allocation is itself.

    Raises:
        ValueError: there is none; the message lists the known ones.
    """
    if isinstance(allocation, Allocation):
        return allocation
    return ALLOCATIONS.find(allocation)


def check_ratio(ratio: float) -> None:
    """Raises ValueError unless the ratio is in [0, 1)."""
    if not 0.0 <= ratio < 1.0:
        raise ValueError(f"ratio must be in [0, 1), not {ratio}")


@register_allocation("uniform")
def _uniform(shapes: Shapes, ratio: float) -> dict[str, float]:
    """The same ratio in every layer."""
    return dict.fromkeys(shapes, ratio)


@register_allocation("global")
def _global(shapes: Shapes, ratio: float) -> None:
    """No ratio per layer: scores are ranked over the whole network."""
    return None


@register_allocation("erk")
def _erk(shapes: Shapes, ratio: float) -> dict[str, float]:
    """Erdős-Rényi-kernel: density in proportion to sum(shape) / prod(shape).

    Layers whose density would exceed 1 stay dense, and the others share what remains
    (Evci et al. 2020, Rigging the Lottery, section 3; for linear layers Mocanu et al. 2018).
    """
    raw = {name: sum(shape) / math.prod(shape) for name, shape in shapes.items() if all(shape)}
    return _saturating(raw, shapes, ratio)


def _saturating(raw: dict[str, float], shapes: Shapes, ratio: float) -> dict[str, float]:
    """Ratios at which densities are min(1, scale · raw) and the total is ``ratio``."""
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    sparse = dict(raw)
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


def _lamp(scores: Tensor) -> Tensor:
    """A layer's scores s, in ascending order, squared over the sum of squares of all that outlive.

    Lee et al. 2021, Layer-adaptive sparsity for the magnitude-based pruning, equation 1:
    s[u]² / Σ s[v]² over v ≥ u, for any criterion's s in place of |w|. Negative scores (movement's)
    have no share in the sums, and stay as they are, below all others.
    """
    import torch

    # In place where it can be: each pass over a large layer counts.
    shares = scores.to(torch.float64, copy=True).square_()
    outliving = shares.flip(0).cumsum_(0).flip(0)
    # Where only zeros are left the share is 0/0: zero, as for any other zero.
    shares.div_(outliving.clamp_(min=torch.finfo(torch.float64).tiny))
    # Negative scores come first, so that the sums of the others leave them out.
    negative = int(torch.searchsorted(scores, 0.0))
    shares[:negative] = scores[:negative]
    return shares


register_allocation("lamp", rescale=_lamp)(_global)
