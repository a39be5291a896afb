"""A plan's quantization at work: from when on the acting network's weights take few values."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm

from prune_search.errors import UserError
from prune_search.export.describing import describe
from prune_search.packed.file import pack
from prune_search.packed.quantizing import quantized_policy
from prune_search.plan.axes import NONE
from prune_search.plan.plan import Plan
from prune_search.rllib.learners import holding
from prune_search.rllib.networks.roles import ACTOR, Network
from prune_search.rllib.running import sync_weights


class Quantizer:
    """Holds the actor's kernels and their biases quantized, from a progress on.

    Rounds that train from then on are quantization-aware; where none does, the last one's policy is
    quantized after its training. A shared encoder is the actor's.

    Args:
        algorithm: built; its learners have their masks.
        plan: what to do.
        networks: the algorithm's.
    """

    def __init__(self, algorithm: Algorithm, plan: Plan, networks: Iterable[Network]) -> None:
        self._algorithm, self._plan = algorithm, plan
        self._method, self._bits = plan.quantization, plan.bits
        kernels = [
            kernel for network in networks if network.role == ACTOR for kernel in network.layers
        ]
        self._names = holding.layers_of(algorithm, kernels)
        self.holds = False

    def update(self, progress: float) -> int:
        """Begins to hold where that is due: how many weights are held from now on, else 0."""
        plan = self._plan
        if plan.quantization == NONE or self.holds:
            return 0
        assert plan.quantized_from is not None
        return self._hold() if progress >= plan.quantized_from else 0

    @property
    def parameters(self) -> list[str]:
        """The names of what it holds, or would, second biases among them, which it empties."""
        return [*(name for layer in self._names.layers for name in layer), *self._names.added]

    def take_up(self, method: str, bits: int) -> int:
        """Holds from now on, whatever the plan says; what is held so already goes on as it is.

        Args:
            method: a key of `compression.METHODS`.
            bits: 2 to 8.

        Returns:
            How many weights are held from now on, 0 where they were.

        Raises:
            ValueError: weights that can't be quantized.
        """
        if self.holds and (method, bits) == (self._method, self._bits):
            return 0
        self._method, self._bits = method, bits
        return self._hold()

    def end_round(self, *, resized: bool) -> None:
        """The weights are what a file holds.

        Args:
            resized: whether units were taken out since the last step: what is left is held anew.
        """
        if self.holds and resized:
            self._hold()
        if self.holds:
            holding.settle(self._algorithm)

    def packed_bytes(self, checkpoint: Path) -> tuple[int | None, str | None]:
        """Bytes of the packed file of a policy whose weights are held, without what it says.

        Args:
            checkpoint: RLlib's, of the policy as it is now.

        Returns:
            The bytes, None where nothing is held; and why they could not be had, if so.
        """
        if not self.holds:
            return None, None
        assert self._bits is not None
        try:  # read back, so that it is what an export of the point gives; 0.05 s of a round
            policy = describe(checkpoint, held=True).policy
        except UserError as error:
            return None, str(error)
        found = quantized_policy(policy, self._method, self._bits)
        return len(pack(found, {})), None

    def state_dict(self) -> list[dict[str, Any]] | None:
        """For `load_state_dict`; None where nothing is held yet."""
        return holding.holding_state(self._algorithm) if self.holds else None

    def load_state_dict(self, state: list[dict[str, Any]] | None) -> None:
        """Goes on holding the weights, which are there, as they were held."""
        if state is None:
            return
        self._hold()
        try:
            holding.load_holding_state(self._algorithm, state)
        except ValueError:  # earlier versions held recurrent cells in other groups, without biases
            self._hold()

    def _hold(self) -> int:
        assert self._bits is not None
        weights = holding.hold(self._algorithm, self._names, self._method, self._bits)
        sync_weights(self._algorithm)
        self.holds = True
        return weights
