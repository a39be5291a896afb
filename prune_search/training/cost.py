"""What a policy costs to run, and what lossless compaction would still take off it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import tree  # type: ignore[import-untyped]  # dm-tree, which RLlib requires
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis.q_net_api import QNetAPI
from ray.rllib.core.rl_module.rl_module import RLModule
from torch import Tensor, nn
from torch.utils.benchmark import Timer

from prune_search.sparsity.compaction import Compaction, compact
from prune_search.sparsity.measure import cost
from prune_search.training.networks import example_batch

_Q_VALUES = "qf_preds"


@dataclass(frozen=True)
class PolicyCost:
    """Figures of the inference network(s), all policies added up."""

    macs: int
    """Multiply-accumulates of one action, zeros multiplied as well."""
    bytes: int
    """Storage of the parameters, zeros among them."""
    compact: int
    """Parameters after lossless compaction."""
    compact_nonzero: int
    """Of these, non-zero ones."""


def policy_cost(modules: Mapping[str, RLModule]) -> PolicyCost:
    """Counts for inference-only networks, by ModuleID; none of them is changed."""
    macs = stored = parameters = nonzero = 0
    for module in modules.values():
        found = cost(module, example_batch(module), acting)
        macs, stored = macs + found.macs, stored + found.parameter_bytes
        after = compact_policy(module).after
        parameters, nonzero = parameters + after.parameters, nonzero + after.nonzero
    return PolicyCost(macs, stored, parameters, nonzero)


def policy_latency(modules: Mapping[str, RLModule]) -> float:
    """Microseconds of one action with inference-only networks, all policies added up.

    The median of a fifth of a second of forward passes, each of one observation, in torch, one
    thread, in this process; other processes slow it down.
    """
    total = 0.0
    for module in modules.values():
        one = tree.map_structure(lambda tensor: tensor[:1], example_batch(module))
        timer = Timer(
            "acting(module, one)",
            globals={"acting": acting, "module": module, "one": one},
            num_threads=1,
        )
        with torch.inference_mode():
            total += 1e6 * timer.blocked_autorange(min_run_time=0.2).median
    return total


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
    return [module.forward_inference(batch)[Columns.ACTION_DIST_INPUTS]]
