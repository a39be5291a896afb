"""What stands behind the network of a described policy: how its outputs become an action."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from prune_search.policy.arrays import Array, hold_arrays

Bounds = Literal["scale", "clip", "none"]
Noise = Literal["none", "gumbel", "normal"]
"""What sampled actions need: standard Gumbel or normal random numbers."""


def draw(noise: Noise, rows: int, size: int, generator: np.random.Generator) -> Array | None:
    """Random numbers for so many actions, [rows, size]; None where none are needed."""
    if noise == "none":
        return None
    drawn = generator.gumbel if noise == "gumbel" else generator.standard_normal
    return drawn(size=(rows, size)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Choice:
    """Discrete actions: of each group of outputs the largest; the first of those that are equal.

    Where actions are sampled, noise of the standard Gumbel distribution is added to the outputs
    first, which makes the largest a sample of the softmax (Gumbel 1954; Maddison et al. 2014).
    """

    sizes: tuple[int, ...]
    """Outputs of each group."""
    first: tuple[int, ...]
    """The action that stands for each group's first output."""
    single: bool
    """Whether the action is one number (gymnasium's Discrete), not a vector (MultiDiscrete)."""
    sampled: bool = False

    @property
    def outputs(self) -> int:
        """Numbers that the network gives."""
        return sum(self.sizes)

    @property
    def noise_size(self) -> int:
        """Numbers of noise for each action."""
        return self.outputs if self.sampled else 0

    @property
    def noise(self) -> Noise:
        """Of which kind."""
        return "gumbel" if self.sampled else "none"

    @property
    def size(self) -> int:
        """Numbers of an action."""
        return len(self.sizes)


@dataclass(frozen=True, eq=False)
class Gaussian:
    """How continuous actions are sampled: mean + exp(log deviation) * standard normal noise."""

    log_deviation: Array | None
    """(actions,); None where the network gives it, behind the means."""
    limits: tuple[float, float] | None
    """What the log deviation is cut off at."""
    squashed: bool
    """Whether the tangens hyperbolicus is taken of the sample (Haarnoja et al. 2018)."""

    def __post_init__(self) -> None:
        hold_arrays(self)


@dataclass(frozen=True, eq=False)
class Continuous:
    """Continuous actions: the mean, or a sample, brought into the bounds."""

    low: Array
    """(actions,); may be infinite where the bounds are not scaled to."""
    high: Array
    """Likewise."""
    bounds: Bounds
    """`scale`: -1 to 1 becomes low to high, and is cut off there; `clip`: cut off alone."""
    sampling: Gaussian | None = None
    """None where the action is the mean."""

    def __post_init__(self) -> None:
        hold_arrays(self)

    @property
    def outputs(self) -> int:
        """Numbers that the network gives."""
        given = self.sampling is not None and self.sampling.log_deviation is None
        return self.size * (2 if given else 1)

    @property
    def noise_size(self) -> int:
        """Numbers of noise for each action."""
        return self.size if self.sampling else 0

    @property
    def noise(self) -> Noise:
        """Of which kind."""
        return "normal" if self.sampling else "none"

    @property
    def size(self) -> int:
        """Numbers of an action."""
        return len(self.low)
