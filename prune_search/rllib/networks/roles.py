"""Which parameters of an RLModule form the actor and the critic, and which of them can go.

RLlib itself says what the policy needs to act: what an inference-only module keeps. That is the
actor, a shared encoder included; everything else that is trained is the critic.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import tree  # type: ignore[import-untyped]  # dm-tree, which RLlib requires
from gymnasium import spaces
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import QNetAPI, TargetNetworkAPI, ValueFunctionAPI
from ray.rllib.core.rl_module.rl_module import RLModule
from torch import Tensor, nn

from prune_search.rllib.networks.units import units_of
from prune_search.sparsity.structure.coupling import Coupling
from prune_search.sparsity.structure.layout import Layout

ACTOR, CRITIC = "actor", "critic"
_SEPARATOR = "/"  # ModuleIDs and networks' names; parameters' names have dots


@dataclass(frozen=True)
class Network:
    """A network whose weights are ranked together."""

    name: str
    """Its role; where there are several policies, behind the policy's name: `runner/actor`."""
    role: str
    """`actor` or `critic`."""
    parameters: tuple[str, ...]
    """Names of all its parameters in the RLModule, behind the policy's name likewise."""
    layers: tuple[str, ...]
    """Of these, the kernels that may be pruned, output layers included."""
    units: tuple[Coupling, ...] = field(default=(), repr=False)
    """Its hidden units, neurons and filters; output units are never among them."""

    def of(self, module_id: str) -> Network:
        """The same network by the names that it has among those of several policies."""

        def named(unit: Coupling) -> Coupling:
            slices = tuple(
                replace(part, parameter=full_name(module_id, part.parameter))
                for part in unit.slices
            )
            return replace(unit, layer=full_name(module_id, unit.layer), slices=slices)

        return Network(
            full_name(module_id, self.name),
            self.role,
            tuple(full_name(module_id, name) for name in self.parameters),
            tuple(full_name(module_id, name) for name in self.layers),
            tuple(named(unit) for unit in self.units),
        )


def full_name(module_id: str, name: str) -> str:
    """The name of a policy's parameter or network where there are several policies."""
    return f"{module_id}{_SEPARATOR}{name}"


def split_name(name: str) -> tuple[str, str]:
    """ModuleID and name in that module; of a plain name the only policy's."""
    module_id, separator, rest = name.rpartition(_SEPARATOR)
    return (module_id, rest) if separator else (DEFAULT_MODULE_ID, name)


def networks(module: RLModule, *, units: bool) -> dict[str, Network]:
    """The actor and, where something is trained beside it, the critic, by role.

    Args:
        module: a learner's (whole, not inference-only) module.
        units: whether to find the hidden units as well, by tracing the module. Recurrent layers
            and what they read have none; everything else in a recurrent network may.

    Raises:
        ValueError: the module can't be traced.
    """
    parameters: dict[str, Tensor] = dict(module.named_parameters())
    acting = set(module.get_state(inference_only=True))
    members: dict[str, list[str]] = {ACTOR: [], CRITIC: []}
    copies = targets(module)
    for name in parameters:
        if name in copies:
            continue
        members[ACTOR if name in acting else CRITIC].append(name)
    found = _units(module) if units else []
    return {
        role: Network(
            role,
            role,
            tuple(names),
            tuple(key for key in names if parameters[key].ndim >= 2),
            tuple(unit for unit in found if unit.layer in names),
        )
        for role, names in members.items()
        if names
    }


def targets(module: RLModule) -> dict[str, str]:
    """Names of the target networks' parameters, and of the trained ones that each follows."""
    if not isinstance(module, TargetNetworkAPI):
        return {}
    try:
        pairs = module.get_target_network_pairs()
    except AttributeError:  # they are made by learners: a network that is none's has none
        return {}
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return {
        names[id(target)]: names[id(main)]
        for main_net, target_net in pairs
        for main, target in zip(main_net.parameters(), target_net.parameters(), strict=True)
    }


def by_module(whole: Layout) -> dict[str, Layout]:
    """The parts of a layout of several networks, by ModuleID, under their own names."""
    parts: dict[str, Layout] = {}
    for name, shape in whole.dense.items():
        module_id, parameter = split_name(name)
        part = parts.setdefault(module_id, Layout({}))
        part.dense[parameter] = shape
        if name in whole.kept:
            part.kept[parameter] = whole.kept[name]
    return parts


def example_batch(module: RLModule) -> dict[str, Any]:
    """Two observations, their successors and actions as RLlib's connectors give them to a module.

    For recurrent modules each is a sequence of one step, beside initial states.
    """
    observation, action = _samples(module.observation_space), _actions(module.action_space)
    states = module.get_initial_state() if module.is_stateful() else {}
    if not states:
        return {
            Columns.OBS: observation,
            Columns.NEXT_OBS: observation,
            Columns.ACTIONS: action,
        }
    states = tree.map_structure(  # nested where actor and critic have states of their own
        lambda state: torch.as_tensor(state).float().repeat(2, *[1] * np.ndim(state)), states
    )
    return {
        Columns.OBS: observation.unsqueeze(1),
        Columns.NEXT_OBS: observation.unsqueeze(1),
        Columns.ACTIONS: action.unsqueeze(1),
        Columns.STATE_IN: states,
        Columns.NEXT_STATE_IN: states,
    }


def _units(module: RLModule) -> list[Coupling]:
    try:
        return units_of(module, example_batch(module), outputs)
    except Exception as error:
        raise ValueError(
            f"the hidden units of {type(module).__name__} can't be found by tracing"
            f" ({type(error).__name__}: {error}); granularity weight needs no tracing"
        ) from error


def _samples(space: spaces.Space) -> Tensor:
    return torch.stack([torch.as_tensor(space.sample()).float() for _ in range(2)])


def _actions(space: spaces.Space) -> Tensor:
    actions = torch.stack([torch.as_tensor(np.asarray(space.sample())) for _ in range(2)])
    return actions.float() if isinstance(space, spaces.Box) else actions


def outputs(module: nn.Module, batch: dict[str, Any]) -> list[Tensor]:
    """Everything that a whole module computes from a batch, target networks left out.

    By the interfaces that RLlib's learners use. What samples actions in between is not called:
    networks that read actions (SAC, CQL, IQL) get those of the batch.
    """
    assert isinstance(module, RLModule)
    found: list[Tensor] = []
    if isinstance(module, QNetAPI):
        found += _tensors(module.compute_q_values(batch))
        # Where there is no policy beside the Q-networks, inference gives actions alone.
        found += _tensors(module.forward_inference(batch).get(Columns.ACTION_DIST_INPUTS))
    else:
        found.append(module.forward_train(batch)[Columns.ACTION_DIST_INPUTS])
    if isinstance(module, ValueFunctionAPI):
        found.append(module.compute_values(batch))
    return found


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
