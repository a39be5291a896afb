"""Couplings as tests read them: by layer, the entries of each unit; and networks of any formula."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from prune_search.sparsity import Coupling, couplings

Found = dict[str, dict[tuple[str, int], list[list[int]]]]


def find(module: nn.Module, example: Any, heads: Sequence[str]) -> Found:
    return readable(couplings(module, example, lambda model, inputs: model(inputs), heads))


def readable(found: list[Coupling]) -> Found:
    assert all(len(part.index) == coupling.units for coupling in found for part in coupling.slices)
    return {
        coupling.layer: {
            (part.parameter, part.dim): part.index.tolist() for part in coupling.slices
        }
        for coupling in found
    }


def each(units: int, offset: int = 0) -> list[list[int]]:
    return [[unit + offset] for unit in range(units)]


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Linear(4, 8)
        self.memory = nn.LSTM(8, 6, batch_first=True)
        self.after = nn.Linear(6, 5)
        self.head = nn.Linear(5, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        features, _ = self.memory(torch.relu(self.before(inputs)))
        return self.head(torch.relu(self.after(features)))


class Formula(nn.Module):
    def __init__(self, formula: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.formula = formula

    def forward(self, inputs: Tensor) -> Tensor:
        return self.formula(inputs)
