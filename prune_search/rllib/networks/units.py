"""Hidden units of RLlib's modules, found once a process for all that are built alike."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from ray.rllib.core.rl_module.rl_module import RLModule
from torch import nn

from prune_search.sparsity.structure.coupling import Coupling
from prune_search.sparsity.structure.perturbing import Forward
from prune_search.sparsity.structure.tracing import couplings

_found: dict[Hashable, list[Coupling]] = {}
_MOST = 64  # networks whose units are remembered


def units_of(module: RLModule, example: Any, forward: Forward) -> list[Coupling]:
    """The hidden units of a module; see ``couplings``.

    What is found depends on how a network is built and not on its weights, which are replaced while
    it is traced. So trials, rounds and policies that are built alike share it.

    Args:
        module: the network; a torch module.
        example: a batch of inputs.
        forward: a function of some module, that is the same object in every call.

    Raises:
        ValueError: as ``couplings`` does.
    """
    assert isinstance(module, nn.Module)
    key = (forward, *_built(module))
    if key not in _found:
        if len(_found) >= _MOST:
            _found.pop(next(iter(_found)))
        _found[key] = couplings(module, example, forward)
    return _found[key]


def _built(module: Any) -> tuple[Any, ...]:
    """What tells networks apart: classes, settings, spaces, and all shapes."""
    shapes = [
        (name, tuple(tensor.shape), tensor.dtype)
        for name, tensor in (*module.named_parameters(), *module.named_buffers())
    ]
    return (
        type(module),
        module.training,
        repr(module),
        repr(module.model_config),
        repr(module.observation_space),
        repr(module.action_space),
        tuple(shapes),
    )
