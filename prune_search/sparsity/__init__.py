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
functions, to be combined at will; ``check_strategy`` knows what does not go together. Entries of
one's own are registered: ``register_criterion``, ``register_allocation``, ``register_schedule``,
``register_regrowth``, ``register_rewind``, ``register_pattern``, ``register_granularity``.

What is asked for is imported then: names and traits are known without torch.
"""

from typing import TYPE_CHECKING

from prune_search.lazy import lazily

if TYPE_CHECKING:
    from prune_search.sparsity.allocation import ALLOCATIONS as ALLOCATIONS
    from prune_search.sparsity.allocation import Allocate as Allocate
    from prune_search.sparsity.allocation import Allocation as Allocation
    from prune_search.sparsity.allocation import layer_ratios as layer_ratios
    from prune_search.sparsity.allocation import proportional as proportional
    from prune_search.sparsity.allocation import register_allocation as register_allocation
    from prune_search.sparsity.criteria import CRITERIA as CRITERIA
    from prune_search.sparsity.criteria import Criterion as Criterion
    from prune_search.sparsity.criteria import Evidence as Evidence
    from prune_search.sparsity.criteria import criterion as criterion
    from prune_search.sparsity.criteria import register_criterion as register_criterion
    from prune_search.sparsity.forward_cost import Cost as Cost
    from prune_search.sparsity.forward_cost import cost as cost
    from prune_search.sparsity.gate import Gate as Gate
    from prune_search.sparsity.masks import Handle as Handle
    from prune_search.sparsity.masks import MaskSet as MaskSet
    from prune_search.sparsity.regrowth import REGROWTHS as REGROWTHS
    from prune_search.sparsity.regrowth import Regrowth as Regrowth
    from prune_search.sparsity.regrowth import drop_fraction as drop_fraction
    from prune_search.sparsity.regrowth import register_regrowth as register_regrowth
    from prune_search.sparsity.regrowth import regrow as regrow
    from prune_search.sparsity.rewinding import REWINDS as REWINDS
    from prune_search.sparsity.rewinding import register_rewind as register_rewind
    from prune_search.sparsity.rewinding import rewound as rewound
    from prune_search.sparsity.schedules import SCHEDULES as SCHEDULES
    from prune_search.sparsity.schedules import Schedule as Schedule
    from prune_search.sparsity.schedules import register_schedule as register_schedule
    from prune_search.sparsity.schedules import schedule as schedule
    from prune_search.sparsity.selection.granularities import GRANULARITIES as GRANULARITIES
    from prune_search.sparsity.selection.granularities import Granularity as Granularity
    from prune_search.sparsity.selection.granularities import (
        register_granularity as register_granularity,
    )
    from prune_search.sparsity.selection.granularities import register_pattern as register_pattern
    from prune_search.sparsity.selection.select import emptied as emptied
    from prune_search.sparsity.selection.select import select as select
    from prune_search.sparsity.selection.select import select_threshold as select_threshold
    from prune_search.sparsity.selection.strategy import check_strategy as check_strategy
    from prune_search.sparsity.sensitivity import by_sensitivity as by_sensitivity
    from prune_search.sparsity.sensitivity import sensitivity_ratios as sensitivity_ratios
    from prune_search.sparsity.short import prune as prune
    from prune_search.sparsity.sizes import Size as Size
    from prune_search.sparsity.sizes import size as size
    from prune_search.sparsity.structure.compaction import Compaction as Compaction
    from prune_search.sparsity.structure.compaction import compact as compact
    from prune_search.sparsity.structure.coupling import Coupling as Coupling
    from prune_search.sparsity.structure.coupling import Slice as Slice
    from prune_search.sparsity.structure.resizing import Layout as Layout
    from prune_search.sparsity.structure.resizing import carry_ as carry_
    from prune_search.sparsity.structure.resizing import layout as layout
    from prune_search.sparsity.structure.resizing import resize_ as resize_
    from prune_search.sparsity.structure.resizing import shrink_ as shrink_
    from prune_search.sparsity.structure.tracing import couplings as couplings

_PLACES = {
    "allocation": "ALLOCATIONS Allocate Allocation layer_ratios proportional register_allocation",
    "criteria": "CRITERIA Criterion Evidence criterion register_criterion",
    "forward_cost": "Cost cost",
    "gate": "Gate",
    "masks": "Handle MaskSet",
    "regrowth": "REGROWTHS Regrowth drop_fraction register_regrowth regrow",
    "rewinding": "REWINDS register_rewind rewound",
    "schedules": "SCHEDULES Schedule register_schedule schedule",
    "selection.granularities": "GRANULARITIES Granularity register_granularity register_pattern",
    "selection.select": "emptied select select_threshold",
    "selection.strategy": "check_strategy",
    "sensitivity": "by_sensitivity sensitivity_ratios",
    "short": "prune",
    "sizes": "Size size",
    "structure.compaction": "Compaction compact",
    "structure.coupling": "Coupling Slice",
    "structure.resizing": "Layout carry_ layout resize_ shrink_",
    "structure.tracing": "couplings",
}
_MODULES = {name: module for module, names in _PLACES.items() for name in names.split()}

__all__ = sorted(_MODULES)  # noqa: PLE0605


__getattr__ = lazily(__name__, _MODULES)


def __dir__() -> list[str]:
    return __all__
