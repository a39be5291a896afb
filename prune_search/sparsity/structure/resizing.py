"""Physical removal: a smaller network, and where its entries lie in the dense one.

Masks keep the shapes, and with them the cost. Here units that are masked altogether are taken
out, from parameters, optimizer state and masks alike; each is still known by its index in the
dense network.

>>> import torch
>>> from prune_search.sparsity import couplings, select
>>> from prune_search.sparsity.structure.resizing import layout, shrink_
>>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
>>> params = dict(model.named_parameters())
>>> units = couplings(model, torch.zeros(1, 4), lambda net, x: net(x), ["2.weight"])
>>> scores = {name: param.abs() for name, param in params.items()}
>>> masks = select("neuron", params, ["0.weight"], units, scores, {}, "uniform", 0.5)
>>> removed = layout(params, units, masks)
>>> shrink_(model, removed)
>>> tuple(model[0].weight.shape), tuple(model[2].weight.shape)
((4, 4), (2, 4))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import LongTensor, Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from prune_search.sparsity.structure.layers import is_kernel_layer
from prune_search.sparsity.structure.layout import Layout

if TYPE_CHECKING:
    from prune_search.sparsity.structure.coupling import Coupling

__all__ = ["Layout", "carry_", "layout", "resize_", "shrink_"]


def layout(
    params: Mapping[str, Tensor], couplings: Sequence[Coupling], masks: Mapping[str, Tensor]
) -> Layout:
    """The network without the units that are masked altogether.

    A unit goes if every entry that belongs to it is masked, in all slices of its coupling. Of a
    coupling that has lost all its units the first stays, masked as it is. Units of couplings
    that aren't ``removable`` stay as well.

    Args:
        params: parameters by name; all that the couplings reach into.
        couplings: units, by indices of these parameters.
        masks: boolean masks, True = kept; a name that is absent is unmasked.

    Raises:
        ValueError: a coupling into a parameter that is not given.
    """
    gone: dict[str, list[Tensor]] = {}
    for coupling in couplings:
        if not coupling.removable:
            continue
        dead = torch.ones(coupling.units, dtype=torch.bool)
        for part in coupling.slices:
            if part.parameter not in params:
                raise ValueError(f"a coupling reaches into {part.parameter!r}, which is not given")
            mask = masks.get(part.parameter)
            if mask is None:
                dead[:] = False
                break
            lines = mask.movedim(part.dim, 0).flatten(1).any(1) if mask.dim() > 1 else mask
            dead &= ~lines.cpu()[part.index].any(1)
        if bool(dead.all()):
            dead[0] = False
        remove_units(gone, params, coupling, dead)
    return kept_without(params, gone)


def remove_units(
    gone: dict[str, list[Tensor]], params: Mapping[str, Tensor], coupling: Coupling, units: Tensor
) -> None:
    """Note in ``gone`` what goes with ``units`` (boolean): marks by parameter and dimension."""
    for part in coupling.slices:
        shape = params[part.parameter].shape
        marks = gone.setdefault(
            part.parameter, [torch.zeros(size, dtype=torch.bool) for size in shape]
        )
        marks[part.dim][part.index[units].flatten()] = True


def kept_without(params: Mapping[str, Tensor], gone: Mapping[str, Sequence[Tensor]]) -> Layout:
    """The layout without what ``remove_units`` has noted."""
    kept = {}
    for name, dims in gone.items():
        if any(bool(marks.any()) for marks in dims):
            kept[name] = tuple(_others(marks) for marks in dims)
    return Layout(Layout.full(params).dense, kept)


def resize_(module: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Give layers other shapes, in place.

    Linear layers, convolutions (without groups, not transposed), ``nn.LayerNorm`` and
    ``nn.RMSNorm`` over one dimension, batch and instance normalisation and ``nn.PReLU`` can be
    resized. The sub-modules stay the same objects, with
    their hooks, stride, padding, training flag and so on; their parameters of another shape are
    replaced by new ones of the same dtype, device and ``requires_grad``, shared ones by shared
    ones, and the layer is initialised afresh (``reset_parameters``). Keys of the ``state_dict``
    stay the same. An optimizer must be told: see ``carry_``.

    Args:
        module: the network.
        shapes: shapes by parameter name; a parameter that is absent keeps its shape.

    Raises:
        ValueError: a name that the module does not have, or a shape that its layer can't have.
            Nothing has changed then.
    """
    for layer in _reshape_(module, shapes):
        layer.reset_parameters()


