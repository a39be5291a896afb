"""Levels of one artifact: several sparsities of the same weights, each measured by itself."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from prune_search.artifacts.base import TARGETS, Artifact, Material, Target, stored_bytes
from prune_search.artifacts.card import Card, Level, Measured
from prune_search.errors import UserError
from prune_search.export.measuring import measured_again
from prune_search.export.refusing import cannot
from prune_search.policy.description import PolicyDescription
from prune_search.policy.elastic import at_level, fewest, kept
from prune_search.records.record import Record
from prune_search.records.returns import Return


@dataclass(frozen=True)
class Wished:
    """The levels that an artifact shall have beside the policy itself."""

    sparsities: tuple[float, ...]
    """Rising, each in (0, 1)."""
    parameters: int
    """The dense policy's, which sparsities refer to."""
    final_seed: int
    final_episodes: int


class Separate(Record):
    """What as many artifacts of a single level each would take together."""

    bytes: int
    constants: int | None
    """Of C alone, in flash."""


def levels_of(policy: PolicyDescription, wished: Wished) -> list[Level]:
    """The levels of a policy, the sparsest first; the last one is the policy itself.

    Args:
        policy: with the weights that the artifact has.
        wished: which it shall have.

    Raises:
        UserError: one that is no sparser than the policy, or is sparser than biases and a weight of
            each matrix allow, or as sparse as another.
    """
    whole, weights = policy.nonzero, kept(policy)
    counts = [weights]
    for sparsity in wished.sparsities:
        count = round((1 - sparsity) * wished.parameters) - (whole - weights)
        if not fewest(policy) <= count < counts[-1]:
            here = 1 - whole / wished.parameters
            most = 1 - (whole - weights + fewest(policy)) / wished.parameters
            raise UserError(
                f"--levels: {100 * sparsity:g} is no level of its own: they lie above the policy's"
                f" {here:.2%}, and at {most:.2%} a weight of each matrix and all biases are left"
            )
        counts.append(count)
    counts.reverse()
    found = []
    for level, count in enumerate(counts):
        nonzero = at_level(policy, counts, level).nonzero
        sparsity = 1 - nonzero / wished.parameters
        found.append(Level(kept=count, nonzero=nonzero, sparsity=float(f"{sparsity:.6g}")))
    return found


def require_elastic(target: Target, name: str) -> None:
    """Refuses a target that has no place for levels.

    Raises:
        UserError: that, with those that have one.
    """
    if not target.elastic:
        able = sorted(other for other, each in TARGETS.items() if each.elastic)
        raise cannot("levels", name, able=", ".join(able))


def measured_levels(artifact: Artifact, wished: Wished, returned: Return | None) -> list[Level]:
    """An artifact's levels with the return of each, the artifact's own at that level.

    Args:
        artifact: opened; it acts at its densest level afterwards.
        wished: says where the final seeds are.
        returned: the densest level's on the evaluation's seeds, which is known; None where the
            environment has no name to make it by.
    """
    levels, found = artifact.card.levels, []
    if returned is None:
        return levels
    for number, level in enumerate(levels):
        artifact.set_level(number)
        on = returned if level is levels[-1] else measured_again(artifact, None, None)
        final = measured_again(artifact, wished.final_seed, wished.final_episodes)
        told = {"returned": _rounded(on), "final": _rounded(final)}
        found.append(level.model_copy(update=told))
    return found


def separate(target: Target, material: Material) -> Separate:
    """What the levels take as artifacts of their own.

    Args:
        target: writes them.
        material: of the policy with all levels.
    """
    levels, policy = [level.kept for level in material.card.levels], material.described
    alone = material.card.model_copy(update={"levels": []})
    sizes, constants = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(len(levels)):
            path = Path(folder, f"level-{number}{target.suffix}")
            target.write(
                replace(material, policy=at_level(policy, levels, number), card=alone), path
            )
            sizes.append(stored_bytes(path))
            constants.append(target.open(path).figures().get("constants"))
    known = [size for size in constants if size is not None]
    return Separate(bytes=sum(sizes), constants=sum(known) if known else None)


def with_levels(card: Card, levels: Sequence[Level]) -> Card:
    """The card of an artifact that has them."""
    return card.model_copy(update={"levels": list(levels)})


def _rounded(returned: Return) -> Measured:
    """In few digits: a small file says it of each level."""
    measured = Measured.of(returned)
    return Measured(
        **{name: float(f"{value:.6g}") for name, value in measured.model_dump().items()}
    )
