import math

import pytest
import torch

from prune_search.sparsity import size


def test_everything_is_counted() -> None:
    found = size(
        {
            "a.weight": torch.tensor([[1.0, 0.0], [0.0, 0.0]]),
            "a.bias": torch.tensor([0.0, 1.0]),
            "b.weight": torch.ones(2, 1, 1, 2),
        }
    )
    assert (found.parameters, found.nonzero) == (10, 6)
    assert (found.weights, found.weights_nonzero) == (8, 5)
    assert found.layers == {"a.weight": 0.75, "b.weight": 0.0}
    assert found.sparsity == pytest.approx(0.4)
    assert found.weight_sparsity == pytest.approx(0.375)
    assert found.compression == pytest.approx(10 / 6)


def test_nothing_left() -> None:
    found = size({"w": torch.zeros(3, 3)})
    assert found.sparsity == 1.0
    assert found.compression == math.inf


def test_no_parameters() -> None:
    found = size({})
    assert found.sparsity == found.weight_sparsity == 0.0


def test_nan_is_not_zero() -> None:
    assert size({"w": torch.full((2, 2), float("nan"))}).sparsity == 0.0
