"""Finding hidden units: which rows, columns and factors belong to one, by measurement.

Removing a unit means removing its incoming weights, its bias and its outgoing weights together, in
every layer that reads it (the groups of Fang et al. 2023, DepGraph: Towards any structural pruning,
section 3.2). Which ones these are is not read off a graph of operations, of which there are always
some that it does not know, but measured: each layer's outputs are replaced by constants, one of
them is changed, and the inputs that change with it are its readers.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import LongTensor, Tensor, nn
from torch.overrides import TorchFunctionMode

from prune_search.sparsity.structure.coupling import Coupling, Slice
from prune_search.sparsity.structure.hollow import hollowed
from prune_search.sparsity.structure.perturbing import (
    Forward,
    in_double,
    randomize_,
    randomized,
)
from prune_search.sparsity.structure.probing import (
    Probe,
    Seen,
    aside,
    check_traceable,
    differing,
    groups,
)
from prune_search.sparsity.structure.removable import removable

Key = tuple[str, int]
"""A parameter and one of its dimensions."""
Place = tuple[str, int, int]
"""The same and an index: one row, column or factor."""
Pairs = set[tuple[Place, Place]]
"""Rows and what they reach."""
Unit = dict[Key, list[int]]
"""The indices that belong to one unit."""
Steps = Sequence[tuple[float, float]]

# What a unit puts out before and after: inside the range where the usual activations rise, and
# over zero, for those that rise nowhere else.
_STEPS = ((0.25, 0.5), (-1.0, 1.0))
_OTHERS = 0.25  # what all other layers put out


def couplings(
    module: nn.Module, example: Any, forward: Forward, heads: Collection[str] = ()
) -> list[Coupling]:
    """Find the hidden units of a module's linear layers and convolutions (their filters).

    The module is copied, so neither its parameters nor their ``requires_grad`` change. Left out
    are units that can't be removed on their own: those of heads, of anything else that reaches an
    output, of recurrent layers, attention, grouped and transposed convolutions, bare matrices and
    parametrized layers, and what these read; those that are added to raw inputs; those that are
    mixed in a way that isn't known, so that no column is a unit's own; and layers whose rows have
    different readers. Units behind LayerNorm, softmax and other normalisations over units are
    found, but not ``removable``.

    Args:
        module: the network; everything that is trained together, so that no reader is missed.
        example: a batch of inputs, given to ``forward``.
        forward: calls the module on the example and returns all of its outputs. Called some
            twenty times a layer, and again to see which units can be removed, always with the
            same random numbers.
        heads: names of the weight parameters of output layers that do not reach an output here.

    Returns:
        One coupling for each set of units, in the order in which the module defines its layers.
        Empty where there are none.

    Raises:
        ValueError: a head isn't a parameter of the module, a layer has no shape yet, or has
            weight normalisation by hooks; or the module is a model of Keras's.
    """
    if any(kind.__module__.startswith("keras.") for kind in type(module).__mro__):
        raise ValueError(
            "units of a Keras model can't be found: its layers are none of torch's; prune single"
            " weights or n:m patterns (prune_search.keras)"
        )
    unknown = sorted(set(heads) - {name for name, _ in module.named_parameters()})
    if unknown:
        raise ValueError(f"heads that are not parameters of the module: {unknown}")
    check_traceable(module)
    with torch.no_grad():
        try:
            return _couplings(hollowed(module), example, forward, heads)
        except Exception:  # whatever it is, the network may ask for its kernels' values
            return _couplings(module, example, forward, heads)


def _couplings(
    module: nn.Module, example: Any, forward: Forward, heads: Collection[str]
) -> list[Coupling]:
    def call(network: nn.Module, batch: Any) -> None:
        Probe(network, batch, forward).run({})

    traced, batch = in_double(module, example, call)
    # Random parameters and buffers, as a branch may be multiplied by one that is zero now.
    other = copy.deepcopy(traced)
    randomize_(other, seed=0)
    try:
        call(other, batch)
    except Exception:  # buffers that are no free numbers
        other = traced
    found = _Trace(Probe(other, batch, forward), frozenset(heads)).couplings()
    proven = removable(traced, batch, forward, found)
    return [replace(unit, removable=unit in proven) for unit in found]


class _Unmixed(TorchFunctionMode):
    """Normalisations over units, and dropout, put out what is put in."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in _MIXING:
            return args[0] if args else kwargs["input"]
        return func(*args, **(kwargs or {}))


