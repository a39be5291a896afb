"""What a target is, its registry, open to targets of one's own, and what an artifact does."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_search.artifacts.card import Card
from prune_search.errors import UserError, one_line
from prune_search.policy.actions import draw
from prune_search.policy.arrays import Array
from prune_search.policy.description import PolicyDescription
from prune_search.registry import Registry


class Artifact(ABC):
    """A policy in a file, opened: this is what gets measured."""

    card: Card
    rows: bool = False
    """Whether `step` takes any number of observations at a time."""

    @abstractmethod
    def step(
        self, observation: Array, state: Array, noise: Array | None
    ) -> tuple[NDArray[Any], Array]:
        """One action.

        Args:
            observation: [1, *observation_shape].
            state: [1, state_size], from the step before; zeros as an episode begins.
            noise: [1, noise_size]; None where there is none.

        Returns:
            The action, [1, *action_shape], and the state for the next step.
        """

    def set_level(self, level: int) -> None:
        """Acts with a level's weights from now on; an artifact opens at its densest.

        Args:
            level: 0, the sparsest, to `len(card.levels) - 1`.

        Raises:
            UserError: there is no such level.
        """
        levels = len(self.card.levels)
        if not 0 <= level < levels:
            known = f"has levels 0 to {levels - 1}" if levels else "has no levels to choose among"
            raise UserError(f"level: {self.card.name} {known}, got {level}")
        self._choose(level)

    def _choose(self, level: int) -> None:
        raise NotImplementedError

    def reset(self) -> None:  # noqa: B027 - most have nothing to do
        """An episode begins; for what keeps a state beside the one that it is given."""

    def nanoseconds(self, observation: Array, count: int) -> NDArray[np.int64]:
        """What each of so many actions takes, as this process sees it, one after another."""
        state = np.zeros((1, self.card.state_size), np.float32)
        noise = np.zeros((1, self.card.noise_size), np.float32) if self.card.noise_size else None
        taken = np.empty(count, np.int64)
        for number in range(count):
            begun = time.perf_counter_ns()
            self.step(observation, state, noise)
            taken[number] = time.perf_counter_ns() - begun
        return taken

    def figures(self) -> dict[str, int]:
        """What else is known of its size, in bytes by name: flash, RAM, stack."""
        return {}


class Actor:
    """An artifact that acts: an observation goes in, an action as environments take it comes out.

    Raises:
        ValueError: when called with an observation of another shape, or one that is not finite.
    """

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact
        self.reset()

    def reset(self, seed: int = 0) -> None:
        """An episode begins.

        Args:
            seed: of the noise, where actions are sampled.
        """
        card = self.artifact.card
        self.artifact.reset()
        self._state = np.zeros((1, card.state_size), np.float32)
        self._generator = np.random.default_rng(seed)

    def __call__(self, observation: Any) -> Any:
        card = self.artifact.card
        given = np.asarray(observation, np.float32)
        check_observation(given, card.observation_shape)
        noise = draw(card.noise, 1, card.noise_size, self._generator)
        action, self._state = self.artifact.step(given[None], self._state, noise)
        return action[0]


def check_observation(given: NDArray[Any], shape: tuple[int, ...]) -> None:
    """Raises ValueError unless an observation has a shape and its numbers are finite."""
    if given.shape != shape:
        raise ValueError(f"the observation must have shape {shape}, got {given.shape}")
    if not np.isfinite(given).all():
        raise ValueError("the observation holds numbers that are not finite")


@dataclass(frozen=True)
class Material:
    """What an artifact is made of."""

    policy: PolicyDescription | None
    """None for targets that are not made from it."""
    card: Card
    observations: Array
    """[rows, *observation_shape]: some that the policy has seen, for what has to be calibrated."""
    algorithm: Path | None = None
    """RLlib's checkpoint of it; None where there is none."""

    @property
    def described(self) -> PolicyDescription:
        """The description of the policy.

        Raises:
            ValueError: there is none.
        """
        if self.policy is None:
            raise ValueError("the policy is not described")
        return self.policy


class Target(ABC):
    """What a policy can be exported to."""

    suffix: str
    """What the file's name ends with; empty for a folder."""
    of_description: bool = True
    """Whether it is made from the policy's description; else from RLlib's checkpoint."""
    elastic: bool = False
    """Whether it has a place for the levels of a card."""

    def held(self, policy: PolicyDescription) -> PolicyDescription:
        """The policy with the weights that its artifacts have, which may be rounded."""
        return policy

    @abstractmethod
    def write(self, material: Material, path: Path) -> None:
        """Makes the file or folder, which is not there yet.

        Raises:
            UserError: the target has no place for something of the policy, or a package is missing.
        """

    @abstractmethod
    def opens(self, path: Path) -> bool:
        """Whether it is one of its artifacts, by its name and what lies in it."""

    @abstractmethod
    def open(self, path: Path) -> Artifact:
        """The policy in it.

        Raises:
            UserError: it can't be read.
        """


TARGETS: Registry[Target] = Registry("target")


def register_target(name: str) -> Callable[[type[Target]], type[Target]]:
    """Registers a class of targets under a name for `prune-search export --to`.

    Raises:
        ValueError: the name is taken.
    """
    return TARGETS.registering(name, lambda kind: kind())


def open_artifact(path: Path) -> Artifact:
    """The policy in a file or folder that was exported, whatever the target.

    Raises:
        UserError: it is no artifact of any target, or can't be read.
    """
    if not path.exists():
        raise UserError(f"file: there is no {str(path)!r}")
    for target in TARGETS.values():
        if target.opens(path):
            return target.open(path)
    raise UserError(
        f"file: {str(path)!r} is no artifact of any target; known are: {', '.join(TARGETS)}"
    )


def card_in(path: Path, name: str, target: str) -> Card:
    """The card in a folder that was exported.

    Args:
        path: the folder.
        name: of the card's file.
        target: the target's name.

    Raises:
        UserError: it can't be read.
    """
    try:
        return Card.model_validate_json((path / name).read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(
            f"file: {str(path)!r} is no policy of target {target}: {one_line(error)}"
        ) from None


def stored_bytes(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def missing(package: str, extra: str) -> UserError:
    """The error for a package that an extra brings."""
    return UserError(f'export: needs {package}; pip install "prune-search[{extra}]"')
