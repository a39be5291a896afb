"""Sizes, counted from tensors, and the work of a forward pass, counted while it runs."""

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

from prune_search.sparsity._probe import check_traceable


@dataclass(frozen=True)
class Size:
    """How large a network is, and how much of it is zero.

    Attributes:
        parameters: entries of all parameters, biases counted.
        nonzero: those of them that are not zero.
        weights: entries of kernels alone: parameters of two or more dimensions.
        weights_nonzero: those of them that are not zero.
        layers: the share of zeros in each kernel, in [0, 1], by parameter name.
    """

    parameters: int
    nonzero: int
    weights: int
    weights_nonzero: int
    layers: dict[str, float]

    @property
    def sparsity(self) -> float:
        """1 - nonzero / parameters, in [0, 1]; 0 for a network without parameters."""
        return _zero_share(self.nonzero, self.parameters)

    @property
    def weight_sparsity(self) -> float:
        """The literature's figure: the same of kernels alone."""
        return _zero_share(self.weights_nonzero, self.weights)

    @property
    def compression(self) -> float:
        """parameters / nonzero, at least 1; infinite when nothing is left."""
        return self.parameters / self.nonzero if self.nonzero else float("inf")


def size(params: Mapping[str, Tensor]) -> Size:
    """Count the entries and the non-zero entries of ``params``; NaN counts as non-zero.

    A tensor under two names, as a tied weight in a ``state_dict``, counts once.
    """
    once = {
        (param.untyped_storage().data_ptr(), param.storage_offset(), param.shape, param.stride())
        if param.numel()
        else name: name
        for name, param in reversed(list(params.items()))
    }
    names = set(once.values())
    nonzero = {name: int(torch.count_nonzero(param)) for name, param in params.items()}
    kernels = [name for name, param in params.items() if param.dim() >= 2]
    return Size(
        parameters=sum(params[name].numel() for name in names),
        nonzero=sum(nonzero[name] for name in names),
        weights=sum(params[name].numel() for name in kernels if name in names),
        weights_nonzero=sum(nonzero[name] for name in kernels if name in names),
        layers={name: _zero_share(nonzero[name], params[name].numel()) for name in kernels},
    )


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


def _zero_share(nonzero: int, total: int) -> float:
    return 1.0 - nonzero / total if total else 0.0
