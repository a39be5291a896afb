"""A described policy whose weights take few values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from prune_search.compression.coding.matrices import Form, Matrix
from prune_search.compression.methods import Method, method
from prune_search.compression.quantized import Floats, Quantized, Symbols
from prune_search.packed.units import arranged, free_layers
from prune_search.policy.description import PolicyDescription
from prune_search.policy.layers import LSTM, Convolution, Dense, Layer

_WEIGHTS: dict[type[Layer], tuple[str, ...]] = {
    Dense: ("weight", "bias"),
    Convolution: ("weight", "bias"),
    LSTM: ("input_weight", "recurrent_weight", "bias"),
}
"""The arrays of a layer that are quantized; all other numbers of a policy stay float32."""


class Place(NamedTuple):
    """Where an array lies in a policy."""

    layer: int
    """The number of the layer in `PolicyDescription.layers`."""
    field: str


@dataclass(frozen=True, eq=False)
class QuantizedPolicy:
    """A policy, and the codes that its weights are the values of."""

    policy: PolicyDescription
    method: Method
    bits: int
    groups: tuple[Quantized, ...]
    """In the order of `grouped`."""

    @property
    def matrices(self) -> list[Matrix]:
        """The codes of all weights, array by array, as coders take them."""
        places = [place for group in grouped(self.policy, self.method) for place in group]
        symbols = [codes for group in self.groups for codes in group.symbols]
        free = free_layers(self.policy)
        return [
            Matrix(_flat(codes), sorted_rows(place, free))
            for place, codes in zip(places, symbols, strict=True)
        ]


def quantized_policy(policy: PolicyDescription, name: str, bits: int) -> QuantizedPolicy:
    """The policy with quantized weights, its hidden units in the order that packs best.

    A policy that was quantized so before is left as it is, but for that order.

    Args:
        policy: any.
        name: the method, a key of `compression.METHODS`.
        bits: of a weight's code, 2 to 8.

    Raises:
        ValueError: an unknown method, bits out of range, or weights that float16 has no place for.
    """
    found = method(name)
    first, _ = _quantized(policy, found, bits)
    quantized, groups = _quantized(arranged(first), found, bits)
    return QuantizedPolicy(quantized, found, bits, groups)


def grouped(policy: PolicyDescription, found: Method) -> Iterator[list[Place]]:
    """Which arrays of a policy are quantized together."""
    layers = [
        [Place(number, field) for field in _fields(layer)]
        for number, layer in enumerate(policy.layers)
    ]
    names = {f"{place.layer}.{place.field}": place for layer in layers for place in layer}
    for group in found.groups([[f"{one.layer}.{one.field}" for one in layer] for layer in layers]):
        if group:
            yield [names[name] for name in group]


def with_values(
    policy: PolicyDescription, places: Sequence[Place], values: Sequence[Floats]
) -> PolicyDescription:
    """The policy with other weights at these places."""
    layers = list(policy.layers)
    for place, value in zip(places, values, strict=True):
        layers[place.layer] = replace(layers[place.layer], **{place.field: value})
    return replace(policy, layers=tuple(layers))


def sorted_rows(place: Place, free: dict[int, int]) -> bool:
    """Whether an array's rows are in the order of `row_order`: of weights of layers that are free
    to be; their biases follow."""
    return place.layer in free and place.field == "weight"


def form_of(shape: tuple[int, ...], ordered: bool) -> Form:
    """What an array is to coders: a row for each output, a vector as one column."""
    columns = 1
    for size in shape[1:]:
        columns *= size
    return Form(shape[0], columns, ordered)


def _flat(codes: Symbols) -> Symbols:
    return codes.reshape(form_of(codes.shape, False)[:2])


def _quantized(
    policy: PolicyDescription, found: Method, bits: int
) -> tuple[PolicyDescription, tuple[Quantized, ...]]:
    groups = []
    for places in grouped(policy, found):
        arrays = [getattr(policy.layers[place.layer], place.field) for place in places]
        quantized = found.fit(arrays, bits)
        policy = with_values(policy, places, quantized.values())
        groups.append(quantized)
    return policy, tuple(groups)


def _fields(layer: Layer) -> Iterator[str]:
    for field in _WEIGHTS.get(type(layer), ()):
        if getattr(layer, field) is not None:
            yield field
