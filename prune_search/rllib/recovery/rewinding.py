"""Rewinding after pruning: what remains goes back to earlier weights.

These, with their controls, are `rewound` by tensors alone, and put into a running algorithm by
`rewind`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from ray.rllib.algorithms.algorithm import Algorithm
from torch import Tensor

from prune_search.rllib import masks as masking
from prune_search.rllib.parameters import optimizers, target_parameters, trained_parameters
from prune_search.rllib.running import each_learner, sync_weights
from prune_search.sparsity.structure.coupling import Coupling

Masks = Mapping[str, Tensor]
Rewind = Callable[[Masks, Sequence[Coupling], torch.Generator], dict[str, Tensor]]
"""Masks by parameter name, hidden units and random numbers to the masks of the rewound network."""


def _same(masks: Masks, units: Sequence[Coupling], generator: torch.Generator) -> dict[str, Tensor]:
    return {name: mask.clone() for name, mask in masks.items()}


def _permuted(
    masks: Masks, units: Sequence[Coupling], generator: torch.Generator
) -> dict[str, Tensor]:
    """Each layer keeps as many weights, or units, as before, elsewhere."""
    new = _same(masks, units, generator)
    if units:
        for unit in units:
            order = torch.randperm(unit.units, generator=generator)
            for part in unit.slices:
                if part.parameter in new:
                    mask = new[part.parameter]
                    here = part.index.flatten().to(mask.device)
                    there = part.index[order].flatten().to(mask.device)
                    mask.index_copy_(part.dim, here, mask.index_select(part.dim, there))
        return new
    for name, mask in masks.items():
        if mask.ndim < 2 and not mask.all():
            raise ValueError(
                f"permuted: entries of {name} are removed, so whole units are: permuting weights"
                " one by one would tear them apart; give the units"
            )
        if mask.ndim >= 2:
            order = torch.randperm(mask.numel(), generator=generator).to(mask.device)
            new[name] = mask.flatten()[order].view_as(mask)
    return new


REWINDS: dict[str, Rewind] = {
    "initial": _same,
    "early": _same,
    "random": _same,
    "permuted": _permuted,
}
"""Rewindings by name, as `rewound` describes them."""


def rewound(
    name: str,
    weights_now: Mapping[str, Tensor],
    weights_then: Mapping[str, Tensor],
    masks: Masks,
    generator: torch.Generator,
    units: Sequence[Coupling] = (),
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
      kernel, which does not keep N:M patterns or blocks. With ``units``, units trade places
      within each of their sets, with incoming weights, bias and outgoing weights.

    The first three differ in the weights that they are given.

    Args:
        name: one of `REWINDS`.
        weights_now: everything that is trained, by parameter name.
        weights_then: what to go back to, of the same shapes; parameters that are absent keep
            their present values. For ``random``, the weights of a network that was built anew
            from another seed.
        masks: boolean, True = kept; parameters that are absent have none.
        generator: random numbers for permutations, on the CPU.
        units: the hidden units whose removal the masks express, where the granularity is units.

    Returns:
        Weights of ``weights_now``'s names, exactly zero where removed, and masks of ``masks``'s.
        Both are copies.

    Raises:
        ValueError: an unknown name; weights or masks that don't fit the present weights; units
            that are masked, and not given, when permuting.
    """
    if name not in REWINDS:
        raise ValueError(f"unknown rewinding {name!r}; known are: {', '.join(sorted(REWINDS))}")
    _check_fits("weights", weights_then, weights_now)
    _check_fits("masks", masks, weights_now)
    new = REWINDS[name](masks, units, generator)
    weights = {
        key: weights_then.get(key, value).detach().to(value, copy=True)
        for key, value in weights_now.items()
    }
    for key, mask in new.items():
        weights[key].masked_fill_(~mask.to(weights[key].device), 0.0)
    return weights, new


def rewind(algorithm: Algorithm, weights: Mapping[str, Tensor]) -> None:
    """Puts weights into a running algorithm, as if its training began with them.

    On every learner: the weights, under the masks that the learner has (call
    ``learner.set_masks`` before with masks that have changed); target networks become equal to
    what they follow; all optimizers start anew, with no moments and at step 0, SAC's temperature
    included. Env runners act by the new weights at once. Replay buffers, schedules and coefficients
    that an algorithm adapts (PPO's for KL, SAC's temperature) stay as they are.

    Args:
        weights: by parameter name (behind the ModuleID and a slash where there are several
            policies), as ``learner.weights`` names them; parameters that are absent keep their
            values.

    Raises:
        ValueError: no such parameter, or another shape. Nothing has changed then.
        RuntimeError: a learner is lost.
    """
    given = {name: value.detach().cpu() for name, value in weights.items()}

    def check(learner: Any) -> None:
        _check_fits("weights", given, trained_parameters(learner))

    @torch.no_grad()
    def run(learner: Any) -> None:
        parameters = trained_parameters(learner)
        for name, value in given.items():
            parameters[name].copy_(value)
        held = masking.masks_of(learner)
        if held is not None:
            held.masks.apply_(held.parameters)
            held.evidence.restart()
        for name, target in target_parameters(learner):
            target.copy_(parameters[name])
        for optimizer in optimizers(learner):
            optimizer.state.clear()

    each_learner(algorithm, check)
    each_learner(algorithm, run)
    sync_weights(algorithm)


def _check_fits(what: str, tensors: Mapping[str, Tensor], network: Mapping[str, Tensor]) -> None:
    for name, value in tensors.items():
        if name not in network:
            raise ValueError(f"{what} to rewind: the network trains no parameter {name!r}")
        if value.shape != network[name].shape:
            raise ValueError(
                f"{what} to rewind: {name} has shape {tuple(value.shape)}, the network's"
                f" {tuple(network[name].shape)}"
            )
