"""What a policy computes, from observation to action, as a short list of typed layers.

Whatever writes a policy into a file (exporters, packers, quantizers) reads this and nothing of
RLlib's. Numbers are float32, vectors are [features], and images are [height, width, channels]
throughout. Policies with a memory (recurrent cells, stacked frames) keep it in one vector, which
is zero as an episode begins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prune_search.policy.actions import Choice, Continuous
from prune_search.policy.arrays import Shape
from prune_search.policy.layers import Layer


@dataclass(frozen=True, eq=False)
class PolicyDescription:
    """A policy: an observation goes in, an action comes out.

    Raises:
        ValueError: a layer does not take what the one before it gives, or the action does not take
            what the last one gives.
    """

    observation_shape: Shape
    """Of what goes in, as float32: a Box as it is, anything else flat in gymnasium's order, with
    one number for each category."""
    preprocessing: tuple[Layer, ...]
    """In front of the network."""
    layers: tuple[Layer, ...]
    """The network."""
    action: Choice | Continuous
    """Behind it."""
    notes: tuple[str, ...] = ()
    """What is to be known about it, a line each: what was left out, and why."""

    def __post_init__(self) -> None:
        if self.shapes[-1] != (self.action.outputs,):
            raise ValueError(
                f"the network gives {self.shapes[-1]}, the action takes {self.action.outputs}"
            )

    @property
    def steps(self) -> tuple[Layer, ...]:
        """Preprocessing and network."""
        return self.preprocessing + self.layers

    @property
    def shapes(self) -> list[Shape]:
        """The observation's shape, and that of what each step gives."""
        found = [self.observation_shape]
        for step in self.steps:
            found.append(step.output_shape(found[-1]))
        return found

    @property
    def state_sizes(self) -> list[int]:
        """Numbers that each step keeps; in the state they lie one behind the other."""
        return [
            step.state_size(shape) for step, shape in zip(self.steps, self.shapes, strict=False)
        ]

    @property
    def state_size(self) -> int:
        """Numbers that it keeps from one observation to the next; 0 for most policies."""
        return sum(self.state_sizes)

    @property
    def parameters(self) -> int:
        """Numbers of the network, zeros among them; the preprocessing's are not counted."""
        return sum(array.size for layer in self.layers for array in layer.arrays.values())

    @property
    def nonzero(self) -> int:
        """Of these, those that are not zero."""
        return sum(
            int(np.count_nonzero(array)) for layer in self.layers for array in layer.arrays.values()
        )
