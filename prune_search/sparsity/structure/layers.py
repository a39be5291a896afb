"""Which layers' parameters go with single units, and along which dimension units lie."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BY_CHANNEL = (_NormBase, nn.GroupNorm, nn.PReLU)  # whose channels are dimension 1
_BY_FEATURE = (nn.LayerNorm, nn.RMSNorm)  # whose features are the last dimension


def is_kernel_layer(layer: nn.Module) -> bool:
    """Whether rows of its weight make its outputs, and columns read its inputs."""
    if not isinstance(layer, (nn.Linear, *_CONVOLUTIONS)) or is_parametrized(layer):
        return False
    own = {name for name, _ in layer.named_parameters(recurse=False)}
    return own <= {"weight", "bias"} and getattr(layer, "groups", 1) == 1


def feature_dim(layer: nn.Module) -> int | None:
    """The dimension of a layer's inputs and outputs along which units lie; None if unknown."""
    if isinstance(layer, _CONVOLUTIONS):
        return -1 - len(layer.kernel_size)
    if isinstance(layer, _BY_FEATURE):
        return -1 if len(layer.normalized_shape) == 1 else None
    if isinstance(layer, nn.Linear):
        return -1
    return 1 if isinstance(layer, _BY_CHANNEL) else None


def is_parametrized(layer: nn.Module) -> bool:
    """Whether its parameters are computed from others (``torch.nn.utils.parametrize``)."""
    return nn.utils.parametrize.is_parametrized(layer)
