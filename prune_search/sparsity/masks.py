"""Boolean masks over named parameters: what is removed stays exactly zero, and can come back."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


class MaskSet:
    """Reversible boolean masks over named parameters.

    Nothing is added to the module: parameter objects, ``state_dict`` keys, ``deepcopy`` and
    ``pickle`` work as before, which ``torch.nn.utils.prune`` and parametrizations break.

    Multiplying by the mask leaves NaN and infinite weights visible as NaN, also where they are
    masked: a network that has diverged must be noticed, not repaired.

    Copies and pickles of a MaskSet carry masks and removed values, but no attachments.

    Args:
        masks: boolean masks by parameter name, each of its parameter's shape, True = kept.
            The values that they remove are not known here and count as zero; ``update``
            records them.

    Attributes:
        masks: the mask of each masked parameter; a name that is absent is unmasked.
        removed: for each masked parameter, the values that its entries had when they were
            removed; zero where kept.

    Raises:
        ValueError: a mask is not boolean.
    """

    def __init__(self, masks: Mapping[str, Tensor] | None = None) -> None:
        self.masks: dict[str, Tensor] = {}
        self.removed: dict[str, Tensor] = {}
        self._factors: dict[tuple[str, torch.dtype, torch.device], tuple[Tensor, Tensor]] = {}
        self._handles: weakref.WeakSet[Handle] = weakref.WeakSet()
        for name, mask in (masks or {}).items():
            _check_boolean(name, mask)
            self.masks[name] = mask.clone()
            self.removed[name] = torch.zeros(mask.shape, device=mask.device)

    @torch.no_grad()
    def update(
        self,
        params: Mapping[str, Tensor],
        masks: Mapping[str, Tensor],
        *,
        restore: bool = False,
    ) -> None:
        """Install masks for the parameters that ``masks`` names; others keep theirs.

        The value of every entry that is newly removed is recorded in ``removed``; entries that
        were removed before keep the value first recorded. Entries that come back start at
        zero, or with ``restore`` at their recorded value, which is then forgotten. In attached
        optimizers their moments start at zero either way. Parameters, and the optimizer state
        of attached optimizers, are zeroed in place at once.

        Args:
            params: parameters by name; must hold every name of ``masks``.
            masks: boolean masks of the parameters' shapes, True = kept.
            restore: entries that come back get the value that they had when they were removed.

        Raises:
            ValueError: a mask has no parameter, is not boolean or has another shape, or the
                parameter is not the weight but what a parametrization makes it of, so that zeros
                in it are none in the weight. Nothing has changed then.
        """
        check_maskable(masks)
        for name, mask in masks.items():
            _check_boolean(name, mask)
            _check_shape(name, _parameter(params, name), mask)
        # What comes back must find no moments, also where a dense state was loaded just now.
        for handle in self._handles:
            handle.learn({name: params[name] for name in masks})
            handle.enforce()
        # All values before any of them goes: a tensor may have several names.
        before = {name: self._values(name, params[name]) for name in masks}
        for name, mask in masks.items():
            param, (was_kept, values) = params[name], before.pop(name)
            kept = mask.to(param.device, copy=True)
            param.mul_(kept & was_kept)
            if restore:
                param.copy_(torch.where(kept & ~was_kept, values, param))
            self.removed[name] = values.masked_fill_(kept, 0.0)
            self.masks[name] = kept
        for handle in self._handles:
            handle.enforce()

    @torch.no_grad()
    def apply_(self, params: Mapping[str, Tensor]) -> None:
        """Zero the masked entries of ``params`` in place, in one fused call.

        ``params`` may be a part of the masked network (an inference-only copy, say); parameters
        without a mask are untouched.

        Raises:
            ValueError: a mask has another shape than its parameter.
        """
        tensors, factors = [], []
        for name, param in params.items():
            if name in self.masks:
                tensors.append(param)
                factors.append(self._factor(name, param))
        if tensors:
            torch._foreach_mul_(tensors, factors)

    @torch.no_grad()
    def mask_gradients_(self, params: Mapping[str, Tensor]) -> None:
        """Zero the gradients of masked entries in place.

        To be called between ``backward`` and a clipping by norm, which would otherwise count
        weights that are not there, and give the kept ones smaller steps the more are masked.
        Regrowth by gradients (RigL) has to see them before.
        """
        self.apply_({name: p.grad for name, p in params.items() if p.grad is not None})

    def attach(self, optimizer: torch.optim.Optimizer, params: Mapping[str, Tensor]) -> Handle:
        """Enforce the masks after every step of ``optimizer``, until the handle is removed.

        Masked entries become zero in the parameters and in every tensor of a parameter's
        optimizer state that has its shape (``exp_avg``, ``exp_avg_sq``, ``max_exp_avg_sq``,
        ``momentum_buffer``, ...): masking weights or gradients alone fails, because momentum
        and weight decay move weights whose gradient is zero. Later updates of this MaskSet,
        state created later, ``optimizer.load_state_dict`` and ``optimizer.add_param_group`` are
        followed; parameters that ``params`` does not name are known from the first ``update``
        that masks them. Left as it is, is state that is no moment: step sizes (Rprop) and what
        is factored over rows and columns (Adafactor).

        Gradients stay as they are, because regrowth reads them; see ``mask_gradients_``.

        Args:
            optimizer: any optimizer that keeps its state per parameter.
            params: parameters by the names that masks use; those that ``optimizer`` does not
                update are left out, for as long as it does not.

        Raises:
            ValueError: none of ``params`` belongs to ``optimizer``, as happens with an
                optimizer that was made before parameters were replaced; or the optimizer's state
                is one flat vector (LBFGS).
        """
        handle = Handle(self, optimizer, params)
        self._handles.add(handle)
        return handle

    @torch.no_grad()
    def restore_(self, params: Mapping[str, Tensor]) -> None:
        """Put the removed values back, bit for bit, and drop all masks.

        Raises:
            ValueError: a masked parameter is missing or has another shape. Nothing has changed
                then.
        """
        for name, mask in self.masks.items():
            _check_shape(name, _parameter(params, name), mask)
        for name, mask in self.masks.items():
            param = params[name]
            values = self.removed[name].to(param)
            param.copy_(torch.where(mask.to(param.device), param, values))
        self.masks, self.removed, self._factors = {}, {}, {}

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Masks and removed values as plain tensors, for ``torch.load(weights_only=True)``."""
        return {"masks": dict(self.masks), "removed": dict(self.removed)}

    def load_state_dict(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Replace masks and removed values by those of ``state_dict``; no parameter changes.

        Raises:
            ValueError: masks and removed values do not go together. Nothing has changed then.
        """
        masks, removed = state["masks"], state["removed"]
        if masks.keys() != removed.keys():
            names = sorted(masks.keys() ^ removed.keys())
            raise ValueError(f"masks and removed values differ in their names: {names}")
        for name, mask in masks.items():
            _check_boolean(name, mask)
            _check_shape(name, removed[name], mask)
        self.masks = {name: mask.clone() for name, mask in masks.items()}
        self.removed = {name: values.clone() for name, values in removed.items()}
        self._factors = {}

    def __getstate__(self) -> dict[str, dict[str, Tensor]]:
        return self.state_dict()

    def __setstate__(self, state: dict[str, dict[str, Tensor]]) -> None:
        MaskSet.__init__(self)
        self.load_state_dict(state)

    def _values(self, name: str, param: Tensor) -> tuple[Tensor, Tensor]:
        """What is kept of a parameter, and its values, with those that were removed."""
        if name not in self.masks:
            return torch.ones_like(param, dtype=torch.bool), param.detach().clone()
        was_kept = self.masks[name].to(param.device)
        return was_kept, torch.where(was_kept, param, self.removed[name].to(param))

    def _factor(self, name: str, tensor: Tensor) -> Tensor:
        """The mask as numbers of ``tensor``'s dtype and device, converted once per mask."""
        mask = self.masks[name]
        key = (name, tensor.dtype, tensor.device)
        cached = self._factors.get(key)
        if cached is None or cached[0] is not mask:
            cached = (mask, mask.to(tensor.device, tensor.dtype))
            self._factors[key] = cached
        if tensor.shape != mask.shape:  # a multiplication would broadcast
            _check_shape(name, tensor, mask)
        return cached[1]


# Rprop's step size per weight would be stuck at zero after regrowth; Adafactor's factors are means
# over a whole row or column, whatever their shape.
_NO_MOMENTS = frozenset({"step_size", "row_var", "col_var"})


class Handle:
    """What ``MaskSet.attach`` returns: one optimizer on which masks are enforced."""

    def __init__(
        self, masks: MaskSet, optimizer: torch.optim.Optimizer, params: Mapping[str, Tensor]
    ) -> None:
        if isinstance(optimizer, torch.optim.LBFGS):
            raise ValueError(
                "LBFGS can't keep masks: its state is one flat vector of all parameters; use an"
                " optimizer that keeps its state per parameter"
            )
        self._params = dict(params)
        self._masks = masks
        self._optimizer = optimizer
        if not self._owned():
            raise ValueError("none of the given parameters belongs to the optimizer")
        # The optimizer owns this handle, the MaskSet only refers to it: neither of them keeps
        # the other alive once the program has dropped it.
        self._hook = optimizer.register_step_post_hook(self._after_step)

    @property
    def parameters(self) -> list[Tensor]:
        """All that it knows by name, whether the optimizer updates them now or not."""
        return list(self._params.values())

    def learn(self, params: Mapping[str, Tensor]) -> None:
        """Note parameters by names that are not known yet; they may join the optimizer later."""
        self._params = {
            **{name: param for name, param in params.items() if isinstance(param, nn.Parameter)},
            **self._params,
        }

    @torch.no_grad()
    def enforce(self) -> None:
        """Zero masked entries of parameters and optimizer state now, in one fused call."""
        # Gathering the tensors anew costs what checking a cache of them would, and cannot go
        # stale when load_state_dict, add_param_group or the first step replaces the state.
        masks, state = self._masks, self._optimizer.state
        tensors, factors = [], []
        for name, param in self._owned():
            if name not in masks.masks:
                continue
            factor = masks._factor(name, param)
            tensors.append(param)
            factors.append(factor)
            if param not in state or not param.dim():  # a scalar's shape is the step count's
                continue
            for key, value in state[param].items():
                if (
                    isinstance(value, Tensor)
                    and key not in _NO_MOMENTS
                    and value.shape == param.shape
                    and value.is_floating_point()
                ):
                    same = value.dtype == param.dtype and value.device == param.device
                    tensors.append(value)
                    factors.append(factor if same else masks._factor(name, value))
        if tensors:
            torch._foreach_mul_(tensors, factors)

    def _owned(self) -> list[tuple[str, Tensor]]:
        """The parameters that the optimizer updates now."""
        groups = self._optimizer.param_groups
        ids = {id(param) for group in groups for param in group["params"]}
        return [(name, param) for name, param in self._params.items() if id(param) in ids]

    def remove(self) -> None:
        """Stop enforcing; calling it again does nothing."""
        self._hook.remove()
        self._masks._handles.discard(self)

    def _after_step(self, *_: Any) -> None:
        self.enforce()


def check_maskable(names: Iterable[str]) -> None:
    """Refuse what parametrizations make weights of: zeros there need not be zeros of the weight.

    Args:
        names: of parameters, as in ``named_parameters``.

    Raises:
        ValueError: one belongs to ``torch.nn.utils.parametrize``, or to the weight normalisation
            by hooks (``weight_g`` and ``weight_v``); names it, and how to take it off.
    """
    known = set(names)
    for name in known:
        path = name.split(".")
        if "parametrizations" in path[:-1]:
            layer = ".".join(path[: path.index("parametrizations")])
            raise ValueError(
                f"{name!r} can't be masked: the weight is computed from it; take the"
                f" parametrization of {layer!r} off before"
                " (torch.nn.utils.parametrize.remove_parametrizations)"
            )
        if name.endswith("_g") and f"{name[:-2]}_v" in known:
            raise ValueError(
                f"{name[:-2]!r} can't be masked: weight normalisation computes it; take that off"
                " before (torch.nn.utils.remove_weight_norm)"
            )


def _parameter(params: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in params:
        raise ValueError(f"the masked parameter {name!r} is not among the given parameters")
    return params[name]


def _check_boolean(name: str, mask: Tensor) -> None:
    if mask.dtype is not torch.bool:
        raise ValueError(f"the mask of {name!r} must be boolean, not {mask.dtype}")


def _check_shape(name: str, tensor: Tensor, mask: Tensor) -> None:
    if tensor.shape != mask.shape:
        raise ValueError(
            f"the mask of {name!r} has shape {tuple(mask.shape)}, "
            f"its parameter {tuple(tensor.shape)}"
        )