@torch.no_grad()
def shrink_(module: nn.Module, step: Layout) -> None:
    """Take out of a network what ``step`` doesn't keep, in place; see ``resize_``.

    What batch normalisation has gathered about the kept units is kept as well.

    Args:
        module: the network; its parameters have the shapes ``step.dense``.
        step: the layout; it may know a part of the parameters only.

    Raises:
        ValueError: a parameter has another shape, or its layer can't be resized. Nothing has
            changed then.
    """
    names = dict(module.named_parameters(remove_duplicate=False))
    unknown = sorted(step.dense.keys() - names.keys())
    if unknown:
        raise ValueError(f"the layout has parameters that the module does not have: {unknown}")
    values = {name: step.take(name, names[name]) for name in step.dense}
    statistics = []
    for prefix, layer in module.named_modules():
        name = f"{prefix}.weight" if prefix else "weight"
        if isinstance(layer, _NormBase) and name in step.kept:
            statistics += [
                (layer, key, step.take(name, buffer))
                for key, buffer in layer.named_buffers()
                if buffer.dim()
            ]
    _reshape_(module, step.shapes)
    for name, param in module.named_parameters(remove_duplicate=False):
        if name in values:
            param.copy_(values[name])
    for layer, key, buffer in statistics:
        layer.get_buffer(key).copy_(buffer)


@torch.no_grad()
def carry_(
    optimizer: torch.optim.Optimizer,
    old_params: Mapping[str, Tensor],
    new_params: Mapping[str, nn.Parameter],
    step: Layout,
) -> None:
    """Go on with an optimizer after its parameters have been replaced by smaller ones.

    The new parameters take the old ones' places in ``param_groups``. Of each parameter's state,
    tensors of its shape (``exp_avg``, ``exp_avg_sq``, ``max_exp_avg_sq``, ``momentum_buffer``,
    ``square_avg``, ...) keep the kept entries, as do those that have one entry for a whole row or
    column (Adafactor's ``row_var``); all else (Adam's ``step``) is kept as it is.
    Gradients are not carried. Masks that were attached to the optimizer must be attached anew.

    Args:
        optimizer: any optimizer that keeps its state per parameter.
        old_params: the parameters by name, as they were before ``shrink_``.
        new_params: the parameters by name, as they are now; must hold every old name.
        step: the layout that ``shrink_`` was given.

    Raises:
        ValueError: a new parameter is missing or has another shape than ``step`` says. Nothing
            has changed then.
    """
    replaced: dict[int, tuple[str, nn.Parameter]] = {}
    for name, old in old_params.items():
        if name not in new_params:
            raise ValueError(f"there is no new parameter {name!r}")
        shape = step.shapes[name] if name in step.dense else tuple(old.shape)
        if tuple(new_params[name].shape) != shape:
            found = tuple(new_params[name].shape)
            raise ValueError(f"the new parameter {name!r} must have shape {shape}, not {found}")
        if old is not new_params[name]:
            replaced[id(old)] = (name, new_params[name])
    for group in optimizer.param_groups:
        for place, old in enumerate(group["params"]):
            if id(old) not in replaced:
                continue
            name, new = replaced[id(old)]
            group["params"][place] = new
            if old in optimizer.state:
                state = optimizer.state.pop(old)
                optimizer.state[new] = {
                    key: _taken(step, name, value) for key, value in state.items()
                }


