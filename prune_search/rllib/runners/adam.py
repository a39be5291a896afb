"""A step of torch's Adam on the CPU, with all of its tensors in a few calls, to the same bits.

On small networks nearly all of a step's time is Python around each parameter. torch's own form for
many tensors (`foreach`) spends most of it beside the mathematics as well, and its fused form rounds
in another way.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer
from torch.optim import optimizer as hooks

from prune_search.sparsity.masks import Handle


def take_step(optimizer: Optimizer, zeros_stay: bool = False) -> None:
    """`optimizer.step()`; of a plain Adam that has made its first one, in less time.

    Hooks behind a step are run; what hooks in front of it would see is not there, so that an
    optimizer that has some steps by itself.

    Args:
        zeros_stay: masked entries are zero now, in parameters, moments and gradients. Adam leaves
            them zero, and masks need not be enforced behind its step.
    """
    if not _plain(optimizer):
        optimizer.step()
        return
    for group in optimizer.param_groups:
        _step(group, optimizer.state)
    for hook in list(optimizer._optimizer_step_post_hooks.values()):
        if zeros_stay and isinstance(getattr(hook, "__self__", None), Handle):
            continue
        hook(optimizer, (optimizer,), {})


def _plain(optimizer: Optimizer) -> bool:
    before = optimizer._optimizer_step_pre_hooks or hooks._global_optimizer_pre_hooks
    if type(optimizer) is not Adam or before or hooks._global_optimizer_post_hooks:
        return False
    others = ("amsgrad", "maximize", "weight_decay", "capturable", "differentiable", "fused")
    return not any(
        any(group[name] for name in others)
        or group["foreach"] is False
        or not isinstance(group["lr"], float)
        or any(
            each.grad is not None
            and (each not in optimizer.state or not each.is_cpu or each.dtype != torch.float32)
            for each in group["params"]
        )
        for group in optimizer.param_groups
    )


@torch.no_grad()
def _step(group: dict[str, Any], state: dict[Tensor, Any]) -> None:
    """Kingma and Ba 2015, Adam, algorithm 1, in the order of operations of torch's Adam."""
    parameters = [each for each in group["params"] if each.grad is not None]
    if not parameters:
        return
    gradients = [each.grad for each in parameters]
    states = [state[each] for each in parameters]
    steps = [each["step"] for each in states]
    means, squares = ([each[name] for each in states] for name in ("exp_avg", "exp_avg_sq"))
    (beta1, beta2), rate = group["betas"], group["lr"]
    torch._foreach_add_(steps, 1.0)
    torch._foreach_lerp_(means, gradients, 1 - beta1)
    torch._foreach_mul_(squares, beta2)
    torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
    counts = [float(step) for step in steps]
    roots = torch._foreach_sqrt(squares)
    torch._foreach_div_(roots, [(1 - beta2**count) ** 0.5 for count in counts])
    torch._foreach_add_(roots, group["eps"])
    sizes = [-(rate / (1 - beta1**count)) for count in counts]
    torch._foreach_addcdiv_(parameters, means, roots, sizes)
