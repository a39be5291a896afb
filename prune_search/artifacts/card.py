"""What an artifact says of itself: it lies inside the file, so that the file is enough."""

from __future__ import annotations

from typing import Any

from prune_search.policy.actions import Choice, Noise
from prune_search.policy.description import PolicyDescription
from prune_search.records.record import Record
from prune_search.records.returns import Aggregate, Return


class Task(Record):
    """The environment that the policy acts in."""

    id: str
    """Gymnasium's."""
    modules: list[str] = []
    """Python modules that register it."""
    config: dict[str, Any] = {}
    """What it is made with."""
    wrappers: list[dict[str, Any]] = []
    """Around it, the first one innermost; those that only change the form are in the policy."""


class Measured(Record):
    """A return over episodes."""

    value: float
    """What it counts as."""
    low: float
    """Lower end of its 95 % interval."""
    high: float
    """Upper end of it."""

    @classmethod
    def of(cls, returned: Return) -> Measured:
        """Without the single episodes, which take more room than small policies do."""
        return cls(value=returned.value, low=returned.low, high=returned.high)


class Measurement(Record):
    """How the policy's return was measured, and what it was."""

    seed: int
    """The evaluation seed."""
    episodes: int
    max_steps: int
    """After so many an episode is cut."""
    aggregate: Aggregate
    returned: Measured | None = None
    """The policy's, in RLlib; None where nobody measured it."""
    dense: Measured | None = None
    """The dense policy's that it was pruned from, on the same episodes."""
    random: Measured | None = None
    """Of random actions, likewise."""

    def retention(self, value: float) -> float | None:
        """Share of the dense policy's gain over random actions that a return keeps, if known."""
        if self.dense is None or self.random is None:
            return None
        return (value - self.random.value) / (self.dense.value - self.random.value)


class Level(Record):
    """Some of a policy's weights, which a device may choose to act with; see `policy.elastic`."""

    kept: int
    """Entries of its matrices that are not zero."""
    nonzero: int
    """Numbers of the network that are not zero."""
    sparsity: float
    """1 - nonzero / the dense policy's parameters."""
    returned: Measured | None = None
    """The file's own at this level, on the evaluation's seeds; None where nobody measured it."""
    final: Measured | None = None
    """Likewise, on the study's final seeds."""


class Card(Record):
    """What is known about an artifact."""

    version: str
    """Of the prune-search that wrote it."""
    target: str
    """What it was exported to."""
    name: str
    """Of the policy: its study and point."""
    task: Task | None
    """None where the environment is a class in the user's checkpoint, which has no name."""
    measurement: Measurement | None
    observation_shape: tuple[int, ...]
    """Of what goes in, float32; see `PolicyDescription.observation_shape`."""
    state_size: int
    """Numbers that go in and come out beside it, zero as an episode begins."""
    noise: Noise
    """What sampled actions need beside it."""
    noise_size: int
    discrete: bool
    """Actions are int64, else float32."""
    action_shape: tuple[int, ...]
    """Of an action; () for one number."""
    parameters: int
    """Numbers of the network, zeros among them."""
    nonzero: int
    """Of these, those that are not zero."""
    notes: list[str] = []
    """What is to be known about it, a line each."""
    levels: list[Level] = []
    """Where a device may choose among several sparsities; 0 is the sparsest, the last is what the
    other fields describe."""


def card_for(
    policy: PolicyDescription,
    *,
    version: str,
    target: str,
    name: str,
    task: Task | None = None,
    measurement: Measurement | None = None,
) -> Card:
    """The card of a policy that is written to a target."""
    action = policy.action
    return Card(
        version=version,
        target=target,
        name=name,
        task=task,
        measurement=measurement,
        observation_shape=policy.observation_shape,
        state_size=policy.state_size,
        noise=action.noise,
        noise_size=action.noise_size,
        discrete=isinstance(action, Choice),
        action_shape=() if isinstance(action, Choice) and action.single else (action.size,),
        parameters=policy.parameters,
        nonzero=policy.nonzero,
        notes=list(policy.notes),
    )