def _taken(step: Layout, name: str, value: Any) -> Any:
    """A parameter's optimizer state without what is gone."""
    shape = step.dense.get(name, ())
    if not isinstance(value, Tensor) or not value.dim() or value.dim() != len(shape):
        return value
    if any(size not in (1, full) for size, full in zip(value.shape, shape, strict=True)):
        return value
    taken = value.clone()
    for dim, index in enumerate(step.kept.get(name, (None,) * len(shape))):
        if index is not None and value.shape[dim] == shape[dim]:
            taken = taken.index_select(dim, index.to(taken.device))
    return taken


@torch.no_grad()
def _reshape_(module: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> list[Any]:
    """What ``resize_`` does, but with empty new parameters; the layers that have changed."""
    names = dict(module.named_parameters(remove_duplicate=False))
    unknown = sorted(shapes.keys() - names.keys())
    if unknown:
        raise ValueError(f"shapes of parameters that the module does not have: {unknown}")
    wanted = {
        id(names[name]): tuple(shape)
        for name, shape in shapes.items()
        if tuple(names[name].shape) != tuple(shape)
    }
    changed = []
    for prefix, layer in module.named_modules():
        own = dict(layer.named_parameters(recurse=False))
        if any(id(param) in wanted for param in own.values()):
            target = {key: wanted.get(id(p), tuple(p.shape)) for key, p in own.items()}
            _check_layer(prefix, layer, own, target)
            changed.append((layer, own, target))
    replaced: dict[int, nn.Parameter] = {}  # parameters may be shared between layers
    for layer, own, target in changed:
        for key, param in own.items():
            if id(param) in wanted:
                if id(param) not in replaced:
                    empty = param.new_empty(target[key])
                    replaced[id(param)] = nn.Parameter(empty, requires_grad=param.requires_grad)
                setattr(layer, key, replaced[id(param)])
        _resized(layer)
    return [layer for layer, _, _ in changed]


def _others(marks: Tensor) -> LongTensor | None:
    return (~marks).nonzero().squeeze(1) if bool(marks.any()) else None  # type: ignore[return-value]


def _check_layer(
    prefix: str,
    layer: nn.Module,
    own: Mapping[str, Tensor],
    target: Mapping[str, tuple[int, ...]],
) -> None:
    """Raise unless the layer can have its parameters of the target shapes."""
    name = f"{type(layer).__name__} {prefix!r}" if prefix else type(layer).__name__
    changed = [key for key in own if tuple(own[key].shape) != target[key]]
    if not _can_be_resized(layer):
        raise ValueError(
            f"{changed} of {name} can't have another shape: the layer is not resizable"
        )
    shape = target["weight"]
    kernel = tuple(own["weight"].shape[2:])
    if len(shape) != own["weight"].dim() or shape[2:] != kernel or 0 in shape:
        raise ValueError(f"the weight of {name} can't have the shape {shape}")
    if target.get("bias", shape[:1]) != shape[:1]:
        raise ValueError(f"the bias of {name} can't have the shape {target['bias']}")


def _can_be_resized(layer: nn.Module) -> bool:
    if isinstance(layer, (nn.LayerNorm, nn.RMSNorm)):
        return len(layer.normalized_shape) == 1
    return is_kernel_layer(layer) or isinstance(layer, (nn.PReLU, _NormBase))


def _resized(layer: Any) -> None:
    """Make a layer's sizes and statistics follow its weight's shape."""
    count, *rest = layer.weight.shape
    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = count, rest[0]
    elif isinstance(layer, _ConvNd):
        layer.out_channels, layer.in_channels = count, rest[0]
    elif isinstance(layer, (nn.LayerNorm, nn.RMSNorm)):
        layer.normalized_shape = (count,)
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters = count
    else:
        layer.num_features = count
        for key, buffer in layer.named_buffers():
            if buffer.dim():
                setattr(layer, key, buffer.new_empty(count))
