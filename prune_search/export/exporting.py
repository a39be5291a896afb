"""A checkpoint to an artifact of any target, which is measured by itself before it is kept."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from gymnasium import spaces

from prune_search.artifacts.base import Artifact, Material, Target, stored_bytes
from prune_search.artifacts.card import Card, Level, Measured, Measurement, card_for
from prune_search.artifacts.torch_program import TorchArtifact
from prune_search.errors import UserError, check_whole, one_line
from prune_search.export.describing import Described, describe
from prune_search.export.levels import (
    Separate,
    Wished,
    levels_of,
    measured_levels,
    require_elastic,
    separate,
    with_levels,
)
from prune_search.export.measuring import Agreement, Latency, agreement, latency, measure
from prune_search.export.policy import Policy
from prune_search.export.recording import Recorded, recorded
from prune_search.export.refusing import cannot
from prune_search.export.surroundings import Surroundings, surroundings
from prune_search.export.targets import find_target
from prune_search.policy.arrays import Array
from prune_search.policy.description import PolicyDescription
from prune_search.policy.torch_policy import TorchPolicy
from prune_search.records.record import Record
from prune_search.records.returns import Return

OBSERVATIONS = 10_000
"""Recorded for the comparison of actions."""
_CALIBRATION = 500


class Refused(UserError):
    """What was written is not what was wished for, and is gone; another policy's may be."""


@dataclass(frozen=True)
class Source:
    """What is exported."""

    algorithm: Path
    """Folder of RLlib's checkpoint."""
    name: str
    """Of the policy: its study and point."""
    measurement: Measurement
    """How its return was measured."""
    dense: Path | None = None
    """Checkpoint of the dense policy, which latencies are compared with; itself if None."""
    sampled: bool = False
    """Whether actions are sampled."""
    held: bool = False
    """Whether its weights are quantized."""
    notes: tuple[str, ...] = ()
    """What is to be known about it, a line each; beside what its description says."""


class Export(Record):
    """An artifact, as it was measured."""

    path: Path
    target: str
    bytes: int
    """Of the file, or of all files in the folder."""
    figures: dict[str, int]
    """What else is known of its size, in bytes by name; see `Artifact.figures`."""
    parameters: int
    """Numbers of the network in it, zeros among them."""
    nonzero: int
    """Of these, those that are not zero."""
    deviations: int = 0
    """Parameters that are not zero beside them, which the policy has in RLlib: they give deviations
    of actions, and greedy actions do not read them."""
    returned: Return | None
    """The artifact's, in the environment; None where that has no name to make it by."""
    wanted: Measured | None
    """The policy's in RLlib, on the same episodes."""
    agreement: Agreement
    latency_us: Latency
    dense_latency_us: Latency | None
    """Of the dense policy as a plain torch module, in the same run; None without a description."""
    notes: list[str] = []  # noqa: RUF012 - pydantic copies it
    levels: list[Level] = []  # noqa: RUF012
    """That it has, each with its return; the other figures are those of the last one."""
    separate: Separate | None = None
    """What a file for each level would take; None without levels."""

    @property
    def lost(self) -> bool:
        """Whether its return lies below the interval of the policy's."""
        if self.returned is None or self.wanted is None:
            return False
        return self.returned.value < self.wanted.low


def export(
    source: Source,
    to: str,
    path: Path,
    *,
    using: Target | None = None,
    observations: int = OBSERVATIONS,
    max_bytes: int | None = None,
    anyway: bool = False,
    levels: Wished | None = None,
) -> Export:
    """Writes a policy to a target, and measures what was written; only then it is there.

    Args:
        source: the policy.
        to: the target's name.
        path: of the file or folder, which must not be there yet.
        using: a target of that name with other settings than the registered one's.
        observations: how many actions are compared with RLlib's.
        max_bytes: what it may have at most.
        anyway: keep it although its return lies below the policy's interval.
        levels: what sparser levels of the same weights it shall have.

    Raises:
        Refused: the artifact is worse than the policy, or larger than it may be.
        UserError: the target is unknown or has no place for the policy or for levels, there are no
            such levels, or it can't be written.
    """
    target = using or find_target(to)
    check_whole("--observations", observations, 1)
    if path.exists():
        raise UserError(f"--out: {str(path)!r} exists; give another name")
    if levels is not None:
        require_elastic(target, to)
    described, around = _described(source, target)
    policy = described.policy if described else None
    card = _card(source, to, policy, around)
    if levels is not None and policy is not None:
        card = with_levels(card, levels_of(target.held(policy), levels))
    seen = recorded(source.algorithm, around, observations, max_steps=source.measurement.max_steps)
    material = Material(policy, card, _calibration(seen, card), source.algorithm)
    with _in_making(path) as part:
        target.write(material, part)
        size = _size(source, to, part, max_bytes)
        artifact = target.open(part)
        found = _measured(source, artifact, described, seen, path, size)
        if found.lost and not anyway:
            assert found.returned is not None and found.wanted is not None
            raise Refused(
                f"export: {source.name} as {to} returns {found.returned.value:.4g}, below the"
                f" policy's interval from {found.wanted.low:.4g} to {found.wanted.high:.4g};"
                " nothing was written; --anyway keeps it"
            )
        if levels is not None:
            found = _with_levels(found, artifact, target, material, levels, part)
            size = _size(source, to, part, max_bytes)
            found = found.model_copy(update={"bytes": size})
    return found


