"""What to remove from a network, and keeping it removed: torch alone, for any module.

Three lines prune a training script of one's own. Weights that are removed stay exactly zero
through every later step, whatever the optimizer's momentum and weight decay:

>>> import torch
>>> model = torch.nn.Sequential(torch.nn.Linear(4, 64), torch.nn.Tanh(), torch.nn.Linear(64, 2))
>>> optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

>>> from prune_search.sparsity import MaskSet, prune, size
>>> masks = MaskSet()
>>> handle = masks.attach(optimizer, dict(model.named_parameters()))
>>> prune(masks, dict(model.named_parameters()), ratio=0.75)

>>> for _ in range(10):
...     optimizer.zero_grad()
...     model(torch.randn(32, 4)).square().mean().backward()
...     optimizer.step()
>>> size(dict(model.named_parameters())).weight_sparsity
0.75

Scores (``criterion``), their division over layers (``layer_ratios``), the ratio's growth
(``schedule``), units that go as a whole (``couplings``) and the cut (``select``) are separate
functions, to be combined at will; ``check_strategy`` knows what does not go together.
"""

from prune_search.sparsity.allocation import (
    ALLOCATIONS,
    Allocate,
    Allocation,
    layer_ratios,
    proportional,
)
from prune_search.sparsity.criteria import CRITERIA, Criterion, Evidence, criterion
from prune_search.sparsity.forward_cost import Cost, cost
from prune_search.sparsity.gate import Gate
from prune_search.sparsity.masks import Handle, MaskSet
from prune_search.sparsity.regrowth import REGROWTHS, Regrowth, drop_fraction, regrow
from prune_search.sparsity.schedules import SCHEDULES, Schedule, schedule
from prune_search.sparsity.selection.granularities import (
    GRANULARITIES,
    check_strategy,
    emptied,
    select,
    select_threshold,
)
from prune_search.sparsity.sensitivity import FITTED_ALLOCATIONS, by_sensitivity, sensitivity_ratios
from prune_search.sparsity.short import prune
from prune_search.sparsity.sizes import Size, size
from prune_search.sparsity.structure.compaction import Compaction, compact
from prune_search.sparsity.structure.coupling import Coupling, Slice
from prune_search.sparsity.structure.resizing import Layout, carry_, layout, resize_, shrink_
from prune_search.sparsity.structure.tracing import couplings

__all__ = [
    "ALLOCATIONS",
    "CRITERIA",
    "FITTED_ALLOCATIONS",
    "GRANULARITIES",
    "REGROWTHS",
    "SCHEDULES",
    "Allocate",
    "Allocation",
    "Compaction",
    "Cost",
    "Coupling",
    "Criterion",
    "Evidence",
    "Gate",
    "Handle",
    "Layout",
    "MaskSet",
    "Regrowth",
    "Schedule",
    "Size",
    "Slice",
    "by_sensitivity",
    "carry_",
    "check_strategy",
    "compact",
    "cost",
    "couplings",
    "criterion",
    "drop_fraction",
    "emptied",
    "layer_ratios",
    "layout",
    "proportional",
    "prune",
    "regrow",
    "resize_",
    "schedule",
    "select",
    "select_threshold",
    "sensitivity_ratios",
    "shrink_",
    "size",
]
