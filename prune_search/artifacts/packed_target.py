"""Target packed: one file of few bytes, see docs/packed.md; NumPy alone plays it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from prune_search.artifacts.base import Artifact, Material, Target, register_target
from prune_search.artifacts.card import Card, card_for
from prune_search.errors import UserError, one_line
from prune_search.packed import BITS, METHOD
from prune_search.packed.file import MAGIC, SUFFIX, Packed, pack, read
from prune_search.packed.quantizing import QuantizedPolicy, quantized_policy
from prune_search.policy.arrays import Array
from prune_search.policy.description import PolicyDescription
from prune_search.policy.reference import act
from prune_search.storage.replacing import replace_file

_SAID = ("version", "name", "task", "measurement", "notes", "levels")
"""What the file holds of its card; the rest follows from the policy."""


@register_target("packed")
class PackedTarget(Target):
    """One file; weights take few values.

    Args:
        method: how they find them, a key of `compression.METHODS`.
        bits: of a weight's code, 2 to 8.
    """

    suffix = SUFFIX
    elastic = True

    def __init__(self, method: str = METHOD, bits: int = BITS) -> None:
        self._method, self._bits = method, bits

    def held(self, policy: PolicyDescription) -> PolicyDescription:
        return self._quantized(policy).policy

    def _quantized(self, policy: PolicyDescription) -> QuantizedPolicy:
        try:
            return quantized_policy(policy, self._method, self._bits)
        except ValueError as error:
            raise UserError(f"export: target packed: {one_line(error)}") from None

    def write(self, material: Material, path: Path) -> None:
        about = material.card.model_dump(mode="json", include=set(_SAID), exclude_defaults=True)
        levels = [level.kept for level in material.card.levels]
        replace_file(path, pack(self._quantized(material.described), about, levels))

    def opens(self, path: Path) -> bool:
        if not path.is_file():
            return False
        with path.open("rb") as stream:
            return path.suffix == SUFFIX or stream.read(len(MAGIC)) == MAGIC

    def open(self, path: Path) -> Artifact:
        found = read(path)
        try:
            said = {name: found.about[name] for name in _SAID if name in found.about}
            card = card_for(found.policy, target="packed", version="", name="")
            card = Card.model_validate({**card.model_dump(), **said})
        except ValueError as error:
            raise UserError(f"file: {str(path)!r} can't be opened: {one_line(error)}") from None
        if len(card.levels) != len(found.levels):
            raise UserError(f"file: {str(path)!r} can't be opened: it says not what its levels are")
        return PackedArtifact(found, card)


class PackedArtifact(Artifact):
    """A packed policy that acts."""

    rows = True

    def __init__(self, packed: Packed, card: Card) -> None:
        self.card, self._packed, self.policy = card, packed, packed.policy

    def _choose(self, level: int) -> None:
        self.policy = self._packed.at(level)

    def step(
        self, observation: Array, state: Array, noise: Array | None
    ) -> tuple[NDArray[Any], Array]:
        return act(self.policy, observation, state, noise)
