"""Networks of each kind that have hidden units, for tests that take some out."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from prune_search.sparsity import Coupling, couplings, select


def index(*kept: int) -> Any:
    return torch.tensor(kept)


def ramp(shape: Sequence[int]) -> Tensor:
    return torch.arange(1.0, 1 + torch.Size(shape).numel()).view(torch.Size(shape))


class Network(nn.Module):
    """Calls modules on observations, for whatever shape a network has."""

    def __init__(self, heads: Sequence[str], example: Any) -> None:
        super().__init__()
        self.heads, self.example = heads, example


class Mlp(Network):
    def __init__(self, activation: type[nn.Module] = nn.Tanh, bias: bool = True) -> None:
        super().__init__(["net.4.weight"], torch.randn(16, 4))
        self.net = nn.Sequential(
            nn.Linear(4, 9, bias=bias),
            activation(),
            nn.Linear(9, 7, bias=bias),
            activation(),
            nn.Linear(7, 2),
        )

    def forward(self, inputs: Tensor) -> list[Tensor]:
        return [self.net(inputs)]


class Duelling(Network):
    def __init__(self) -> None:
        super().__init__(["advantage.2.weight", "value.2.weight"], torch.randn(16, 4))
        self.encoder = nn.Sequential(nn.Linear(4, 8), nn.Sigmoid())
        self.advantage = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
        self.value = nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 1))

    def forward(self, inputs: Tensor) -> list[Tensor]:
        features = self.encoder(inputs)
        advantage = self.advantage(features)
        return [self.value(features) + advantage - advantage.mean(-1, keepdim=True)]


class TwinCritics(Network):
    def __init__(self) -> None:
        example = [torch.randn(16, 3), torch.randn(16, 2)]
        super().__init__(["twin.0.2.weight", "twin.1.2.weight"], example)
        self.twin = nn.ModuleList(
            nn.Sequential(nn.Linear(8 + 2, 6), nn.ReLU(), nn.Linear(6, 1)) for _ in range(2)
        )
        self.encoder = nn.Linear(3, 8)

    def forward(self, inputs: list[Tensor]) -> list[Tensor]:
        features = torch.cat([torch.relu(self.encoder(inputs[0])), inputs[1]], -1)
        return [critic(features) for critic in self.twin]


class Convolutional(Network):
    """With channels last when flattened, as RLlib's encoders, or first."""

    def __init__(self, channels_last: bool = True) -> None:
        super().__init__(["pi.weight", "vf.2.weight"], torch.randn(8, 3, 7, 7))
        self.channels_last = channels_last
        self.first = nn.Conv2d(3, 6, 3, padding=1, bias=False)  # before BatchNorm it has no effect
        self.norm = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 5, 3, stride=2)
        self.pi = nn.Linear(45, 2)
        self.vf = nn.Sequential(nn.Linear(45, 7), nn.Tanh(), nn.Linear(7, 1))

    def forward(self, inputs: Tensor) -> list[Tensor]:
        features = torch.relu(self.second(torch.relu(self.norm(self.first(inputs)))))
        if self.channels_last:
            features = features.permute(0, 2, 3, 1)
        return [self.pi(features.flatten(1)), self.vf(features.flatten(1))]


class Normalized(Network):
    def __init__(self) -> None:
        super().__init__(["head.weight"], torch.randn(16, 4))
        self.first = nn.Linear(4, 8)
        self.norm = nn.LayerNorm(8)
        self.second = nn.Linear(8, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, inputs: Tensor) -> list[Tensor]:
        features = torch.relu(self.norm(self.first(inputs)))
        return [self.head(torch.relu(self.second(features)))]


NETWORKS: dict[str, Callable[[], Network]] = {
    "mlp": Mlp,
    "mlp without biases": lambda: Mlp(bias=False),
    "mlp of softplus": lambda: Mlp(nn.Softplus),
    "duelling": Duelling,
    "twin critics": TwinCritics,
    "channels last": Convolutional,
    "channels first": lambda: Convolutional(channels_last=False),
    "layer norm": Normalized,
}


def call(module: nn.Module, inputs: Any) -> list[Tensor]:
    found: list[Tensor] = module(inputs)
    return found


def units_of(network: Network) -> list[Coupling]:
    return couplings(network, network.example, call, network.heads)


@functools.cache
def units_by_name(name: str) -> list[Coupling]:
    """They do not depend on the weights."""
    return units_of(NETWORKS[name]())


def random_masks(network: nn.Module, found: list[Coupling], ratio: float) -> dict[str, Tensor]:
    params = dict(network.named_parameters())
    scores = {name: torch.rand(param.shape) for name, param in params.items()}
    layers = [coupling.layer for coupling in found]
    return select("neuron", params, layers, found, scores, {}, "global", ratio)


def perturb(network: nn.Module) -> None:
    """Away from what initialisation leaves at zero or one."""
    with torch.no_grad():
        for param in network.parameters():
            param.add_(0.1 * torch.randn_like(param))
        for buffer in network.buffers():
            if buffer.dim():
                buffer.add_(torch.rand_like(buffer))


def masks_without(params: dict[str, Tensor], coupling: Coupling, units: list[int]) -> Any:
    masks = {name: torch.ones(param.shape, dtype=torch.bool) for name, param in params.items()}
    for part in coupling.slices:
        masks[part.parameter].index_fill_(part.dim, part.index[units].flatten(), False)
    return masks
