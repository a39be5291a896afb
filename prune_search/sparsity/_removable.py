"""Whether units can be taken out of a network, or masked only; measured, not guessed."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from prune_search.sparsity.structured import layout, shrink_

if TYPE_CHECKING:
    from prune_search.sparsity.coupling import Coupling

_DRAWS = 3  # of random weights: one alone might hide a difference behind dead activations


def is_removable(
    module: nn.Module,
    example: Any,
    forward: Callable[[nn.Module, Any], Tensor | Sequence[Tensor]],
    coupling: Coupling,
) -> bool:
    """Whether a network without every other unit computes what it does with them masked.

    It does not behind a LayerNorm, a softmax or a mean over units; nor where a layer can't be
    resized or the forward pass has sizes written into it. The module is copied, and tried
    with random weights, as its own may be zero.
    """
    masked = copy.deepcopy(module).eval()
    params = dict(masked.named_parameters())
    generator = torch.Generator().manual_seed(0)
    masks = {
        part.parameter: torch.ones(params[part.parameter].shape, dtype=torch.bool)
        for part in coupling.slices
    }
    for part in coupling.slices:
        masks[part.parameter].index_fill_(part.dim, part.index[::2].flatten(), False)
    step = layout(params, [coupling], masks)
    for _ in range(_DRAWS):
        _randomize_(params, generator)
        with torch.no_grad():
            for name, mask in masks.items():
                params[name].mul_(mask.to(params[name].device))
        expected = outputs(masked, example, forward)
        smaller = copy.deepcopy(masked)
        try:
            shrink_(smaller, step)
            found = outputs(smaller, example, forward)
        except Exception:  # whatever it is, the network does not work without the units
            return False
        if difference(expected, found) > 1e-3:
            return False
    return True


def outputs(
    module: nn.Module, example: Any, forward: Callable[[nn.Module, Any], Tensor | Sequence[Tensor]]
) -> list[Tensor]:
    """What ``forward`` returns, with the same random numbers in every call."""
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        found = forward(module, example)
    return [found] if isinstance(found, Tensor) else list(found)


def difference(expected: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """The largest difference of any two outputs, relative to the largest expected value.

    Infinite if shapes differ, or what is NaN or infinite in one is not so in the other.
    """
    worst = 0.0
    for want, have in zip(expected, found, strict=True):
        if want.shape != have.shape:
            return math.inf
        regular = want.isfinite() & have.isfinite()
        if not bool(torch.isclose(want, have, equal_nan=True)[~regular].all()):
            return math.inf
        if bool(regular.any()):
            gap = (want.double() - have.double())[regular].abs().max()
            worst = max(worst, float(gap / want[regular].abs().max().clamp_min(1e-12)))
    return worst


@torch.no_grad()
def _randomize_(params: dict[str, nn.Parameter], generator: torch.Generator) -> None:
    for param in params.values():
        noise = torch.randn(param.shape, generator=generator)
        if param.dim() >= 2:
            param.copy_(noise * (2.0 / param[0].numel()) ** 0.5)
        else:  # biases, and factors of normalisations, which are about 1
            param.add_((0.3 * noise).to(param))
