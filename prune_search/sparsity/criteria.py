"""Importance of every weight or unit: the higher its score, the longer it stays.

A criterion of one's own is a function:

>>> @register_criterion("fan_in", per_unit=True)
... def fan_in(evidence, generator):
...     return evidence.weight.flatten(1).count_nonzero(1)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeAlias

from prune_search.registry import Registry

if TYPE_CHECKING:  # names and traits of criteria are asked for where torch is not
    import torch
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known about one layer. A criterion says which of the statistics it needs.

    Attributes:
        weight: the kernel, shape (units, inputs, *kernel).
        gradient: mean gradient of the loss over recent steps; the weight's shape.
        square: mean of the squared minibatch gradients; the weight's shape.
        movement: -Σ w·g over the steps so far, the weight and its gradient taken at each step;
            the weight's shape.
        activation: mean absolute output of each unit after its activation function, over real
            batches (and positions, for filters); shape (units,).
    """

    weight: Tensor
    gradient: Tensor | None = None
    square: Tensor | None = None
    movement: Tensor | None = None
    activation: Tensor | None = None


Formula: TypeAlias = "Callable[[Evidence, torch.Generator], Tensor]"


@dataclass(frozen=True)
class Criterion:
    """An importance score.

    Attributes:
        name: its name in ``CRITERIA``.
        needs: the statistics of ``Evidence`` that it needs beside the weight.
        per_unit: whether it scores whole units (granularities neuron and filter only).
        by_value: whether what goes is cut at a value, ``select_threshold``, and not at a share.
        formula: the score as a function of what it needs; call ``score``, which checks first.
    """

    name: str
    needs: frozenset[str]
    per_unit: bool
    formula: Formula
    by_value: bool = False

    def score(self, evidence: Evidence, generator: torch.Generator) -> Tensor:
        """Scores of one layer, higher = keep.

        Returns:
            A detached tensor of the weight's shape or, if ``per_unit``, of shape (units,), in
            float32 at least: squares and sums leave the range of half precision. Only
            ``movement`` can be negative.

        Raises:
            ValueError: a statistic that it needs is missing or has the wrong shape.
        """
        shape = evidence.weight.shape
        for statistic in sorted(self.needs):
            given: Tensor | None = getattr(evidence, statistic)
            if given is None:
                raise ValueError(
                    f"the criterion {self.name!r} needs the statistic {statistic!r}, which is"
                    " missing"
                )
            expected = shape[:1] if statistic == "activation" else shape
            if given.shape != expected:
                raise ValueError(
                    f"the criterion {self.name!r} needs the statistic {statistic!r} in the shape"
                    f" {tuple(expected)}, not {tuple(given.shape)}"
                )
        return self.formula(_at_least_float32(evidence), generator).detach()


CRITERIA: Registry[Criterion] = Registry("criterion")


def register_criterion(
    name: str, *, needs: Iterable[str] = (), per_unit: bool = False, by_value: bool = False
) -> Callable[[Formula], Formula]:
    """Registers a formula as a criterion, under a name for files and calls.

    Args:
        name: the name.
        needs, per_unit, by_value: as ``Criterion`` has them.

    Raises:
        ValueError: the name is taken, or ``Evidence`` has no such statistic.
    """
    needs = frozenset(needs)
    statistics = [entry.name for entry in fields(Evidence)][1:]
    unknown = [need for need in sorted(needs) if need not in statistics]
    if unknown:
        raise ValueError(
            f"criterion {name!r} needs the unknown statistics {', '.join(unknown)}; known are:"
            f" {', '.join(statistics)}"
        )

    return CRITERIA.registering(
        name, lambda formula: Criterion(name, needs, per_unit, formula, by_value)
    )


def _at_least_float32(evidence: Evidence) -> Evidence:
    import torch

    def wide(value: Tensor | None) -> Any:
        half = value is not None and value.dtype in (torch.float16, torch.bfloat16)
        return value.float() if value is not None and half else value

    return Evidence(
        **{entry.name: wide(getattr(evidence, entry.name)) for entry in fields(evidence)}
    )


# The same score, but cut at a value; decorators run from the last to the first.
@register_criterion("threshold", by_value=True)
@register_criterion("magnitude")
def _magnitude(evidence: Evidence, generator: torch.Generator) -> Tensor:
    """|w| (Han et al. 2015, Learning both weights and connections, section 3)."""
    return evidence.weight.abs()


