"""n:m sparsity: of every m consecutive inputs' weights, n stay."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prune_search.sparsity.allocation import Allocation
from prune_search.sparsity.selection.problem import Problem

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class NOfM:
    """The pattern that sparse tensor cores and kernels of n:m sparsity read.

    Mishra et al. 2021, Accelerating sparse deep neural networks, section 3 (2:4); Zhou et al.
    2021, Learning N:M fine-grained structured sparse neural networks from scratch.

    Attributes:
        n: how many stay of each group, at least 1.
        m: how many weights form a group: consecutive ones along the input dimension (dimension
            1; in convolutions consecutive input channels, at each position of the kernel).
    """

    n: int
    m: int

    def __post_init__(self) -> None:
        if not 1 <= self.n < self.m:
            raise ValueError(f"a pattern n:m needs 1 <= n < m, not {self.name}")

    @property
    def name(self) -> str:
        """As in the literature: "2:4"."""
        return f"{self.n}:{self.m}"

    @property
    def limit(self) -> float:
        """The highest ratio: the share of zeros once every group is brought to n:m."""
        return 1.0 - self.n / self.m

    def select(
        self, problem: Problem, scores: Mapping[str, Tensor], allocation: Allocation, ratio: float
    ) -> dict[str, Tensor]:
        """Bring the groups to n:m that lose least by it, until ``ratio`` is met; see ``select``."""
        import torch

        params, layers = problem.params, problem.layers
        if not layers:
            return {}
        pruned, kept, losses = [], [], []
        for name in layers:
            self._check(name, params[name])
            mask = problem.masks.get(name)
            alive = torch.ones_like(scores[name], dtype=torch.bool) if mask is None else mask
            alive = self._groups(alive.to(scores[name].device))
            rank = self._groups(scores[name]).masked_fill(~alive, -math.inf)
            lowest = torch.argsort(rank, dim=1, stable=True)[:, : self.m - self.n]
            stays = alive.scatter(1, lowest, False)
            lost = rank.double().masked_fill(~alive | stays, 0.0).sum(1)
            done = (alive == stays).all(1)
            pruned.append(stays)
            kept.append(alive)
            losses.append(lost.masked_fill(done, -math.inf))
        loss = torch.cat(losses)
        target = round(min(1.0, ratio / self.limit) * len(loss))
        chosen = torch.zeros(len(loss), dtype=torch.bool, device=loss.device)
        # Groups that are n:m already come first, and bringing them there changes nothing.
        chosen[torch.argsort(loss, stable=True)[:target]] = True
        parts = torch.split(chosen, [len(lost) for lost in losses])
        return {
            name: self._weights(stays.where(part[:, None], alive), params[name])
            for name, part, stays, alive in zip(layers, parts, pruned, kept, strict=True)
        }

    def _check(self, name: str, weight: Tensor) -> None:
        if weight.shape[1] % self.m:
            raise ValueError(
                f"granularity {self.name!r} needs inputs in groups of {self.m}, and"
                f" {name!r} has {weight.shape[1]} inputs, which is no multiple of {self.m}"
            )

    def _groups(self, weight: Tensor) -> Tensor:
        """(out, in, *kernel) as rows of m, shape (groups, m)."""
        return weight.movedim(1, -1).reshape(-1, self.m)

    def _weights(self, groups: Tensor, weight: Tensor) -> Tensor:
        """The way back from ``_groups``."""
        return groups.reshape(weight.movedim(1, -1).shape).movedim(-1, 1).contiguous()