_MIXING = {
    F.layer_norm, F.group_norm, F.rms_norm, F.instance_norm, F.batch_norm, F.local_response_norm,
    F.normalize, F.softmax, F.log_softmax, F.softmin, torch.softmax, torch.log_softmax,
    Tensor.softmax, Tensor.log_softmax, F.dropout, F.dropout1d, F.dropout2d, F.dropout3d,
    F.alpha_dropout, F.feature_alpha_dropout, torch.dropout,
}  # fmt: skip


class _Trace:
    """The places that go together, from what reaches what."""

    def __init__(self, probe: Probe, heads: frozenset[str]) -> None:
        self._probe = probe
        self._widths = {name: layers[0].weight.shape[0] for name, layers in probe.layers.items()}
        self._sets = _DisjointSets()
        self._excluded = set(heads)
        with _Unmixed():
            self._foreign = self._fed_by_inputs()
            used = probe.run({}).called
            for name in used:
                rows = torch.ones(self._widths[name], dtype=torch.bool)
                if any(changed(rows)[1] for changed in self._steps([name], _STEPS)):
                    self._excluded.add(name)
            self._join(used)

    def couplings(self) -> list[Coupling]:
        alike: dict[tuple[tuple[Key, int], ...], list[Unit]] = defaultdict(list)
        for places in self._sets.sets():
            unit: Unit = defaultdict(list)
            for name, dim, index in sorted(places):
                unit[name, dim].append(index)
            alike[tuple((key, len(indices)) for key, indices in unit.items())].append(unit)
        order = {name: place for place, name in enumerate(self._probe.layers)}
        found = []
        for units in alike.values():
            made = sorted((name for name in order if (name, 0) in units[0]), key=order.__getitem__)
            read = any(dim == 1 for _, dim in units[0])
            if made and read and self._can_go_alone(units, made):
                found.append(self._coupling(units, made))
        return sorted(found, key=lambda each: order[each.layer])

    def _can_go_alone(self, units: list[Unit], made: list[str]) -> bool:
        if self._excluded & set(made):
            return False
        if any((key, i) in self._foreign for unit in units for key in unit for i in unit[key]):
            return False
        # Layers some of whose rows are read otherwise than the rest.
        return all(sum(len(unit[name, 0]) for unit in units) == self._widths[name] for name in made)

    def _coupling(self, units: list[Unit], made: list[str]) -> Coupling:
        units = sorted(units, key=lambda unit: unit[made[0], 0])
        names = {id(param): name for name, param in self._probe.module.named_parameters()}
        place = {name: number for number, name in enumerate(names.values())}
        slices: list[Slice] = []
        # Producers first, then factors of normalisations, then readers.
        for name, dim in sorted(
            units[0], key=lambda key: (key[1], key[0] not in made, place[key[0]])
        ):
            index: LongTensor = torch.tensor([unit[name, dim] for unit in units])  # type: ignore[assignment]
            slices.append(Slice(name, dim, index))
            if dim == 0:
                layers = self._probe.layers.get(name) or self._probe.channels[name]
                biases = [getattr(layer, "bias", None) for layer in layers]
                slices += [
                    Slice(bias, 0, index)
                    for bias in dict.fromkeys(names[id(b)] for b in biases if b is not None)
                ]
        return Coupling(made[0], len(units), tuple(slices))

    def _join(self, names: list[str]) -> None:
        """Put the rows of layers into the sets of what they reach."""
        pairs = self._reached_by_bits(names)
        if pairs is None and len(names) > 1:  # several rows reach one place
            self._join(names[: len(names) // 2])
            self._join(names[len(names) // 2 :])
            return
        if pairs is None:
            pairs = self._reached_one_by_one(names[0], _STEPS)
            if _all_in_one(pairs):
                # Mixed by a normalisation, say. Where all rows but one are zero, most of these
                # put out one value that isn't.
                pairs = self._reached_one_by_one(names[0], ((0.0, 1.0), (0.0, -1.0)))
                if _all_in_one(pairs):
                    self._excluded.add(names[0])
        for name in names:
            for row in range(self._widths[name]):
                self._sets.find((name, 0, row))
        for maker, reached in pairs:
            self._sets.join(maker, reached)

    def _reached_by_bits(self, names: list[str]) -> Pairs | None:
        """What each row reaches; None if several of them reach one place.

        The rows are told apart by the bits of their numbers, so that a few passes are enough.
        """
        rows = [(name, 0, row) for name in names for row in range(self._widths[name])]
        pairs: Pairs = set()
        for changed in self._steps(names, _STEPS):
            hits: dict[Key, list[Tensor]] = defaultdict(list)
            for group in groups(len(rows)):
                for key, columns in changed(group)[0].items():
                    hits[key].append(columns)
            for key, found in hits.items():
                is_set, is_clear = torch.stack(found[::2]), torch.stack(found[1::2])
                fed = (is_set | is_clear).any(0)
                if bool((is_set & is_clear).any()) or not bool((is_set | is_clear)[:, fed].all()):
                    return None
                weights = 2 ** torch.arange(len(is_set))
                owners = (is_set.long() * weights.unsqueeze(1)).sum(0)
                for index in fed.nonzero().squeeze(1).tolist():
                    pairs.add((rows[int(owners[index])], (*key, index)))
        return pairs

    def _reached_one_by_one(self, name: str, steps: Steps) -> Pairs:
        width = self._widths[name]
        pairs: Pairs = set()
        for changed in self._steps([name], steps):
            for row in range(width):
                for key, columns in changed(torch.arange(width) == row)[0].items():
                    for index in columns.nonzero().squeeze(1).tolist():
                        pairs.add(((name, 0, row), (*key, index)))
        return pairs

    def _steps(
        self, names: list[str], steps: Steps
    ) -> Iterator[Callable[[Tensor], tuple[dict[Key, Tensor], bool]]]:
        """For each step a function from the rows that take it to what changes with them.

        These are columns and factors by parameter and dimension, and whether anything else does.
        """
        widths = [self._widths[name] for name in names]
        for seed, (before, after) in enumerate(steps):
            generator = torch.Generator().manual_seed(seed)
            low, high = (
                value * (0.8 + 0.4 * torch.rand(sum(widths), generator=generator))
                for value in (before, after)
            )

            def run(values: Tensor) -> Seen:
                rows = dict(zip(names, torch.split(values, widths), strict=True))
                return self._probe.run(rows, _OTHERS)

            reference = run(low)

            def changed(
                rows: Tensor, low: Tensor = low, high: Tensor = high, reference: Seen = reference
            ) -> tuple[dict[Key, Tensor], bool]:
                found = run(torch.where(rows, high, low))
                return self._changed(reference, found), aside(reference, found)

            yield changed

    def _changed(self, first: Seen, second: Seen) -> dict[Key, Tensor]:
        """Which columns and factors have got something else, by parameter and dimension."""
        return {
            (name, 1 if name in self._probe.layers else 0): differing(first.inputs[name], values)
            for name, values in second.inputs.items()
        }

    def _fed_by_inputs(self) -> set[tuple[Key, int]]:
        """What gets something of the example even if all layers put out zeros."""
        reference = self._probe.run({})
        found = set()
        for seed in range(2):
            other = randomized(self._probe.example, 1.0, seed)
            for key, columns in self._changed(
                reference, self._probe.run({}, example=other)
            ).items():
                found |= {(key, int(index)) for index in columns.nonzero().squeeze(1)}
        return found


class _DisjointSets:
    """Places, joined where they go together (union-find)."""

    def __init__(self) -> None:
        self._parents: dict[Place, Place] = {}

    def find(self, place: Place) -> Place:
        """The one that stands for its set."""
        parent = self._parents.setdefault(place, place)
        while parent != self._parents[parent]:
            self._parents[parent] = self._parents[self._parents[parent]]
            parent = self._parents[parent]
        self._parents[place] = parent
        return parent

    def join(self, first: Place, second: Place) -> None:
        self._parents[self.find(first)] = self.find(second)

    def sets(self) -> Collection[list[Place]]:
        found: dict[Place, list[Place]] = defaultdict(list)
        for place in list(self._parents):
            found[self.find(place)].append(place)
        return found.values()


def _all_in_one(pairs: Pairs) -> bool:
    """Whether all rows that reach anything, of more than one, go together."""
    sets = _DisjointSets()
    for row, reached in pairs:
        sets.join(row, reached)
    return len({row for row, _ in pairs}) > 1 and len(sets.sets()) == 1