@register_criterion("random")
def _random(evidence: Evidence, generator: torch.Generator) -> Tensor:
    """Uniform in [0, 1): the control that any other criterion has to beat."""
    import torch

    noise = torch.rand(evidence.weight.shape, generator=generator, device=generator.device)
    return noise.to(evidence.weight.device)


@register_criterion("gradient", needs=["gradient"])
def _gradient(evidence: Evidence, generator: torch.Generator) -> Tensor:
    """|g|: how steeply the loss depends on the weight."""
    return _known(evidence.gradient).abs()


@register_criterion("saliency", needs=["gradient"])
def _saliency(evidence: Evidence, generator: torch.Generator) -> Tensor:
    """|w·g|: the change of the loss, to first order, when the weight is set to zero.

    Connection sensitivity up to its normalisation (SNIP, Lee et al. 2019, equation 6);
    first-order Taylor criterion of Molchanov et al. 2017, section 2.2.
    """
    return (evidence.weight * _known(evidence.gradient)).abs()


@register_criterion("movement", needs=["movement"])
def _movement(evidence: Evidence, generator: torch.Generator) -> Tensor:
    """-Σ w·g over the steps: positive where training moves the weight away from zero.

    Sanh et al. 2020, Movement pruning, section 4, with the score's learning rate at 1, which
    does not change the ranking. Negative where the weight shrinks.
    """
    return _known(evidence.movement)


@register_criterion("fisher", needs=["square"])
def _fisher(evidence: Evidence, generator: torch.Generator) -> Tensor:
    """½·h·w²: the change of the loss, to second order, when the weight is set to zero.

    The saliency of optimal brain damage (LeCun et al. 1990, section 2.2), with the diagonal of
    the empirical Fisher matrix, h = mean g², for the Hessian's (Theis et al. 2018, Faster gaze
    prediction with dense networks and Fisher pruning, section 2).
    """
    return 0.5 * _known(evidence.square) * evidence.weight.square()


@register_criterion("activation", needs=["activation"], per_unit=True)
def _activation(evidence: Evidence, generator: torch.Generator) -> Tensor:
    """The unit's mean absolute output (as Molchanov et al. 2017, section 2.2, "activation")."""
    return _known(evidence.activation)


@register_criterion("dormant", needs=["activation"], per_unit=True)
def _dormant(evidence: Evidence, generator: torch.Generator) -> Tensor:
    """The unit's mean absolute output over the layer's mean of it; 0 where nothing fires.

    Sokar et al. 2023, The dormant neuron phenomenon, equation 1. It ranks a layer's units as
    ``activation`` does; across layers it differs, as every layer's mean is 1.
    """
    found = _known(evidence.activation)
    mean = found.mean()
    return found / mean if mean > 0 else found.new_zeros(found.shape)


@register_criterion("l1_norm", per_unit=True)
def _l1_norm(evidence: Evidence, generator: torch.Generator) -> Tensor:
    """Sum of |w| over the unit's incoming weights (Li et al. 2017, Pruning filters, section 3.1).

    Larger for units of more inputs, so layers are best ranked apart, as there.
    """
    return evidence.weight.flatten(1).abs().sum(1)


@register_criterion("l2_norm", per_unit=True)
def _l2_norm(evidence: Evidence, generator: torch.Generator) -> Tensor:
    """Euclidean norm of the unit's incoming weights (Li et al. 2017, as the l1-norm)."""
    return evidence.weight.flatten(1).square().sum(1).sqrt()


@register_criterion("geometric_median", per_unit=True)
def _geometric_median(evidence: Evidence, generator: torch.Generator) -> Tensor:
    """Sum of the distances to the weights of the layer's other units.

    Units near the layer's geometric median go first, as the others can stand in for them
    (FPGM, He et al. 2019, Filter pruning via geometric median, section 3.4). Units that are
    zero count as all others do.
    """
    import torch

    rows = evidence.weight.flatten(1)
    # The quick way through a matrix product loses small distances to rounding.
    return torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").sum(1)


def _known(statistic: Tensor | None) -> Tensor:
    assert statistic is not None  # Criterion.score has checked
    return statistic


CRITERIA.close()


def criterion(name: str) -> Criterion:
    """The criterion called ``name``.

    Raises:
        ValueError: there is none; the message lists the known ones.
    """
    return CRITERIA.find(name)
