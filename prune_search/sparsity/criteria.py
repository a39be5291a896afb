"""Importance of every weight: the higher its score, the longer it stays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Score = Callable[[Tensor, Tensor | None, torch.Generator], Tensor]


@dataclass(frozen=True)
class Criterion:
    """An importance score.

    Attributes:
        name: its name in ``CRITERIA``.
        needs_gradient: whether ``score`` needs the gradient of a loss.
        score: ``score(weight, gradient, generator)`` gives a tensor of the weight's shape,
            detached, non-negative, higher = keep. Raises ValueError if it needs a gradient and
            gets None.
    """

    name: str
    needs_gradient: bool
    score: Score


def _magnitude(weight: Tensor, gradient: Tensor | None, generator: torch.Generator) -> Tensor:
    """|w| (Han et al. 2015, Learning both weights and connections, section 3)."""
    return weight.detach().abs()


def _random(weight: Tensor, gradient: Tensor | None, generator: torch.Generator) -> Tensor:
    """Uniform in [0, 1): the control that any other criterion has to beat."""
    noise = torch.rand(weight.shape, generator=generator, device=generator.device)
    return noise.to(weight.device)


def _gradient(weight: Tensor, gradient: Tensor | None, generator: torch.Generator) -> Tensor:
    """|g|: how steeply the loss depends on the weight."""
    return _given("gradient", gradient).detach().abs()


def _saliency(weight: Tensor, gradient: Tensor | None, generator: torch.Generator) -> Tensor:
    """|w·g|: the change of the loss, to first order, when the weight is set to zero.

    Connection sensitivity up to its normalisation (SNIP, Lee et al. 2019, equation 6);
    first-order Taylor criterion of Molchanov et al. 2017, section 2.2.
    """
    return (weight.detach() * _given("saliency", gradient).detach()).abs()


def _given(name: str, gradient: Tensor | None) -> Tensor:
    if gradient is None:
        raise ValueError(f"the criterion {name!r} needs a gradient")
    return gradient


CRITERIA: dict[str, Criterion] = {
    entry.name: entry
    for entry in (
        Criterion("magnitude", needs_gradient=False, score=_magnitude),
        # The same score, but cut at a value (select_threshold), not at a share.
        Criterion("threshold", needs_gradient=False, score=_magnitude),
        Criterion("random", needs_gradient=False, score=_random),
        Criterion("gradient", needs_gradient=True, score=_gradient),
        Criterion("saliency", needs_gradient=True, score=_saliency),
    )
}


def criterion(name: str) -> Criterion:
    """The criterion called ``name``.

    Raises:
        ValueError: there is none; the message lists the known ones.
    """
    if name not in CRITERIA:
        raise ValueError(f"unknown criterion {name!r}; known: {', '.join(CRITERIA)}")
    return CRITERIA[name]
