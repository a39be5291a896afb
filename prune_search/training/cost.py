"""What a policy costs to run, and what lossless compaction would still take off it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis.q_net_api import QNetAPI
from ray.rllib.core.rl_module.rl_module import RLModule
from torch import Tensor, nn

from prune_search.sparsity.compaction import Compaction, compact
from prune_search.sparsity.measure import cost
from prune_search.training.networks import example_batch

_Q_VALUES = "qf_preds"


@dataclass(frozen=True)
class PolicyCost:
    """Figures of the inference network(s), all policies added up."""

    macs: int
    """Multiply-accumulates of one action, zeros multiplied as well."""
    compact: int
    """Parameters after lossless compaction."""
    compact_nonzero: int
    """Of these, non-zero ones."""


def policy_cost(modules: Mapping[str, RLModule]) -> PolicyCost:
    """Counts for inference-only networks, by ModuleID; none of them is changed."""
    macs = parameters = nonzero = 0
    for module in modules.values():
        macs += cost(module, example_batch(module), acting).macs
        after = compact_policy(module).after
        parameters, nonzero = parameters + after.parameters, nonzero + after.nonzero
    return PolicyCost(macs, parameters, nonzero)


def compact_policy(module: RLModule) -> Compaction:
    """The same policy without the units that zeros have made superfluous.

    Raises:
        ValueError: the network can't be traced.
    """
    return compact(module, example_batch(module), acting)


def acting(module: nn.Module, batch: Any) -> list[Tensor]:
    """What a network's actions depend on: inputs of the action distribution, or Q-values."""
    assert isinstance(module, RLModule)
    if isinstance(module, QNetAPI) and hasattr(module, "af"):
        return [module.compute_q_values(batch)[_Q_VALUES]]
    found = module.forward_inference(batch)[Columns.ACTION_DIST_INPUTS]
    if not found.requires_grad and torch.is_grad_enabled():
        # RLlib's default calls this same method without gradients; tracing needs them.
        found = module._forward(batch)[Columns.ACTION_DIST_INPUTS]
    return [found]
