"""The lowest of many scores, found without putting them in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def lowest(values: Tensor, count: int) -> Tensor:
    """Which values are the lowest: exactly ``count`` of them; of equal ones the first.

    The same as the first ``count`` of a stable sort, in a few passes.

    Args:
        values: shape (n,), no NaN; infinities are ordered as any other value.
        count: none at 0 and below, all from n on.

    Returns:
        Shape (n,), bool.
    """
    import torch

    if not 0 < count < values.numel():
        return torch.full_like(values, count > 0, dtype=torch.bool)
    cut = _kth_lowest(values.detach(), count)
    chosen = values < cut
    missing = count - int(torch.count_nonzero(chosen))
    tied = values == cut
    if int(torch.count_nonzero(tied)) == missing:
        return chosen | tied
    chosen[tied.nonzero().squeeze(1)[:missing]] = True
    return chosen


def ascending(values: Tensor) -> Tensor:
    """The values in order, shape (n,)."""
    import numpy as np
    import torch

    if not _in_numpy(values):
        return values.sort().values
    return torch.from_numpy(np.sort(values.detach().numpy()))


def _kth_lowest(values: Tensor, k: int) -> Tensor:
    import numpy as np

    if not _in_numpy(values):
        return values.kthvalue(k).values
    return values.new_tensor(np.partition(values.numpy(), k - 1)[k - 1])


def _in_numpy(values: Tensor) -> bool:
    """Whether it is there and knows the type: it selects and sorts several times as fast."""
    import torch

    return values.device.type == "cpu" and values.dtype in (torch.float32, torch.float64)