def _size(source: Source, to: str, part: Path, allowed: int | None) -> int:
    """Its bytes, which are no more than it may have."""
    size = stored_bytes(part)
    if allowed is not None and size > allowed:
        raise Refused(
            f"--max-bytes: {source.name} as {to} has {size:,} bytes, {allowed:,} are allowed"
        )
    return size


def _with_levels(
    found: Export,
    artifact: Artifact,
    target: Target,
    material: Material,
    wished: Wished,
    part: Path,
) -> Export:
    """Measures each level of what was written, and writes it again, with their returns in it."""
    levels = measured_levels(artifact, wished, found.returned)
    own = replace(material, policy=target.held(material.described))
    _remove(part)
    target.write(replace(own, card=with_levels(material.card, levels)), part)
    if target.open(part).card.levels != levels:
        raise UserError(f"export: {found.target} does not keep what its levels return")
    return found.model_copy(update={"levels": levels, "separate": separate(target, own)})


def _described(source: Source, target: Target) -> tuple[Described | None, Surroundings]:
    if target.of_description:
        found = describe(source.algorithm, sampled=source.sampled, held=source.held)
        return found, found.surroundings
    if source.sampled:
        raise cannot("sampled actions", "rllib", able="torch, onnx, c")
    return None, surroundings(source.algorithm, absorb=False)


def _card(source: Source, to: str, policy: PolicyDescription | None, around: Surroundings) -> Card:
    ours = version("prune-search")
    if policy is not None:
        card = card_for(
            policy,
            version=ours,
            target=to,
            name=source.name,
            task=around.task,
            measurement=source.measurement,
        )
        return card.model_copy(update={"notes": [*card.notes, *source.notes]})
    held, space = Policy(source.algorithm), around.action_space
    return Card(
        version=ours,
        target=to,
        name=source.name,
        task=around.task,
        measurement=source.measurement,
        observation_shape=around.observation_shape,
        state_size=0,
        noise="none",
        noise_size=0,
        discrete=isinstance(space, spaces.Discrete | spaces.MultiDiscrete),
        action_shape=tuple(space.shape or ()),
        parameters=held.parameters,
        nonzero=held.nonzero,
        notes=list(source.notes),
    )


def _calibration(seen: Recorded, card: Card) -> Array:
    """Some observations of all episodes; in order, of the first ones, where policies remember."""
    if card.state_size:
        return seen.observations[:_CALIBRATION]
    chosen = np.random.default_rng(0).permutation(len(seen.observations))[:_CALIBRATION]
    return seen.observations[np.sort(chosen)]


def _measured(
    source: Source,
    artifact: Artifact,
    described: Described | None,
    seen: Recorded,
    path: Path,
    size: int,
) -> Export:
    card, how = artifact.card, source.measurement
    policy = described.policy if described else None
    returned = None
    if card.task is not None:
        returned = measure(
            artifact,
            card.task,
            seed=how.seed,
            episodes=how.episodes,
            max_steps=how.max_steps,
            aggregate=how.aggregate,
        )
    dense = None
    if policy is not None:
        whole = describe(source.dense, sampled=source.sampled).policy if source.dense else policy
        plain = TorchArtifact(TorchPolicy(whole).eval(), card)
        dense = latency(plain, seen.observations[0])
    return Export(
        path=path,
        target=card.target,
        bytes=size,
        figures=artifact.figures(),
        parameters=card.parameters,
        nonzero=card.nonzero,
        deviations=described.deviations if described else 0,
        returned=returned,
        wanted=how.returned,
        agreement=agreement(artifact, seen, policy),
        latency_us=latency(artifact, seen.observations[0]),
        dense_latency_us=dense,
        notes=card.notes,
    )


@contextmanager
def _in_making(path: Path) -> Iterator[Path]:
    """A name beside the path, which gets the path's if all goes well, and else is gone."""
    part = path.with_name(f".{path.name}.part{path.suffix}")
    _remove(part)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.rename(path)
    except OSError as error:
        raise UserError(f"--out: cannot write {str(path)!r}: {one_line(error)}") from None
    finally:
        _remove(part)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
