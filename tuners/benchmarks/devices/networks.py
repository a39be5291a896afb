"""What runs on the boards: made-up networks, pruned and dense, and how they become C."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prune_search.artifacts.base import Material
from prune_search.artifacts.c.target import HEADER, SOURCE
from prune_search.artifacts.card import card_for
from prune_search.artifacts.targets import find_target
from prune_search.policy.actions import Choice
from prune_search.policy.arrays import Array
from prune_search.policy.description import PolicyDescription
from prune_search.policy.integers import integer_act, integer_policy
from prune_search.policy.layers import Activation, Dense, Function, Layer
from prune_search.policy.reference import act
from tuners.benchmarks.devices.plain import plain_loops

FORMS = ("plain loops", "c", "c-int8")
_INPUTS, _ACTIONS = 4, 2
_CALIBRATION, ROWS = 500, 16


@dataclass(frozen=True)
class Network:
    """A fully connected policy of CartPole's observation and actions."""

    hidden: int
    """Units of each of its two hidden layers."""
    function: Function
    sparsity: float
    """Of each layer's weights, at random; all units stay."""

    def __str__(self) -> str:
        sizes = f"{_INPUTS}-{self.hidden}-{self.hidden}-{_ACTIONS}"
        pruned = f"{self.sparsity:.0%} pruned" if self.sparsity else "dense"
        return f"{sizes}, {self.function}, {pruned}"

    def policy(self) -> PolicyDescription:
        """Its description, with the same random weights each time."""
        drawn = np.random.default_rng(0)
        sizes = (_INPUTS, self.hidden, self.hidden, _ACTIONS)
        layers: list[Layer] = []
        for inputs, outputs in itertools.pairwise(sizes):
            weight = drawn.standard_normal((outputs, inputs)) / np.sqrt(inputs)
            order = drawn.permutation(weight.size)
            weight.reshape(-1)[order[: round(self.sparsity * weight.size)]] = 0
            bias = (drawn.standard_normal(outputs) / 10).astype(np.float32)
            layers += [Dense(weight.astype(np.float32), bias), Activation(self.function)]
        action = Choice((_ACTIONS,), (0,), single=True)
        return PolicyDescription((_INPUTS,), (), tuple(layers[:-1]), action)

    def write(self, form: str, folder: Path) -> list[int]:
        """Writes its C into a new folder.

        Args:
            form: one of `FORMS`.
            folder: gets a header and a source at least.

        Returns:
            The actions that it must take for `observations()[:ROWS]`.
        """
        policy, seen = self.policy(), observations()
        if form == "plain loops":
            folder.mkdir()
            header, source = plain_loops(policy)
            (folder / HEADER).write_text(header)
            (folder / SOURCE).write_text(source)
        else:
            card = card_for(policy, version="", target=form, name=str(self))
            find_target(form).write(Material(policy, card, seen), folder)
        if form == "c-int8":
            wanted, _ = integer_act(integer_policy(policy, seen), seen[:ROWS])
        else:
            wanted, _ = act(policy, seen[:ROWS])
        return [int(action) for action in wanted]


def observations() -> Array:
    """[500, 4], random."""
    drawn = np.random.default_rng(1)
    return drawn.standard_normal((_CALIBRATION, _INPUTS)).astype(np.float32)
