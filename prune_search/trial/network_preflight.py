"""Whether what is to be searched fits the network: found out before any training."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from prune_search.errors import UserError
from prune_search.experiment.fields import Range, as_choices, plain
from prune_search.experiment.pruning import Pruning
from prune_search.rllib.networks.roles import ACTOR, CRITIC, Network
from prune_search.sparsity.criteria import CRITERIA
from prune_search.sparsity.selection.granularities import GRANULARITIES
from prune_search.sparsity.selection.select import emptied
from prune_search.trial.pruning.pruner import chosen_layers


def layers_in_scope(networks: Mapping[str, Network], pruning: Pruning) -> tuple[str, ...]:
    """Names of the kernels that a trial may prune.

    Raises:
        UserError: a pattern that fits none, or a network in scope that has none.
    """
    scopes = as_choices(pruning.scope)
    roles = {ACTOR, CRITIC} if "both" in scopes else set(scopes)
    known = [layer for network in networks.values() for layer in network.layers]
    for pattern in pruning.layers:
        if not any(chosen_layers(network, [pattern]) for network in networks.values()):
            raise UserError(
                f"pruning.layers: {pattern!r} matches none of the kernels; there are"
                f" {', '.join(known)}"
            )
    found: list[str] = []
    for role in sorted(roles):
        members = [network for network in networks.values() if network.role == role]
        layers = [layer for network in members for layer in chosen_layers(network, pruning.layers)]
        if not layers:
            what = "has no kernels that pruning.layers matches" if members else "does not exist"
            raise UserError(f"pruning.scope: the {role} of this algorithm's network {what}")
        found += layers
    return tuple(found)


def check_granularities(
    networks: Mapping[str, Network], shapes: Mapping[str, tuple[int, ...]], pruning: Pruning
) -> None:
    """Raises UserError if a granularity is open to the search that the network has no use for."""
    layers = layers_in_scope(networks, pruning)
    units = [unit for network in networks.values() for unit in network.units]
    for granularity in as_choices(pruning.granularity):
        kind = GRANULARITIES[granularity]
        if kind.pattern is not None:
            group = kind.pattern.m
            odd = [layer for layer in layers if shapes[layer][1] % group]
            if odd:
                raise UserError(
                    f"pruning.granularity: {granularity} needs layers whose number of inputs"
                    f" {group} divides, and {odd[0]} has {shapes[odd[0]][1]}; choose others by"
                    " pruning.layers"
                )
        elif kind.produced_by is not None:
            produced = (unit.layer for unit in units if unit.layer in layers)
            if not any(kind.produced_by(len(shapes[layer])) for layer in produced):
                linear = kind.produced_by(2)
                what = "hidden linear layers" if linear else "convolutions"
                raise UserError(
                    f"pruning.granularity: {granularity} finds no units in this network; it needs"
                    f" {what} that are not recurrent (there are {', '.join(layers)})"
                )


def check_thresholds(
    networks: Mapping[str, Network], weights: Mapping[str, Tensor], pruning: Pruning
) -> None:
    """Raises UserError if a threshold would remove a whole layer.

    Of a range its low end counts: above, a trial keeps one weight (unit) of each layer, and its
    points say what was achieved.

    Args:
        networks: of the baseline.
        weights: the baseline's, by parameter name.
        pruning: what may be searched.
    """
    if not any(CRITERIA[name].by_value for name in as_choices(pruning.criterion)):
        return
    layers = layers_in_scope(networks, pruning)
    value = pruning.threshold
    values = [value.low] if isinstance(value, Range) else as_choices(value)
    units = [unit for network in networks.values() for unit in network.units]
    granularities = [n for n in as_choices(pruning.granularity) if GRANULARITIES[n].by_value]
    for unit in as_choices(pruning.threshold_unit):
        for threshold in values:
            cut = {
                layer: threshold * (float(weights[layer].std()) if unit == "std" else 1.0)
                for layer in layers
            }
            for granularity in granularities:
                gone = emptied(weights, layers, cut, granularity, units)
                if gone:
                    largest = float(weights[gone[0]].abs().max())
                    raise UserError(
                        f"pruning.threshold: {threshold:g} ({unit}) would remove all of"
                        f" {gone[0]} at granularity {granularity}: its largest weight is"
                        f" {largest:.3g}, the cut {cut[gone[0]]:.3g}; pruning.threshold is"
                        f" {plain(value)}"
                    )
