"""Masks for Keras 3 on its torch backend: read in torch's layout, held during `model.fit`.

Keras keeps kernels as (inputs, units), where torch has (units, inputs), and its optimizers are
not torch's. So parameters are given here as views in torch's layout, which `prune`, allocations
by fan-in and n:m patterns read right, and masks are enforced by a callback after each batch::

    from prune_search.keras import held, parameters
    from prune_search.sparsity import MaskSet, prune

    masks = MaskSet()
    prune(masks, parameters(model), ratio=0.9)
    model.fit(images, labels, callbacks=[held(masks)])

Single weights and n:m patterns are pruned; whole units are not. Keras is imported when a function
is called; set KERAS_BACKEND=torch before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from prune_search.errors import UserError
from prune_search.sparsity.masks import MaskSet


def parameters(model: Any, leave: Collection[str] = ()) -> dict[str, Tensor]:
    """What a model trains, as views: what changes them changes the model.

    Args:
        model: a Keras model that is built.
        leave: names of variables that are left out.

    Returns:
        By `layer/variable`, the end of Keras's path, which a file keeps: kernels of dense layers
        and convolutions as [out, in, *kernel], which is torch's layout, and vectors as they are.

    Raises:
        UserError: Keras is not there, or runs on another backend.
        ValueError: a variable's layout is not known (embeddings, attention, recurrent, depthwise
            and transposed layers), or two have one name; names it.
    """
    kernels = _kernels(model)
    found: dict[str, Tensor] = {}
    for variable in model.trainable_variables:
        name = _name(variable)
        if name in leave:
            continue
        if name in found:
            raise ValueError(f"{name!r} is the name of two variables; give their layers others")
        value = variable.value.detach()
        if value.dim() >= 2 and variable.path not in kernels:
            raise ValueError(
                f"{name!r} {tuple(value.shape)} is no kernel of a dense layer or a convolution, and"
                " which of its axes are units is not known; leave it out: leave=[...]"
            )
        found[name] = _turned(value)
    if not found:
        raise ValueError("the model has no variables that it trains; build it before")
    return found


def enforce(masks: MaskSet, model: Any) -> None:
    """Zeroes what is masked, in the model and in its optimizer's moments.

    For loops of one's own, after each `train_on_batch`; `held` does it in `model.fit`. Moments are
    all that the optimizer keeps of a variable in its shape (momentum, velocity, moving averages):
    a weight that comes back begins without.

    Args:
        masks: by the names of `parameters`.
        model: compiled or not.

    Raises:
        ValueError: a mask is of none of the model's variables, or has another shape.
    """
    kinds: dict[str, dict[str, Tensor]] = defaultdict(dict)
    kept = _kept_by_optimizer(getattr(model, "optimizer", None))
    left = set(masks.masks)
    for variable in model.trainable_variables:
        name = _name(variable)
        if name not in left:
            continue
        left.remove(name)
        value = variable.value.detach()
        kinds[""][name] = _turned(value)
        prefix = f"{variable.path.replace('/', '_')}_"
        for key, moment in kept.items():
            if key.startswith(prefix) and moment.shape == value.shape:
                kinds[key.removeprefix(prefix)][name] = _turned(moment)
    if left:
        raise ValueError(f"{min(left)!r} is masked, and none of the model's variables")
    for tensors in kinds.values():
        masks.apply_(tensors)


def held(masks: MaskSet) -> Any:
    """A callback of Keras's that keeps masked weights at zero during `model.fit`.

    They are exactly zero whenever a batch has ended, and so in every validation, checkpoint and
    file; masks may be updated between batches.

    Args:
        masks: by the names of `parameters`.

    Returns:
        For `callbacks=[...]`.

    Raises:
        UserError: as `parameters`.
    """
    keras = _keras()

    class Held(keras.callbacks.Callback):  # type: ignore[misc, name-defined]
        def on_train_begin(self, logs: Any = None) -> None:
            enforce(masks, self.model)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            enforce(masks, self.model)

        def on_train_end(self, logs: Any = None) -> None:
            enforce(masks, self.model)  # moving averages have taken the weights' place

    return Held()


def _keras() -> Any:
    try:
        import keras
    except ModuleNotFoundError as error:
        raise UserError(
            f'keras: {error}; pip install "prune-search[keras]", and set KERAS_BACKEND=torch'
        ) from None
    backend = keras.backend.backend()
    if backend != "torch":
        raise UserError(
            f"keras: its backend must be torch, got {backend}; set KERAS_BACKEND=torch before"
            " keras is imported"
        )
    return keras


def _kernels(model: Any) -> set[str]:
    """Paths of the kernels whose last axis is the units', and the one before the inputs'."""
    layers = _keras().layers
    known = (layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv3D)
    return {
        variable.path
        for layer in model._flatten_layers()
        if isinstance(layer, known)
        for variable in layer.trainable_variables
        if variable.path.endswith("/kernel")
    }


def _name(variable: Any) -> str:
    """Of its path the layer and the variable: where a model is opened again, the front differs."""
    return "/".join(variable.path.split("/")[-2:])


def _turned(value: Tensor) -> Tensor:
    """Keras's [*kernel, in, out] as a view in torch's layout, [out, in, *kernel]."""
    last = value.dim() - 1
    return value if last < 1 else value.permute(last, last - 1, *range(last - 1))


def _kept_by_optimizer(optimizer: Any) -> dict[str, Tensor]:
    """Tensors of floats that an optimizer keeps, by name: `PATH_WITH_UNDERSCORES_momentum`."""
    if optimizer is None:
        return {}
    inner = _kept_by_optimizer(getattr(optimizer, "inner_optimizer", None))  # of loss scaling
    values = {each.name: each.value.detach() for each in optimizer.variables}
    return inner | {
        name: value
        for name, value in values.items()
        if isinstance(value, torch.Tensor) and value.is_floating_point()
    }
