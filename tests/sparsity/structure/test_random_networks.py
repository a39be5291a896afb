"""Networks of other people's making: what is called removable computes the same without it."""

import copy
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prune_search.sparsity import Coupling, compact, couplings, layout, shrink_
from tests.sparsity.structure.finding import Formula

WIDTH = 6


class SwitchedOff(Formula):
    """A branch that a buffer multiplies, which is zero now."""

    def __init__(self, formula: Callable[[Tensor], Tensor]) -> None:
        super().__init__(formula)
        self.register_buffer("scale", torch.zeros(1))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.scale * self.formula(inputs)


class Factors(nn.Module):
    """One bare parameter a unit."""

    def __init__(self) -> None:
        super().__init__()
        self.factors = nn.Parameter(torch.ones(WIDTH))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.factors


def _local_response(x: Tensor) -> Tensor:
    return F.local_response_norm(x.reshape(-1, x.shape[-1], 1), 3).reshape(x.shape)


PLAIN: list[Callable[[], nn.Module]] = [
    nn.ReLU, nn.Tanh, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Softplus, nn.ELU, nn.Hardtanh, nn.PReLU,
    nn.Identity, nn.Dropout,
    lambda: Formula(lambda x: x.flip(-1)),
    lambda: Formula(torch.sin),
    lambda: Formula(lambda x: torch.cat([x.relu(), (-x).relu()], -1)[..., : x.shape[-1]]),
]  # fmt: skip
FORMULAS: list[Callable[[Tensor], Tensor]] = [
    lambda x: x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt(),
    lambda x: x / (x.square().sum(-1, keepdim=True) + 1e-6).sqrt(),
    lambda x: x / x.shape[-1] ** 0.5,
    lambda x: x - x.mean(-1, keepdim=True),
    lambda x: x / x.abs().amax(-1, keepdim=True).clamp_min(1e-6),
    lambda x: x.relu() / (x.relu().amax(-1, keepdim=True) + 1.0),
    lambda x: x * (x.amax(-1, keepdim=True) > 20.0),
    lambda x: x * (1 + 1e-4 * x.std(-1, keepdim=True)),
    lambda x: x + 0.01 * x.roll(1, -1),
    lambda x: x.cumsum(-1),
    lambda x: x.softmax(-1),
    lambda x: x.where(x >= x.topk(2, -1).values[..., -1:], 0.0),
    lambda x: x * F.softmax(x, -1),
    F.normalize,
    _local_response,
    lambda x: F.layer_norm(x, x.shape[-1:]),
]
MIXING: list[Callable[[], nn.Module]] = [
    lambda: nn.LayerNorm(WIDTH),
    lambda: nn.RMSNorm(WIDTH),
    lambda: nn.Softmax(-1),
    Factors,
    *(lambda formula=formula: Formula(formula) for formula in FORMULAS),  # type: ignore[misc]
    *(lambda formula=formula: SwitchedOff(formula) for formula in FORMULAS),  # type: ignore[misc]
]


class Block(nn.Module):
    """From ``inputs`` to ``outputs`` features, in one of the ways in which layers are joined."""

    def __init__(self, rng: random.Random, inputs: int, kind: str) -> None:
        super().__init__()
        self.kind = kind
        gates = 2 * WIDTH if kind == "glu" else WIDTH
        self.first = nn.Linear(inputs, gates, bias=rng.random() < 0.7)
        self.second = nn.Linear(WIDTH, WIDTH)
        pool = MIXING if rng.random() < 0.3 else PLAIN
        self.between = nn.ModuleList(
            rng.choice(pool if place == 0 else PLAIN)() for place in range(2)
        )
        self.memory = rng.choice([nn.GRU, nn.LSTM])(WIDTH, WIDTH, batch_first=True)
        self.outputs = WIDTH + inputs if kind == "dense" else WIDTH

    def forward(self, inputs: Tensor) -> Tensor:
        first = self.first(inputs)
        if self.kind == "glu":
            return self.between[0](F.glu(first, -1))
        features = self.between[1](self.between[0](first))
        joined: dict[str, Callable[[], Tensor]] = {
            "plain": lambda: features,
            "dense": lambda: torch.cat([inputs, features], -1),
            "residual": lambda: first + self.second(features),
            "twice": lambda: self.second(self.between[1](self.second(features))),
            "gate": lambda: features * self.second(first).sigmoid(),
            "recurrent": lambda: self.memory(features.unsqueeze(1).expand(-1, 3, -1))[0][:, -1],
        }
        return joined[self.kind]()


