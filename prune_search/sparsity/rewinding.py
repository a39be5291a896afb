"""Rewinding after pruning: what remains goes back to earlier weights, or to what stands in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from prune_search.registry import Registry
from prune_search.sparsity.named import Tensors

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Remask: TypeAlias = "Callable[[Tensors, torch.Generator], dict[str, Tensor]]"
"""Masks by parameter name and random numbers to the masks of the rewound network."""
Moment: TypeAlias = Literal["initial", "early", "random"]


@dataclass(frozen=True)
class Rewind:
    """What happens after each pruning.

    Attributes:
        name: its name in ``REWINDS``.
        weights: what weights go back to: those before the dense network's training, those a little
            into it, or those of a network that is built anew; None where they stay, and the
            learning rate's schedule alone goes back (Renda et al. 2020, Comparing rewinding and
            fine-tuning in neural network pruning, section 2).
        masks: gives the rewound network's masks; None where they stay.
    """

    name: str
    weights: Moment | None
    masks: Remask | None = None

    @property
    def of_baseline(self) -> bool:
        """Whether it needs weights that were kept while the dense network was trained."""
        return self.weights in ("initial", "early")


REWINDS: Registry[Rewind] = Registry("rewinding")
REWINDS.add("initial", Rewind("initial", "initial"))
REWINDS.add("early", Rewind("early", "early"))
REWINDS.add("random", Rewind("random", "random"))


def register_rewind(name: str, *, weights: Moment) -> Callable[[Remask], Remask]:
    """Registers a function that gives the rewound network's masks as a rewinding.

    Args:
        name: its name, for files and calls.
        weights: what weights go back to, as ``Rewind`` has it.

    Raises:
        ValueError: the name is taken.
    """

    return REWINDS.registering(name, lambda masks: Rewind(name, weights, masks))


def _same(masks: Tensors) -> dict[str, Tensor]:
    return {name: mask.clone() for name, mask in masks.items()}


@register_rewind("permuted", weights="initial")
def _permuted(masks: Tensors, generator: torch.Generator) -> dict[str, Tensor]:
    """Each layer keeps as many weights as before, elsewhere."""
    import torch

    new = _same(masks)
    for name, mask in masks.items():
        if mask.ndim < 2 and not mask.all():
            raise ValueError(
                f"permuted: entries of {name} are removed, so whole units are: permuting weights"
                " one by one would tear them apart"
            )
        if mask.ndim >= 2:
            order = torch.randperm(mask.numel(), generator=generator).to(mask.device)
            new[name] = mask.flatten()[order].view_as(mask)
    return new


REWINDS.add("learning_rate", Rewind("learning_rate", None))
REWINDS.close()


def rewound(
    name: str,
    weights_now: Mapping[str, Tensor],
    weights_then: Mapping[str, Tensor],
    masks: Tensors,
    generator: torch.Generator,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights and masks from which a pruned network is trained again.

    - ``initial``: the weights before training (Frankle & Carbin 2019, The lottery ticket
      hypothesis, section 1).
    - ``early``: those a little into training (Frankle et al. 2020, Linear mode connectivity and
      the lottery ticket hypothesis, section 4).
    - ``random``: other initial weights, the control of Frankle & Carbin, section 2: is it the
      masks alone?
    - ``permuted``: ``weights_then`` under masks that are permuted within each layer, the control
      of Frankle et al. 2021, Pruning neural networks at initialization: why are we missing the
      mark?, section 5: is it the layers' ratios alone? Single weights are permuted within each
      kernel, which does not keep N:M patterns, blocks or units.

    The first three differ in the weights that they are given.

    Args:
        name: a key of ``REWINDS`` whose weights go back.
        weights_now: everything that is trained, by parameter name.
        weights_then: what to go back to, of the same shapes; parameters that are absent keep
            their present values. For ``random``, the weights of a network that was built anew
            from another seed.
        masks: boolean, True = kept; parameters that are absent have none.
        generator: random numbers for permutations, on the CPU.

    Returns:
        Weights of ``weights_now``'s names, exactly zero where removed, and masks of ``masks``'s.
        Both are copies.

    Raises:
        ValueError: an unknown name; weights or masks that don't fit the present weights; whole
            units that are masked, when permuting.
    """
    chosen = REWINDS.find(name)
    if chosen.weights is None:
        raise ValueError(f"rewinding {name!r} leaves weights and masks as they are")
    check_fits("weights", weights_then, weights_now)
    check_fits("masks", masks, weights_now)
    new = chosen.masks(masks, generator) if chosen.masks else _same(masks)
    weights = {
        key: weights_then.get(key, value).detach().to(value, copy=True)
        for key, value in weights_now.items()
    }
    for key, mask in new.items():
        weights[key].masked_fill_(~mask.to(weights[key].device), 0.0)
    return weights, new


def check_fits(what: str, tensors: Mapping[str, Tensor], network: Mapping[str, Tensor]) -> None:
    for name, value in tensors.items():
        if name not in network:
            raise ValueError(f"{what} to rewind: the network trains no parameter {name!r}")
        if value.shape != network[name].shape:
            raise ValueError(
                f"{what} to rewind: {name} has shape {tuple(value.shape)}, the network's"
                f" {tuple(network[name].shape)}"
            )
