"""The work of a forward pass, counted while it runs."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from prune_search.sparsity.structure.probing import check_traceable


@dataclass(frozen=True)
class Cost:
    """What one forward pass of one sample takes.

    Attributes:
        macs: multiply-accumulates of matrix products and convolutions as they are run: zeros
            included, padding included, biases not. A layer that is called twice counts twice.
        macs_nonzero: those of them whose weight is not zero: what a kernel that skips zeros
            would need. Products without a parameter, as in attention, count whole.
        parameter_bytes: storage of all parameters, zeros included, shared ones counted once.
    """

    macs: int
    macs_nonzero: int
    parameter_bytes: int


def cost(
    module: nn.Module,
    example: Any,
    forward: Callable[[nn.Module, Any], Tensor | Sequence[Tensor]],
    samples: int | None = None,
) -> Cost:
    """Count the multiply-accumulates of one sample's forward pass, and the bytes of parameters.

    Counted is every matrix product and convolution that runs, by whatever layer or function:
    linear, recurrent and attention layers, convolutions (transposed ones too), bare parameters.
    Activations, normalisations, embeddings and products entry by entry are not.

    Args:
        module: the network; it is copied, and run in eval mode.
        example: a batch of inputs, given to ``forward``: a tensor, a packed sequence, or a
            mapping or sequence of tensors.
        forward: calls the module on the example.
        samples: how many the example holds; by default the first dimension of its first tensor.
            An example without a batch dimension holds 1.

    Raises:
        ValueError: ``samples`` is not given or below 1, and the example holds no tensor with a
            batch in it; or as ``couplings``.
    """
    count = _batch_size(example) if samples is None else samples
    if count < 1:
        raise ValueError(
            "the example holds no tensor whose first dimension is a batch; say how many samples"
            " it holds"
        )
    check_traceable(module)
    measured = copy.deepcopy(module).eval()
    counter = _Counter(measured)
    with torch.no_grad(), _plain_kernels(), counter:
        forward(measured, example)
    return Cost(
        macs=counter.macs // count,
        macs_nonzero=counter.nonzero // count,
        parameter_bytes=sum(param.numel() * param.element_size() for param in module.parameters()),
    )


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the products of all operations while it is entered."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs = self.nonzero = 0
        self._weights = {param.untyped_storage().data_ptr() for param in module.parameters()}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        formula = flop_registry.get(func.overloadpacket)
        if formula is None and torch.is_inference_mode_enabled():
            with self:  # composite operations come whole in that mode
                parts = func.decompose(*args, **(kwargs or {}))
            if parts is not NotImplemented:
                return parts
        out = func(*args, **(kwargs or {}))
        if formula is not None:
            macs = formula(*args, **(kwargs or {}), out_val=out) // 2
            self.macs += macs
            weight = next(filter(self._is_weight, args), None)
            kept = 1 if weight is None else int(weight.count_nonzero())
            self.nonzero += macs * kept // (1 if weight is None else weight.numel())
        return out

    def _is_weight(self, value: Any) -> bool:
        """Whether it is a parameter or a view of one, and no bias."""
        return (
            isinstance(value, Tensor)
            and value.dim() >= 2
            and value.untyped_storage().data_ptr() in self._weights
        )


@contextmanager
def _plain_kernels() -> Iterator[None]:
    """No kernels that hide products: of recurrent layers (oneDNN) and attention (fused)."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
            warnings.simplefilter("ignore")  # oneDNN's about its own flags
            with torch.backends.mkldnn.flags(enabled=False):
                yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _batch_size(example: Any) -> int:
    """The first dimension of the first tensor in it; 0 if there is none."""
    if isinstance(example, Tensor):
        return example.shape[0] if example.dim() else 0
    if isinstance(example, nn.utils.rnn.PackedSequence):
        return int(example.batch_sizes[0])
    if isinstance(example, Mapping):
        example = list(example.values())
    if isinstance(example, Sequence) and not isinstance(example, str):
        return next(filter(None, map(_batch_size, example)), 0)
    return 0
