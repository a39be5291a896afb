"""Which parameters of an RLModule form the actor and the critic, and which of them can go.

RLlib itself says what the policy needs to act: what an inference-only module keeps. That is the
actor, a shared encoder included; everything else that is trained is the critic.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis.target_network_api import TargetNetworkAPI
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
from ray.rllib.core.rl_module.rl_module import RLModule
from torch import Tensor, nn

from prune_search.sparsity.coupling import Coupling, couplings

ACTOR, CRITIC = "actor", "critic"


@dataclass(frozen=True)
class Network:
    """A network whose weights are ranked together."""

    name: str
    parameters: tuple[str, ...]
    """Names of all its parameters in the RLModule."""
    layers: tuple[str, ...]
    """Of these, the kernels that may be pruned, output layers included."""
    units: tuple[Coupling, ...] = field(default=(), repr=False)
    """Its hidden units, for granularity neuron; output units are never among them."""


def networks(module: RLModule, *, units: bool) -> dict[str, Network]:
    """The actor and, where something is trained beside it, the critic.

    Args:
        module: a learner's (whole, not inference-only) module.
        units: whether to find the hidden units as well, by tracing the module.
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
        name: Network(
            name,
            tuple(names),
            tuple(key for key in names if parameters[key].ndim >= 2),
            # A convolution's channels are filters, not neurons.
            tuple(u for u in found if u.layer in names and parameters[u.layer].ndim == 2),
        )
        for name, names in members.items()
        if names
    }


def targets(module: RLModule) -> dict[str, str]:
    """Names of the target networks' parameters, and of the trained ones that each follows."""
    if not isinstance(module, TargetNetworkAPI):
        return {}
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return {
        names[id(target)]: names[id(main)]
        for main_net, target_net in module.get_target_network_pairs()
        for main, target in zip(main_net.parameters(), target_net.parameters(), strict=True)
    }


def _units(module: RLModule) -> list[Coupling]:
    # What reaches an output is never among them, so that no heads need to be named.
    return couplings(module, _example(module), _outputs, heads=())


def _example(module: RLModule) -> dict[str, Any]:
    observation = torch.as_tensor(module.observation_space.sample()).float()
    return {Columns.OBS: torch.stack([observation, observation])}


def _outputs(module: nn.Module, batch: dict[str, Any]) -> list[Tensor]:
    assert isinstance(module, RLModule)
    outputs = [module.forward_train(batch)[Columns.ACTION_DIST_INPUTS]]
    if isinstance(module, ValueFunctionAPI):
        outputs.append(module.compute_values(batch))
    return outputs
