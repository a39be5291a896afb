"""What a policy costs to run, and what lossless compaction would still take off it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import tree  # type: ignore[import-untyped]  # dm-tree, which RLlib requires
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis.q_net_api import QNetAPI
from ray.rllib.core.rl_module.rl_module import RLModule
from torch import Tensor, nn

from prune_search.errors import one_line
from prune_search.modules import shrunk_class
from prune_search.records.policy_files import bytes_to_write
from prune_search.rllib.networks.roles import example_batch
from prune_search.rllib.networks.units import units_of
from prune_search.sparsity.forward_cost import cost
from prune_search.sparsity.structure.compaction import Compaction, compact

_Q_VALUES = "qf_preds"

F = TypeVar("F")


@dataclass(frozen=True)
class PolicyCost:
    """Figures of the inference network(s), all policies added up; None where one can't be had."""

    bytes: int
    """Storage of the parameters, zeros among them."""
    macs: int | None
    """Multiply-accumulates of one action, zeros multiplied as well."""
    latency_us: float | None
    """Microseconds of one action; None also where it was not asked for."""
    compact: int | None
    """Parameters after lossless compaction."""
    compact_nonzero: int | None
    """Of these, non-zero ones."""
    compact_bytes: int | None
    """Bytes of the policy's file after it, as `export.save` writes it."""
    missing: dict[str, str]
    """Why a figure that was asked for is None, by its name; `compact` says it of all three."""


def policy_cost(modules: Mapping[str, RLModule], *, timed: bool = False) -> PolicyCost:
    """Counts for inference-only networks, by ModuleID; none of them is changed.

    Networks may be anyone's: a figure that one of them does not let itself be counted for is
    None, with the reason in `missing`, and never an error.

    Args:
        modules: the networks.
        timed: whether to measure the latency.
    """
    missing: dict[str, str] = {}

    def had(figure: str, count: Callable[[], F]) -> F | None:
        try:
            return count()
        except Exception as error:
            # Whatever a network raises while it is traced, the policy has been trained and acts.
            missing[figure] = f"{type(error).__name__}: {one_line(error)}"
            return None

    macs = had("macs", lambda: sum(policy_macs(module) for module in modules.values()))
    latency = had("latency_us", lambda: policy_latency(modules)) if timed else None
    small = had("compact", lambda: [compact_policy(module) for module in modules.values()])
    written = None
    if small is not None:
        written = had("compact_bytes", lambda: _bytes_after(list(modules.values()), small))
    return PolicyCost(
        bytes=sum(
            parameter.numel() * parameter.element_size()
            for module in modules.values()
            if isinstance(module, nn.Module)
            for parameter in module.parameters()
        ),
        macs=macs,
        latency_us=latency,
        compact=None if small is None else sum(each.after.parameters for each in small),
        compact_nonzero=None if small is None else sum(each.after.nonzero for each in small),
        compact_bytes=written,
        missing=missing,
    )


def _bytes_after(modules: Sequence[RLModule], small: Sequence[Compaction]) -> int:
    for module in modules:
        shrunk_class(type(module))  # raises where no class builds it at other shapes
    return bytes_to_write(each.module for each in small)


def policy_macs(module: RLModule) -> int:
    """Multiply-accumulates of one action."""
    return cost(module, example_batch(module), acting).macs


def policy_latency(modules: Mapping[str, RLModule]) -> float:
    """Microseconds of one action with inference-only networks, all policies added up.

    The median of a fifth of a second of forward passes, each of one observation, in torch, one
    thread, in this process; other processes slow it down.
    """
    from torch.utils.benchmark import Timer  # a third of a second, in each trial's process

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


def compact_policy(module: RLModule, *, fold: bool = True) -> Compaction:
    """The same policy without the units that zeros have made superfluous.

    Args:
        module: the policy.
        fold: as of `sparsity.compact`.

    Raises:
        ValueError: the network can't be traced, or not without changing what it computes.
    """
    try:
        example = example_batch(module)
        return compact(module, example, acting, units_of(module, example, acting), fold=fold)
    except Exception as error:  # whatever the network raises while it is traced
        raise ValueError(
            f"{type(module).__name__} can't be compacted ({type(error).__name__}:"
            f" {one_line(error)})"
        ) from error


def acting(module: nn.Module, batch: Any) -> list[Tensor]:
    """What a network's actions depend on: inputs of the action distribution, or Q-values."""
    assert isinstance(module, RLModule)
    if isinstance(module, QNetAPI) and hasattr(module, "af"):
        return [module.compute_q_values(batch)[_Q_VALUES]]
    return [module.forward_inference(batch)[Columns.ACTION_DIST_INPUTS]]
