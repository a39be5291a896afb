"""Drop and grow: dynamic sparse training, at an unchanged sparsity of every layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from prune_search.registry import Registry

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Score: TypeAlias = "Callable[[Tensor, Tensor | None, torch.Generator], Tensor]"


@dataclass(frozen=True)
class Regrowth:
    """Where single weights grow for those that are dropped.

    Attributes:
        name: its name in ``REGROWTHS``.
        needs_gradient: whether ``score`` needs the dense gradient of a loss, which covers
            removed weights too.
        score: ``score(weight, gradient, generator)`` gives a tensor of the weight's shape; the
            highest grow.
    """

    name: str
    needs_gradient: bool
    score: Score


REGROWTHS: Registry[Regrowth] = Registry("regrowth")


def register_regrowth(name: str, *, needs_gradient: bool = False) -> Callable[[Score], Score]:
    """Registers a score as a regrowth: the highest grow.

    Args:
        name: its name, for files and calls.
        needs_gradient: as ``Regrowth`` has it.

    Raises:
        ValueError: the name is taken.
    """

    return REGROWTHS.registering(name, lambda score: Regrowth(name, needs_gradient, score))


@register_regrowth("set")
def _random(weight: Tensor, gradient: Tensor | None, generator: torch.Generator) -> Tensor:
    """Sparse evolutionary training: at random.

    Mocanu et al. 2018, Scalable training of artificial neural networks; Evci et al. 2020,
    Rigging the Lottery, table 1.
    """
    import torch

    return torch.rand(weight.shape, generator=generator, device=generator.device).to(weight.device)


@register_regrowth("rigl", needs_gradient=True)
def _steepest(weight: Tensor, gradient: Tensor | None, generator: torch.Generator) -> Tensor:
    """|g| (Evci et al. 2020, Rigging the Lottery, section 3 (4))."""
    assert gradient is not None  # regrow has checked
    return gradient.abs()


REGROWTHS.close()


def regrowth(name: str) -> Regrowth:
    """The regrowth called ``name``.

    Raises:
        ValueError: there is none; the message lists the known ones.
    """
    return REGROWTHS.find(name)


def regrow(
    name: str,
    params: Mapping[str, Tensor],
    layers: Sequence[str],
    masks: Mapping[str, Tensor],
    fraction: float,
    gradients: Mapping[str, Tensor],
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """New masks, in which each layer has dropped some of its weights and grown as many others.

    Of each layer's kept weights, ``round(fraction * kept)`` go: those of smallest |w|, of equal
    ones the first (Evci et al. 2020, Rigging the Lottery, section 3 (3) and algorithm 1). As
    many grow among all that are not kept then. Those just dropped are among them, as in the
    paper (i not in θ∖I_active, the set that remains after the drop), so fewer than that may
    change. One that is dropped and grown at once is in both masks: ``MaskSet.update`` leaves
    its value and moments as they are, as the authors' code does, and starts truly new ones
    at zero.

    Layers from which nothing is removed stay dense.

    Args:
        name: a key of ``REGROWTHS``.
        params: parameters by name.
        layers: names of the weight tensors in which weights are dropped and grown.
        masks: the masks in force, True = kept; a name that is absent is unmasked.
        fraction: share of each layer's kept weights that is dropped, in [0, 1).
        gradients: dense gradients by parameter name; read where the regrowth needs them. A
            gradient of the loss at masked weights is what ``Tensor.grad`` holds, unless
            gradients are masked as well.
        generator: source of the random choice.

    Returns:
        A mask for each of ``layers``, which keeps as many weights as before.

    Raises:
        ValueError: an unknown name, a fraction out of range, weights with NaN, or a gradient
            that is missing, has another shape or holds NaN.
    """
    chosen = regrowth(name)
    if not 0.0 <= fraction < 1.0:
        raise ValueError(f"fraction must be in [0, 1), not {fraction}")
    result = {}
    for layer in layers:
        weight = params[layer].detach()
        mask = masks.get(layer)
        if mask is None or bool(mask.all()):
            result[layer] = weight.new_ones(weight.shape).bool()
            continue
        if bool(weight.isnan().any()):
            raise ValueError(f"the weights of {layer!r} hold NaN")
        gradient = _gradient(chosen, layer, weight, gradients) if chosen.needs_gradient else None
        score = chosen.score(weight, gradient, generator)
        result[layer] = _drop_and_grow(weight, mask.to(weight.device), fraction, score)
    return result


def drop_fraction(initial: float, progress: float, end: float) -> float:
    """The fraction to drop: initial / 2 · (1 + cos(π · progress / end)), and 0 from ``end`` on.

    The cosine decay of Evci et al. 2020, Rigging the Lottery, section 3 (2).

    Args:
        initial: the fraction at progress 0, in [0, 1).
        progress: share of the training done, at least 0; it may exceed 1.
        end: progress from which nothing is dropped, in (0, 1].

    Returns:
        A fraction in [0, initial].

    Raises:
        ValueError: an argument is out of range.
    """
    if not 0.0 <= initial < 1.0:
        raise ValueError(f"initial must be in [0, 1), not {initial}")
    if not 0.0 < end <= 1.0:
        raise ValueError(f"end must be in (0, 1], not {end}")
    if not progress >= 0.0:
        raise ValueError(f"progress must be at least 0, not {progress}")
    if progress >= end:
        return 0.0
    return initial / 2.0 * (1.0 + math.cos(math.pi * progress / end))


def _gradient(
    chosen: Regrowth, layer: str, weight: Tensor, gradients: Mapping[str, Tensor]
) -> Tensor:
    if layer not in gradients:
        raise ValueError(f"the regrowth {chosen.name!r} needs a gradient of {layer!r}")
    gradient = gradients[layer]
    if gradient.shape != weight.shape:
        raise ValueError(
            f"the gradient of {layer!r} has shape {tuple(gradient.shape)}, "
            f"its parameter {tuple(weight.shape)}"
        )
    if bool(gradient.isnan().any()):
        raise ValueError(f"the gradient of {layer!r} holds NaN")
    return gradient


def _drop_and_grow(weight: Tensor, mask: Tensor, fraction: float, score: Tensor) -> Tensor:
    import torch

    from prune_search.sparsity.ranking import lowest

    kept = mask.flatten().clone()
    count = round(fraction * int(torch.count_nonzero(kept)))
    size = weight.abs().flatten().masked_fill(~kept, math.inf)
    kept &= ~lowest(size, count)
    candidates = score.flatten().masked_fill(kept, -math.inf)
    kept |= lowest(-candidates, count)
    return kept.view(weight.shape)