class Front(nn.Module):
    """Convolutions of one to three dimensions, flattened or averaged."""

    def __init__(self, rng: random.Random, dims: int) -> None:
        super().__init__()
        convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
        norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dims - 1]
        middle = [norm(4), nn.InstanceNorm2d(4, affine=True), nn.GroupNorm(2, 4), nn.PReLU(4)]
        if dims != 2:
            middle.pop(1)
        self.net = nn.Sequential(
            convolution(2, 4, 3, padding=1), rng.choice(middle), nn.ReLU(), convolution(4, 3, 2)
        )
        self.pool = rng.choice(["mean", "flatten", "last"])
        self.outputs = 3 if self.pool == "mean" else 3 * 3**dims

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.net(inputs)
        if self.pool == "mean":
            return features.flatten(2).mean(-1)
        if self.pool == "last":
            features = features.movedim(1, -1)
        return features.flatten(1)


class Network(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        rng = random.Random(seed)
        dims = rng.choice([0, 0, 0, 1, 2, 3])
        self.example = torch.randn(5, 2, *[4] * dims) if dims else torch.randn(5, 4)
        self.front = Front(rng, dims) if dims else nn.Identity()
        width = self.front.outputs if dims else 4
        kinds = ["plain", "plain", "dense", "residual", "glu", "twice", "gate", "recurrent"]
        blocks = []
        for _ in range(rng.randint(1, 3)):
            blocks.append(Block(rng, width, rng.choice(kinds)))
            width = blocks[-1].outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(width, 2)
        self.norm = nn.LayerNorm(2) if rng.random() < 0.3 else nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        return self.norm(self.head(self.blocks(self.front(inputs))))


def call(module: nn.Module, inputs: Any) -> Any:
    return module(inputs)


def masked_at_random(network: nn.Module, found: list[Coupling], seed: int) -> dict[str, Tensor]:
    """Zeroes some of the units in place; the masks of that."""
    generator = torch.Generator().manual_seed(seed)
    params = dict(network.named_parameters())
    masks = {
        part.parameter: torch.ones(params[part.parameter].shape, dtype=torch.bool)
        for coupling in found
        for part in coupling.slices
    }
    for coupling in found:
        gone = torch.rand(coupling.units, generator=generator) < 0.5
        for part in coupling.slices:
            masks[part.parameter].index_fill_(part.dim, part.index[gone].flatten(), False)
    with torch.no_grad():
        for name, mask in masks.items():
            params[name].mul_(mask)
    return masks


def away_from_initialization(network: nn.Module) -> nn.Module:
    network = network.double().eval()
    with torch.no_grad():
        for param in network.parameters():
            param.add_(0.5 * torch.randn_like(param))
        for buffer in network.buffers():
            if buffer.is_floating_point():
                buffer.add_(torch.rand_like(buffer))
    return network


@pytest.mark.parametrize("seeds", [range(4), pytest.param(range(4, 36), marks=pytest.mark.slow)])
def test_masked_and_shrunk_networks_are_the_same(seeds: range) -> None:
    for seed in seeds:
        torch.manual_seed(seed)
        network = Network(seed)
        found = couplings(network, network.example, call)
        network = away_from_initialization(network)
        masks = masked_at_random(network, found, seed)
        inputs = 3 * torch.randn(50, *network.example.shape[1:], dtype=torch.float64)
        with torch.no_grad():
            expected = network(inputs)
            smaller = copy.deepcopy(network)
            shrink_(smaller, layout(dict(network.named_parameters()), found, masks))
            torch.testing.assert_close(
                smaller(inputs), expected, rtol=1e-9, atol=1e-9, msg=f"seed {seed}"
            )
            compacted = compact(network, network.example.double(), call).module
            torch.testing.assert_close(
                compacted(inputs), expected, rtol=1e-6, atol=1e-6, msg=f"seed {seed}, compact"
            )
