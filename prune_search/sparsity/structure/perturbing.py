"""Networks and examples with other numbers in them, and by how much what comes out differs."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

Forward = Callable[[nn.Module, Any], Tensor | Sequence[Tensor]]
"""Calls a module on an example and returns all of its outputs."""


def in_double(
    module: nn.Module, example: Any, call: Callable[[nn.Module, Any], object]
) -> tuple[nn.Module, Any]:
    """A copy that computes in double precision, and the example in it.

    Where the forward pass can't be in double precision, as types are written into it, both stay
    in their own.

    Args:
        module: the network.
        example: a batch of inputs.
        call: calls a network on a batch, and raises where that can't be.
    """
    copied = copy.deepcopy(module).double()
    for layer in copied.modules():
        if any(True for _ in layer.parameters(recurse=False)):
            layer.register_forward_pre_hook(_cast, with_kwargs=True)
    batch = changed(example, lambda tensor: tensor.double())
    try:
        call(copied, batch)
    except Exception:  # whatever it is, it is not for being in double precision
        return copy.deepcopy(module), example
    return copied, batch


def randomize_(module: nn.Module, seed: int) -> None:
    """Random parameters and buffers: what is zero or one now hides nothing, in place."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for param in module.parameters():
            if not param.is_floating_point() or not param.numel() or param.is_meta:
                continue
            noise = torch.randn(param.shape, generator=generator, dtype=torch.float64)
            if param.dim() >= 2:
                param.copy_(noise * (2.0 / param[0].numel()) ** 0.5)
            else:  # biases, and factors of normalisations, which are about 1
                param.add_((0.3 * noise).to(param))
        for buffer in module.buffers():
            if buffer.is_floating_point():
                noise = torch.rand(buffer.shape, generator=generator, dtype=torch.float64)
                buffer.add_((0.2 + 0.5 * noise).to(buffer))  # a variance stays positive


def switch_(module: nn.Module) -> bool:
    """Turn over flags: boolean buffers, and single whole numbers that are 0 or 1; if there are any.

    A branch may hang on one of them.
    """
    found = False
    for layer in module.modules():
        if isinstance(layer, _NormBase):  # counts its batches
            continue
        for buffer in layer.buffers(recurse=False):
            whole = not (buffer.is_floating_point() or buffer.is_complex())
            if buffer.dtype == torch.bool:
                found |= bool(buffer.logical_not_().numel())
            elif whole and buffer.numel() == 1 and buffer.item() in (0, 1):
                buffer.copy_(1 - buffer)
                found = True
    return found


def outputs(module: nn.Module, example: Any, forward: Forward) -> list[Tensor]:
    """What ``forward`` returns, with the same random numbers in every call."""
    started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = list(range(torch.cuda.device_count())) if started else []
    with torch.no_grad(), torch.random.fork_rng(devices):
        torch.default_generator.manual_seed(0)  # torch.manual_seed notes a call for each backend
        if devices:
            torch.cuda.manual_seed_all(0)
        found = forward(module, example)
    return [found] if isinstance(found, Tensor) else list(found)


def difference(expected: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """The largest difference of any two tensors, relative to the largest expected value.

    Infinite if numbers or shapes differ, or what is NaN or infinite in one is not so in the other.
    """
    if len(expected) != len(found):
        return math.inf
    worst = 0.0
    for want, have in zip(expected, found, strict=True):
        if want.shape != have.shape:
            return math.inf
        regular = want.isfinite() & have.isfinite()
        if not bool(torch.isclose(want, have, equal_nan=True)[~regular].all()):
            return math.inf
        if bool(regular.any()):
            gap = (want.double() - have.double())[regular].abs().max()
            worst = max(worst, float(gap / want[regular].abs().max().clamp_min(1e-12)))
    return worst


def randomized(example: Any, scale: float, seed: int) -> Any:
    """The example with random numbers added to its tensors of floating point."""
    generator = torch.Generator().manual_seed(seed)

    def change(value: Tensor) -> Tensor:
        return value + scale * torch.randn(value.shape, generator=generator).to(value)

    return changed(example, change)


def changed(example: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The example with its tensors of floating point changed."""
    if isinstance(example, Tensor):
        return change(example) if example.is_floating_point() else example
    if isinstance(example, nn.utils.rnn.PackedSequence):
        return example._replace(data=change(example.data))
    if isinstance(example, Mapping):
        return {key: changed(value, change) for key, value in example.items()}
    if isinstance(example, tuple):
        return tuple(changed(value, change) for value in example)
    if isinstance(example, list):
        return [changed(value, change) for value in example]
    return example


def _cast(layer: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Whatever the forward pass has made of them, layers of doubles get doubles."""
    dtype = next(layer.parameters(recurse=False)).dtype
    if not dtype.is_floating_point:
        return args, kwargs
    return changed((args, kwargs), lambda tensor: tensor.to(dtype))  # type: ignore[no-any-return]
