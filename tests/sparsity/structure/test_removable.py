"""Which units go: those that are masked altogether."""

import pytest
import torch

from prune_search.sparsity import Coupling, Slice
from prune_search.sparsity.structure.resizing import Layout, layout
from tests.sparsity.structure.networks import (
    Convolutional,
    Mlp,
    Normalized,
    index,
    masks_without,
    units_of,
)


def test_units_that_are_masked_altogether_go() -> None:
    network = Convolutional()
    params = dict(network.named_parameters())
    first, second, hidden = units_of(network)
    removed = layout(params, [first, second, hidden], masks_without(params, second, [1, 4]))
    assert removed.shapes["second.weight"] == (3, 6, 3, 3)
    assert removed.shapes["second.bias"] == (3,)
    assert removed.shapes["pi.weight"] == (2, 27)
    assert removed.kept["vf.0.weight"][1].tolist() == [  # type: ignore[union-attr]
        column for column in range(45) if column % 5 not in (1, 4)
    ]
    assert removed.shapes["first.weight"] == (6, 3, 3, 3)


@pytest.mark.parametrize("spared", ["net.0.weight", "net.0.bias", "net.2.weight"])
def test_a_unit_with_one_entry_left_stays(spared: str) -> None:
    network = Mlp()
    params = dict(network.named_parameters())
    found = units_of(network)
    masks = masks_without(params, found[0], [3, 5])
    masks[spared][(0, 3) if spared == "net.2.weight" else 3] = True
    assert layout(params, found, masks).kept["net.0.bias"][0].tolist() == [  # type: ignore[union-attr]
        0, 1, 2, 3, 4, 6, 7, 8,
    ]  # fmt: skip
    del masks[spared]  # no mask is a mask that keeps all
    assert layout(params, found, masks).shapes == Layout.full(params).shapes


def test_one_unit_is_always_left() -> None:
    network = Mlp()
    params = dict(network.named_parameters())
    found = units_of(network)
    masks = masks_without(params, found[0], list(range(9)))
    assert layout(params, found, masks).kept["net.0.bias"][0].tolist() == [0]  # type: ignore[union-attr]


def test_units_behind_a_layer_norm_stay() -> None:
    network = Normalized()
    params = dict(network.named_parameters())
    found = units_of(network)
    assert [unit.removable for unit in found] == [False, True]
    masks = masks_without(params, found[0], [1, 2]) | {
        name: mask
        for name, mask in masks_without(params, found[1], [0]).items()
        if name in ("second.bias", "head.weight")
    }
    assert layout(params, found, masks).shapes == Layout.full(params).shapes


def test_a_coupling_into_nowhere() -> None:
    coupling = Coupling("a", 2, (Slice("b", 0, index(0, 1).view(2, 1)),))
    with pytest.raises(ValueError, match="reaches into 'b', which is not given"):
        layout({"a": torch.ones(2)}, [coupling], {})
