"""What is inside a learner, by the names that masks and statistics use.

Parameters and networks of several policies are named `<ModuleID>/<name>`; where RLlib's default
policy is the only one, by their names alone.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModule
from torch import Tensor
from torch.optim import Optimizer

from prune_search.rllib.networks import roles
from prune_search.rllib.networks.roles import Network, full_name
from prune_search.rllib.running import trained_modules, unwrapped

# What learners adapt and RLlib's checkpoints leave out, by ModuleID.
_ADAPTIVE = (
    "curr_kl_coeffs_per_module",  # PPO, APPO
    "curr_log_alpha",  # SAC, CQL
    "moving_avg_sqd_adv_norms_per_module",  # MARWIL
    "last_update_ts_by_mid",
    "_last_update_ts_by_mid",
)


def optimizers(learner: Any) -> list[Optimizer]:
    """Those of all networks that are trained, and of numbers beside them."""
    return [
        optimizer
        for module_id in trained_modules(learner)
        for _, optimizer in learner.get_optimizers_for_module(module_id)
    ]


def networks_of(learner: Any, *, units: bool) -> dict[str, Network]:
    """The networks of all policies that are trained, by name; see `roles.networks`."""
    found: dict[str, Network] = {}
    for module_id, module in _modules(learner):
        own = roles.networks(module, units=units)
        if module_id is not None:
            own = {full_name(module_id, name): each.of(module_id) for name, each in own.items()}
        found |= own
    return found


def trained_parameters(learner: Any) -> dict[str, Tensor]:
    """Everything that is trained, by name: target networks follow, and aren't."""
    found: dict[str, Tensor] = {}
    for module_id, module in _modules(learner):
        copies = roles.targets(module)
        found |= {
            _name(module_id, name): parameter
            for name, parameter in module.named_parameters()
            if name not in copies
        }
    return found


def _modules(learner: Any) -> list[tuple[str | None, RLModule]]:
    """The networks that are trained, and the ModuleIDs that their names begin with."""
    plain = set(learner.module.keys()) == {DEFAULT_MODULE_ID}
    return [
        (None if plain else module_id, unwrapped(learner, module_id))
        for module_id in trained_modules(learner)
    ]


def _name(module_id: str | None, name: str) -> str:
    return name if module_id is None else full_name(module_id, name)


def target_parameters(learner: Any) -> list[tuple[str, Tensor]]:
    """Parameters of target networks, and the names of those that they follow."""
    return [
        (_name(module_id, main), parameters[target])
        for module_id, module in _modules(learner)
        for parameters in [dict(module.named_parameters())]
        for target, main in roles.targets(module).items()
    ]


def layers(learner: Any) -> dict[str, Any]:
    """Layers by the names of their kernels."""
    return {
        _name(module_id, f"{name}.weight"): layer
        for module_id, module in _modules(learner)
        for name, layer in module.named_modules()
    }


def _number(value: Any) -> float:
    return float(value.detach() if isinstance(value, Tensor) else value)


def adaptive(learner: Any) -> dict[str, dict[str, float]]:
    # RLlib makes them when they are first asked for, so each is asked for by its name.
    return {
        attribute: {name: _number(held[name]) for name in trained_modules(learner)}
        for attribute in _ADAPTIVE
        if (held := getattr(learner, attribute, None)) is not None
    }


@torch.no_grad()
def set_adaptive(learner: Any, state: dict[str, dict[str, float]], later: int = 0) -> None:
    for attribute, values in state.items():
        held = getattr(learner, attribute)
        for name, value in values.items():
            if isinstance(held[name], Tensor):
                held[name].fill_(value)
            else:
                held[name] = int(value) + later


class Held:
    """A learner's networks, optimizers and adapted numbers, held where they are."""

    def __init__(self, learner: Any) -> None:
        self._learner = learner
        # Values of state_dict are the parameters and buffers themselves, without their gradients.
        modules = [unwrapped(learner, name) for name in learner.module.keys()]  # noqa: SIM118
        self._state = [
            value
            for module in modules
            for value in module.state_dict().values()
            if isinstance(value, Tensor)
        ]
        self._values = [value.clone() for value in self._state]
        self._adaptive = adaptive(learner)
        self._optimizers = []
        for optimizer in optimizers(learner):
            params = [param for group in optimizer.param_groups for param in group["params"]]
            held = [(param, param.detach().clone()) for param in params]
            before = copy.deepcopy(optimizer.state_dict())
            hook = optimizer.register_step_post_hook(lambda *_, held=held: _put(held))
            self._optimizers.append((optimizer, held, before, hook))

    @torch.no_grad()
    def release(self) -> None:
        for optimizer, held, before, hook in self._optimizers:
            hook.remove()
            _put(held)
            optimizer.load_state_dict(before)
        for value, held_value in zip(self._state, self._values, strict=True):
            value.copy_(held_value)
        set_adaptive(self._learner, self._adaptive)


@torch.no_grad()
def _put(held: list[tuple[Tensor, Tensor]]) -> None:
    for param, value in held:
        param.copy_(value)
