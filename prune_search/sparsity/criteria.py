"""Importance of every weight or unit: the higher its score, the longer it stays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from prune_search.errors import unknown_name


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


Formula = Callable[[Evidence, torch.Generator], Tensor]


@dataclass(frozen=True)
class Criterion:
    """An importance score.

    Attributes:
        name: its name in ``CRITERIA``.
        needs: the statistics of ``Evidence`` that it needs beside the weight.
        per_unit: whether it scores whole units (granularities neuron and filter only).
        formula: the score as a function of what it needs; call ``score``, which checks first.
    """

    name: str
    needs: frozenset[str]
    per_unit: bool
    formula: Formula

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


def _at_least_float32(evidence: Evidence) -> Evidence:
    def wide(value: Tensor | None) -> Any:
        half = value is not None and value.dtype in (torch.float16, torch.bfloat16)
        return value.float() if value is not None and half else value

    return Evidence(
        **{entry.name: wide(getattr(evidence, entry.name)) for entry in fields(evidence)}
    )


def _magnitude(evidence: Evidence, generator: torch.Generator) -> Tensor:
    """|w| (Han et al. 2015, Learning both weights and connections, section 3)."""
    return evidence.weight.abs()


def _random(evidence: Evidence, generator: torch.Generator) -> Tensor:
    """Uniform in [0, 1): the control that any other criterion has to beat."""
    noise = torch.rand(evidence.weight.shape, generator=generator, device=generator.device)
    return noise.to(evidence.weight.device)


def _gradient(evidence: Evidence, generator: torch.Generator) -> Tensor:
    """|g|: how steeply the loss depends on the weight."""
    return _known(evidence.gradient).abs()


def _saliency(evidence: Evidence, generator: torch.Generator) -> Tensor:
    """|w·g|: the change of the loss, to first order, when the weight is set to zero.

    Connection sensitivity up to its normalisation (SNIP, Lee et al. 2019, equation 6);
    first-order Taylor criterion of Molchanov et al. 2017, section 2.2.
    """
    return (evidence.weight * _known(evidence.gradient)).abs()


def _movement(evidence: Evidence, generator: torch.Generator) -> Tensor:
    """-Σ w·g over the steps: positive where training moves the weight away from zero.

    Sanh et al. 2020, Movement pruning, section 4, with the score's learning rate at 1, which
    does not change the ranking. Negative where the weight shrinks.
    """
    return _known(evidence.movement)


def _fisher(evidence: Evidence, generator: torch.Generator) -> Tensor:
    """½·h·w²: the change of the loss, to second order, when the weight is set to zero.

    The saliency of optimal brain damage (LeCun et al. 1990, section 2.2), with the diagonal of
    the empirical Fisher matrix, h = mean g², for the Hessian's (Theis et al. 2018, Faster gaze
    prediction with dense networks and Fisher pruning, section 2).
    """
    return 0.5 * _known(evidence.square) * evidence.weight.square()


def _activation(evidence: Evidence, generator: torch.Generator) -> Tensor:
    """The unit's mean absolute output (as Molchanov et al. 2017, section 2.2, "activation")."""
    return _known(evidence.activation)


def _dormant(evidence: Evidence, generator: torch.Generator) -> Tensor:
    """The unit's mean absolute output over the layer's mean of it; 0 where nothing fires.

    Sokar et al. 2023, The dormant neuron phenomenon, equation 1. It ranks a layer's units as
    ``activation`` does; across layers it differs, as every layer's mean is 1.
    """
    found = _known(evidence.activation)
    mean = found.mean()
    return found / mean if mean > 0 else torch.zeros_like(found)


def _l1_norm(evidence: Evidence, generator: torch.Generator) -> Tensor:
    """Sum of |w| over the unit's incoming weights (Li et al. 2017, Pruning filters, section 3.1).

    Larger for units of more inputs, so layers are best ranked apart, as there.
    """
    return evidence.weight.flatten(1).abs().sum(1)


def _l2_norm(evidence: Evidence, generator: torch.Generator) -> Tensor:
    """Euclidean norm of the unit's incoming weights (Li et al. 2017, as the l1-norm)."""
    return evidence.weight.flatten(1).square().sum(1).sqrt()


def _geometric_median(evidence: Evidence, generator: torch.Generator) -> Tensor:
    """Sum of the distances to the weights of the layer's other units.

    Units near the layer's geometric median go first, as the others can stand in for them
    (FPGM, He et al. 2019, Filter pruning via geometric median, section 3.4). Units that are
    zero count as all others do.
    """
    rows = evidence.weight.flatten(1)
    # The quick way through a matrix product loses small distances to rounding.
    return torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").sum(1)


def _known(statistic: Tensor | None) -> Tensor:
    assert statistic is not None  # Criterion.score has checked
    return statistic


def _weights(name: str, formula: Formula, *needs: str) -> Criterion:
    return Criterion(name, frozenset(needs), False, formula)


def _units(name: str, formula: Formula, *needs: str) -> Criterion:
    return Criterion(name, frozenset(needs), True, formula)


CRITERIA: dict[str, Criterion] = {
    entry.name: entry
    for entry in (
        _weights("magnitude", _magnitude),
        # The same score, but cut at a value (select_threshold), not at a share.
        _weights("threshold", _magnitude),
        _weights("random", _random),
        _weights("gradient", _gradient, "gradient"),
        _weights("saliency", _saliency, "gradient"),
        _weights("movement", _movement, "movement"),
        _weights("fisher", _fisher, "square"),
        _units("activation", _activation, "activation"),
        _units("dormant", _dormant, "activation"),
        _units("l1_norm", _l1_norm),
        _units("l2_norm", _l2_norm),
        _units("geometric_median", _geometric_median),
    )
}


def criterion(name: str) -> Criterion:
    """The criterion called ``name``.

    Raises:
        ValueError: there is none; the message lists the known ones.
    """
    if name not in CRITERIA:
        raise ValueError(unknown_name("criterion", name, CRITERIA))
    return CRITERIA[name]
