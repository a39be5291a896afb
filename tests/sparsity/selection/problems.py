"""Small networks with scores, for tests of what is selected."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from prune_search.sparsity import Coupling, Slice, couplings

ALLOCATIONS = ["uniform", "erk", "global"]  # lamp is for single weights


def mlp(sizes: Sequence[int], seed: int = 0) -> tuple[dict[str, Tensor], list[str], list[Coupling]]:
    """Parameters, weight names and couplings of a plain network."""
    source = torch.Generator().manual_seed(seed)
    params: dict[str, Tensor] = {}
    for number, (inputs, outputs) in enumerate(pairwise(sizes)):
        params[f"{number}.weight"] = torch.randn(outputs, inputs, generator=source)
        params[f"{number}.bias"] = torch.randn(outputs, generator=source)
    units = []
    for number, width in enumerate(sizes[1:-1]):
        index = torch.arange(width).view(-1, 1)
        units.append(
            Coupling(
                f"{number}.weight",
                width,
                (
                    Slice(f"{number}.weight", 0, index),
                    Slice(f"{number}.bias", 0, index),
                    Slice(f"{number + 1}.weight", 1, index),
                ),
            )
        )
    return params, [name for name in params if name.endswith("weight")], units


def masked(masks: dict[str, Tensor], names: Sequence[str]) -> int:
    return sum(int((~masks[name]).sum()) for name in names)


def only_shrinks(new: dict[str, Tensor], old: dict[str, Tensor]) -> bool:
    return not any((new[name] & ~mask).any() for name, mask in old.items())


sizes = st.lists(st.integers(1, 12), min_size=2, max_size=5)


ratio = st.floats(0.0, 0.999)


allocation = st.sampled_from(ALLOCATIONS)


@st.composite
def scored(draw: st.DrawFn) -> tuple[dict[str, Tensor], list[str], list[Coupling]]:
    """A network, with many equal weights in some examples."""
    params, layers, units = mlp(draw(sizes), draw(st.integers(0, 99)))
    if draw(st.booleans()):
        params = {name: param.round() for name, param in params.items()}
    return params, layers, units


def convolutional() -> tuple[dict[str, Tensor], list[str], list[Coupling]]:
    """A convolution of 6 filters on 4 by 4 pixels, flattened into 10 units and 2 outputs."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 16, 10),
        nn.ReLU(), nn.Linear(10, 2),
    )  # fmt: skip
    params: dict[str, Tensor] = {name: param.detach() for name, param in model.named_parameters()}
    example = torch.randn(2, 3, 4, 4)
    found = couplings(model, example, lambda module, x: module(x), ["5.weight"])
    return params, [name for name in params if name.endswith("weight")], found
