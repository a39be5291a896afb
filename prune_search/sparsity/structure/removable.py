"""Whether units can be taken out of a network, or masked only; measured, not guessed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from prune_search.sparsity.structure.hollow import is_hollow
from prune_search.sparsity.structure.perturbing import (
    Forward,
    difference,
    randomize_,
    switch_,
)
from prune_search.sparsity.structure.probing import (
    Probe,
    aside,
    differing,
    groups,
)
from prune_search.sparsity.structure.resizing import kept_without, remove_units, shrink_

if TYPE_CHECKING:
    from prune_search.sparsity.structure.coupling import Coupling

# What units put out before and after: scale, and sign (0: both). Large and small values, as some
# normalisations show at either end only; of both signs, as maxima do.
_STEPS = (
    ((0.3, 1), (0.6, 1)),
    ((1.0, 0), (1.0, 0)),
    ((1.0, -1), (3.0, -1)),
    ((1.0, 1), (1000.0, 1)),
    ((0.01, 0), (30.0, 0)),
)
_TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4}  # of differences, relative
_OTHERS = 0.7  # what all other layers put out
_DRAWS = 2  # of random weights: one alone might hide a difference behind dead activations


def removable(
    module: nn.Module, example: Any, forward: Forward, units: Sequence[Coupling]
) -> list[Coupling]:
    """Those of the couplings whose units may be taken out: the network computes what it does with
    them masked.

    It does not behind a LayerNorm, a softmax or a mean over units; nor where a layer can't be
    resized or the forward pass has sizes written into it. Two things are shown, on copies in
    evaluation mode with random parameters and buffers, as their own may be zero:

    1. What a unit puts out, small or large, changes its own columns and nothing else, and each of
       these; with all layers' outputs replaced, so that nothing further on hides a change.
    2. Without some of the units, every layer gets what it does with them masked, putting out
       nothing; with all other outputs replaced, so that nothing saturates.

    Args:
        module: the network, best in double precision: float32's own rounding is allowed for.
        example, forward: as in ``couplings``.
        units: couplings of this network that have no places in common.
    """
    if not units:
        return []
    if _may_go(module, example, forward, units):
        return list(units)
    if len(units) == 1:
        return []
    half = len(units) // 2
    return [
        *removable(module, example, forward, units[:half]),
        *removable(module, example, forward, units[half:]),
    ]


def _may_go(module: nn.Module, example: Any, forward: Forward, units: Sequence[Coupling]) -> bool:
    """Whether this can be said of all of them."""
    other = copy.deepcopy(module).eval()
    try:
        randomize_(other, 0)
        probe = Probe(other, example, forward)
        if not _are_separate(probe, units):
            return False
        if switch_(other) and not _are_separate(probe, units):
            return False
        switch_(other)
        for seed, choose in enumerate(_CHOICES * _DRAWS):
            randomize_(other, seed)
            if not _is_same_without(probe, units, choose, seed):
                return False
    except Exception:  # whatever it is, the network does not work without the units
        if is_hollow(module):  # or not without its weights' values
            raise
        return False
    return True


def _are_separate(probe: Probe, units: Sequence[Coupling]) -> bool:
    """Whether each unit changes its own columns and factors, and nothing else."""
    owners = {
        name: torch.full((layers[0].weight.shape[dim],), -1)
        for table, dim in ((probe.layers, 1), (probe.channels, 0))
        for name, layers in table.items()
    }
    makers = {}
    total = 0
    for coupling in units:
        number = total + torch.arange(coupling.units).unsqueeze(1)
        total += coupling.units
        for part in coupling.slices:
            if part.dim == 0 and part.parameter in probe.layers:
                makers[part.parameter] = torch.empty(part.index.numel(), dtype=torch.long)
                makers[part.parameter][part.index] = number
            elif part.parameter in owners:
                owners[part.parameter][part.index] = number
    answered = {name: owner < 0 for name, owner in owners.items()}
    for seed, (before, after) in enumerate(_STEPS):
        generator = torch.Generator().manual_seed(seed)
        low = {name: _values(len(rows), *before, generator) for name, rows in makers.items()}
        high = {name: _values(len(rows), *after, generator) for name, rows in makers.items()}
        reference = probe.run(low, _OTHERS)
        for group in groups(total):
            values = {
                name: torch.where(group[rows], high[name], low[name])
                for name, rows in makers.items()
            }
            found = probe.run(values, _OTHERS)
            if aside(reference, found):
                return False
            for name, inputs in found.inputs.items():
                differs, owner = differing(reference.inputs[name], inputs), owners[name]
                if bool((differs & ~((owner >= 0) & group[owner])).any()):
                    return False
                answered[name] |= differs
    return all(bool(columns.all()) for columns in answered.values())


def _is_same_without(
    probe: Probe, units: Sequence[Coupling], choose: Callable[[int], Tensor], seed: int
) -> bool:
    """Whether all layers get the same, be units masked (in place) or taken out."""
    params = dict(probe.module.named_parameters())
    gone: dict[str, list[Tensor]] = {}
    for coupling in units:
        remove_units(gone, params, coupling, choose(coupling.units))
    with torch.no_grad():
        for name, marks in gone.items():
            if params[name].dim() == 1:  # kernels' part in it is what the layers put out
                params[name][marks[0].to(params[name].device)] = 0.0
    generator = torch.Generator().manual_seed(seed)
    rows = {}
    for name, layers in probe.layers.items():
        rows[name] = _values(len(layers[0].weight), 1.0, 0, generator)
        if name in gone:
            rows[name][gone[name][0]] = 0.0
    step = kept_without(params, gone)
    smaller = copy.deepcopy(probe.module)
    shrink_(smaller, step)
    want, have = probe.run(rows), probe.of(smaller, step).run(rows)
    # A slope a channel becomes the only slope where one channel is left.
    if have.called != want.called or not have.inputs.keys() <= want.inputs.keys():
        return False
    expected, found = [*want.outputs, *want.others], [*have.outputs, *have.others]
    for name, value in have.inputs.items():
        kept = step.kept.get(name)
        index = None if kept is None else kept[0 if name in probe.channels else 1]
        columns = want.inputs[name]
        expected.append(columns if index is None else columns[:, index.to(columns.device)])
        found.append(value)
    return difference(expected, found) <= _TOLERANCES.get(found[-1].dtype, 1e-2)


def _every_other(units: int) -> Tensor:
    return torch.arange(units) % 2 == 1


def _last(units: int) -> Tensor:
    return (torch.arange(units) == units - 1) & (torch.arange(units) > 0)


def _all_but_one(units: int) -> Tensor:
    return torch.arange(units) != units // 2


_CHOICES = (_every_other, _last, _all_but_one)  # of units that are taken out


def _values(count: int, scale: float, sign: int, generator: torch.Generator) -> Tensor:
    values = scale * (0.5 + torch.rand(count, generator=generator, dtype=torch.float64))
    if sign == 0:
        return values * (1 - 2 * torch.randint(2, (count,), generator=generator))
    return values * sign
