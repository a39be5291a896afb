"""A policy from elsewhere, as plain torch layers: what RLlib's network is to compute as well."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from prune_search.errors import UserError

Kind = Literal["actor-critic", "q", "sac"]
Kernel: TypeAlias = nn.Linear | nn.Conv2d
"""A layer with weights."""

ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.Tanh: "tanh",
    nn.ReLU: "relu",
    nn.SiLU: "silu",
    nn.ELU: "elu",
    nn.GELU: "GELU",
    nn.Sigmoid: "Sigmoid",
}
"""Those of hidden layers, by the names that RLlib knows them by."""


@dataclass(frozen=True, eq=False)
class Source:
    """What was read. Networks take vectors [rows, size] or images [rows, channels, rows, columns].

    Each is dense layers and convolutions with an activation behind all but the last, and a Flatten
    where the latter end.
    """

    name: str
    """What it is, as messages say."""
    kind: Kind
    actor: nn.Sequential
    """Observations to logits, means or Q-values, or to means and log deviations together."""
    critic: nn.Sequential | None = None
    """Observations to values, [rows, 1]; None where RLlib's begins anew."""
    shared: int = 0
    """How many of the first layers are actor's and critic's alike."""
    q_networks: Sequence[nn.Sequential] = ()
    """Of SAC: observation and action, one behind the other, to one Q-value each."""
    log_deviation: Tensor | None = None
    """Of a Gaussian whose deviation does not depend on the observation, [actions]."""
    pixels: float = 1.0
    """What images are multiplied by."""
    clips: bool = False
    """Whether continuous actions are cut at their bounds, and not scaled to them."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the training that its figures go with, by RLlib's names."""
    compute: Callable[[Tensor], Any] | None = None
    """What gives the actor's outputs, where the actor was read off it; the actor itself if None."""
    evaluate: Callable[[Tensor], Any] | None = None
    """Likewise of the critic."""
    notes: Sequence[str] = ()
    """What the user is to know of it."""

    def outputs(self, observations: Tensor) -> Tensor:
        """What the policy of the file gives: logits, means (and log deviations) or Q-values."""
        found = (self.compute or self.actor)(observations)
        found = found[0] if isinstance(found, tuple) else found
        if self.log_deviation is not None:
            found = torch.cat([found, self.log_deviation.expand(len(found), -1)], 1)
        return torch.as_tensor(found)

    def values(self, observations: Tensor) -> Tensor:
        """What the critic of the file gives, [rows, 1]."""
        return torch.as_tensor((self.evaluate or self.critic or nn.Identity())(observations))


def refused(why: str, below: str = "") -> UserError:
    """The error of a policy that RLlib's networks can't hold, or that can't be read.

    Args:
        why: the line.
        below: as `UserError`.
    """
    return UserError(f"import: {why}", below)


def action_outputs(number: int) -> str:
    """`the policy has 3 action outputs`."""
    return f"the policy has {number} action output{'' if number == 1 else 's'}"


def kernels(network: nn.Module) -> list[Kernel]:
    """A network's dense layers and convolutions, in order."""
    return [each for each in network.modules() if isinstance(each, nn.Linear | nn.Conv2d)]


def bias_of(layer: Kernel) -> Tensor:
    """A layer's bias, [out]; zeros where it has none, which computes the same."""
    return torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias


def activations(network: nn.Sequential) -> Iterator[tuple[Kernel, str]]:
    """Its hidden layers, and the name of the activation behind each."""
    layer: Kernel | None = None
    for each in network:
        if isinstance(each, nn.Linear | nn.Conv2d):
            layer = each
        elif layer is not None and type(each) in ACTIVATIONS:
            yield layer, ACTIVATIONS[type(each)]


def stacked(layers: Sequence[Kernel], activation: Callable[[], nn.Module]) -> nn.Sequential:
    """Layers one after another, an activation behind all but the last."""
    parts: list[nn.Module] = []
    for before, layer in zip([None, *layers], layers, strict=False):
        if isinstance(before, nn.Conv2d) and isinstance(layer, nn.Linear):
            parts.append(nn.Flatten())
        parts += [layer, activation()]
    return nn.Sequential(*parts[:-1])


def layer_of(weight: Tensor, bias: Tensor | None, stride: Any = 1) -> Kernel:
    """The layer of a kernel: dense for [out, in], a convolution for [out, in, rows, columns]."""
    layer: Kernel
    if weight.dim() == 2:
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    else:
        size = (int(weight.shape[2]), int(weight.shape[3]))
        layer = nn.Conv2d(weight.shape[1], weight.shape[0], size, stride, bias=bias is not None)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if layer.bias is not None and bias is not None:
            layer.bias.copy_(bias)
    return layer
