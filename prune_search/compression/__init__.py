"""Few values for a network's weights, and few bytes for those: torch and NumPy, for any module.

After pruning (``prune_search.sparsity``), weights share few values (Han et al. 2016, Deep
Compression), or are small whole numbers, and stay so while they are trained on:

>>> import torch
>>> model = torch.nn.Sequential(torch.nn.Linear(4, 64), torch.nn.Tanh(), torch.nn.Linear(64, 2))
>>> optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
>>> layers = [["0.weight", "0.bias"], ["2.weight", "2.bias"]]

>>> from prune_search.compression import Holding
>>> holding = Holding(dict(model.named_parameters()), layers, "sharing", bits=4)
>>> holding.attach(optimizer)
>>> for _ in range(10):
...     optimizer.zero_grad()
...     model(torch.randn(32, 4)).square().mean().backward()
...     optimizer.step()
>>> len(model[0].weight.unique()) <= 2**4
True

``METHODS`` and ``CODERS`` know the methods and the coders of what they leave, and are open to one's
own. What is asked for is imported then: names are known without torch.
"""

from typing import TYPE_CHECKING

from prune_search.lazy import lazily

if TYPE_CHECKING:
    from prune_search.compression.coding.coders import CODERS as CODERS
    from prune_search.compression.coding.coders import Coder as Coder
    from prune_search.compression.coding.coders import register_coder as register_coder
    from prune_search.compression.coding.entropy import Entropy as Entropy
    from prune_search.compression.coding.entropy import entropy as entropy
    from prune_search.compression.coding.matrices import Form as Form
    from prune_search.compression.coding.matrices import Matrix as Matrix
    from prune_search.compression.coding.matrices import row_order as row_order
    from prune_search.compression.holding import Holding as Holding
    from prune_search.compression.layers import HeldLayers as HeldLayers
    from prune_search.compression.layers import held_layers as held_layers
    from prune_search.compression.methods import METHODS as METHODS
    from prune_search.compression.methods import Method as Method
    from prune_search.compression.methods import method as method
    from prune_search.compression.methods import register_method as register_method
    from prune_search.compression.quantization import quantize as quantize
    from prune_search.compression.weight_sharing import share as share

_PLACES = {
    "coding.coders": "CODERS Coder register_coder",
    "coding.entropy": "Entropy entropy",
    "coding.matrices": "Form Matrix row_order",
    "holding": "Holding",
    "layers": "HeldLayers held_layers",
    "methods": "METHODS Method method register_method",
    "quantization": "quantize",
    "weight_sharing": "share",
}
_MODULES = {name: module for module, names in _PLACES.items() for name in names.split()}

__all__ = sorted(_MODULES)  # noqa: PLE0605


__getattr__ = lazily(__name__, _MODULES)


def __dir__() -> list[str]:
    return __all__
