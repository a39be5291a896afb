"""Quantization-aware training: parameters keep few values through an optimizer's steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from prune_search.compression.methods import method
from prune_search.compression.quantized import Held, Quantized, copy_


class Holding:
    """Keeps parameters quantized while they are trained, with any optimizer and any loss.

    The network computes with the quantized values throughout; what a step changes is up to the
    method: centroids (sharing), or the weights that the integers are roundings of (uniform). Zeros
    that a ``MaskSet`` holds on the same optimizer stay zeros.

    Parameters stay the objects that they are, and nothing is added to the module, as with
    ``MaskSet``.

    Args:
        parameters: by name; quantized in place at once.
        layers: the names of each layer's parameters, weight and bias; those that none names are
            left as they are.
        name: the method, a key of ``METHODS``.
        bits: 2 to 8.
        added: names of parameters that are only ever added to another one, and of that one: a
            second bias. What they hold moves there, and they stay zero.

    Raises:
        ValueError: an unknown method, bits out of range, or weights that can't be quantized.
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        layers: Sequence[Sequence[str]],
        name: str,
        bits: int,
        added: Mapping[str, str] | None = None,
    ) -> None:
        found = method(name)
        self._parameters = dict(parameters)
        self._empty = [parameters[one] for one in added or {}]
        with torch.no_grad():
            for second, first in (added or {}).items():
                parameters[first].add_(parameters[second])
                parameters[second].zero_()
        self.groups: list[list[str]] = list(found.groups(layers))
        self._held: list[Held] = [
            found.hold([parameters[one] for one in group], bits) for group in self.groups
        ]
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    @property
    def weights(self) -> int:
        """How many weights it holds, zeros among them."""
        return sum(symbols.size for found in self.quantized() for symbols in found.symbols)

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Hold the parameters quantized through every step of ``optimizer``.

        Masks (``MaskSet.attach``) come first, so that what a step moved away from zero is zero
        again before it is quantized.
        """
        self._hooks.append(optimizer.register_step_pre_hook(self._before))
        self._hooks.append(optimizer.register_step_post_hook(self._after))

    def remove(self) -> None:
        """Stop holding; the parameters keep the values that they have."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def settle(self) -> None:
        """Set the parameters to the very values that a file holds, which float16 rounds."""
        for group, found in zip(self.groups, self.quantized(), strict=True):
            copy_([self._parameters[name] for name in group], found.values())

    def quantized(self) -> list[Quantized]:
        """What the parameters are now, group by group of ``groups``."""
        return [held.quantized() for held in self._held]

    def state_dict(self) -> list[dict[str, Any]]:
        """For ``torch.load(weights_only=True)``: what is needed, beside the parameters."""
        return [held.state_dict() for held in self._held]

    def load_state_dict(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Takes over what ``state_dict`` gave; the parameters have their values of then."""
        for held, state in zip(self._held, states, strict=True):
            held.load_state_dict(state)

    @torch.no_grad()
    def _before(self, *_: Any) -> None:
        for held in self._held:
            held.before_step()

    @torch.no_grad()
    def _after(self, *_: Any) -> None:
        for parameter in self._empty:
            parameter.zero_()
        for held in self._held:
            held.after_step()
