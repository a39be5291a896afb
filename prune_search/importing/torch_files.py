"""Networks of plain torch: which layers lie on the way to actions, and which to values.

That is inferred from order and shapes: layers of one parent follow one another; a network begins
where what the environment shows goes in, or where another ends, and ends with as many outputs as
actions need, or with one, which is a value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from prune_search.importing.files import no_policy, of_torch, of_torch_script
from prune_search.importing.source import (
    ACTIVATIONS,
    Kernel,
    Kind,
    Source,
    action_outputs,
    kernels,
    layer_of,
    refused,
    stacked,
)

_DEVIATION = re.compile(r"log_?std", re.I)
_VALUE = re.compile(r"critic|value|vf", re.I)


@dataclass(frozen=True)
class Wanted:
    """What a network must take and give to act in an environment, and what no tensor says."""

    kind: Kind
    inputs: int
    """Numbers of a vector, or channels of an image."""
    images: bool
    outputs: int
    """Logits, means or Q-values."""
    continuous: bool
    activation: type[nn.Module]
    strides: Sequence[Any]
    """Of the convolutions, in order; empty where the experiment says none."""


@dataclass(frozen=True, eq=False)
class _Part:
    name: str
    layer: Kernel


def read(path: Path, wanted: Wanted) -> Source:
    """The network of a `state_dict` that torch has saved.

    Raises:
        UserError: it can't be read, or a tensor does not fit; names the first.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise _unreadable(path, error) from None
    if not isinstance(found, Mapping) or not all(isinstance(v, Tensor) for v in found.values()):
        held = ", ".join(map(repr, found)) if isinstance(found, Mapping) else type(found).__name__
        raise refused(f"{str(path)!r} holds {held}, no state_dict; save module.state_dict() alone")
    tensors = {str(name): tensor for name, tensor in found.items()}
    strides, parts = list(wanted.strides), []
    for name, tensor in tensors.items():
        parent, _, last = name.rpartition(".")
        if last == "weight" and tensor.dim() in (2, 4):
            if tensor.dim() == 4 and not strides:
                raise refused(
                    f"{name!r} is a convolution, and no tensor tells its stride: say the"
                    " convolutions in algorithm.model.conv_filters,"
                    " [[filters, size, stride, valid], ...]"
                )
            stride = strides.pop(0) if tensor.dim() == 4 else 1
            bias = tensors.get(_named(parent, "bias"))
            parts.append(_Part(parent, layer_of(tensor, bias, stride)))
    notes = [
        f"no tensor tells activations: hidden layers have those of algorithm.model,"
        f" {ACTIVATIONS[wanted.activation]}"
    ]
    pixels = 1.0
    if wanted.images:
        pixels = 1 / 255 if path.suffix == ".cleanrl_model" else 1.0
        read_as = "divided by 255, as CleanRL does" if pixels < 1 else "as they are"
        notes.append(f"no tensor tells how pixels are scaled: the policy reads them {read_as}")
    name = f"{path.name}, a state_dict"
    return _source(name, parts, tensors, wanted, notes=notes, pixels=pixels)


def _unreadable(path: Path, error: Exception) -> Exception:
    """Why torch can't read a file, in words of ours: its own are about its options."""
    if isinstance(error, PermissionError):
        return refused(f"cannot read {str(path)!r}: {error.strerror}")
    save = "save module.state_dict(), and not the module"
    if of_torch_script(path):
        return refused(f"{str(path)!r} is a program of TorchScript; {save}")
    if not of_torch(path):
        return no_policy(path)
    try:
        named = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # it reads no files of older versions
        named = []
    if named or "Unsupported global" in str(error) or "Unsupported class" in str(error):
        own = [name for name in named if not name.startswith("torch.")]
        held = f"objects of {(own or named)[0]}" if named else "more than tensors"
        return refused(
            f"{str(path)!r} holds {held}, which can't be read without running code of its"
            f" author's; {save}"
        )
    return refused(f"{str(path)!r} is damaged: torch can't read it")


def of_module(module: nn.Module, wanted: Wanted) -> Source:
    """The network of a module, called with observations as the environment gives them.

    Raises:
        UserError: as `read`.
    """
    kinds = {type(each) for each in module.modules()} & set(ACTIVATIONS)
    activation = kinds.pop() if len(kinds) == 1 else wanted.activation
    parts = [
        _Part(name, each)
        for name, each in module.named_modules()
        if isinstance(each, nn.Linear | nn.Conv2d)
    ]
    name = f"the module {type(module).__name__}"
    return _source(name, parts, module.state_dict(), wanted, activation, compute=module)


def value_network(module: nn.Module, activation: type[nn.Module] | None = None) -> nn.Sequential:
    """The network of a module that gives values, [rows, 1]; its layers follow one another."""
    kinds = {type(each) for each in module.modules()} & set(ACTIVATIONS)
    found = kinds.pop() if len(kinds) == 1 else activation or nn.Tanh
    return stacked(kernels(module), found)


def _source(
    name: str,
    parts: Sequence[_Part],
    tensors: Mapping[str, Tensor],
    wanted: Wanted,
    activation: type[nn.Module] | None = None,
    **of_source: Any,
) -> Source:
    if wanted.kind == "sac":
        raise refused(f"{name}: SAC begins from a model of Stable-Baselines3, not from torch alone")
    activation = activation or wanted.activation
    deviation = _deviation(tensors, wanted)
    known = {_named(part.name, each) for part in parts for each in ("weight", "bias")}
    for tensor in tensors:
        if tensor not in known and not (deviation is not None and _DEVIATION.search(tensor)):
            if _DEVIATION.search(tensor) and wanted.kind == "actor-critic":
                raise _other_actions(name, tensor, tensors[tensor], wanted)
            raise refused(
                f"{name}: {tensor!r} {tuple(tensors[tensor].shape)} belongs to no dense layer or"
                " convolution; RLlib's default networks have no others"
            )
    outputs = [wanted.outputs]
    if wanted.continuous and deviation is None:
        outputs.append(2 * wanted.outputs)  # deviations that depend on the observation
    actor, critic, shared = _paths(name, parts, wanted, outputs)
    notes = list(of_source.pop("notes", []))
    given = actor[-1].layer.weight.shape[0]
    if wanted.continuous and deviation is None and given == wanted.outputs:
        deviation = torch.zeros(wanted.outputs)
        notes.append("there is no log deviation in it: RLlib's begins with 0")
    return Source(
        name,
        wanted.kind,
        stacked([part.layer for part in actor], activation),
        stacked([part.layer for part in critic], activation) if critic else None,
        shared=shared,
        log_deviation=None if deviation is None else deviation.detach().reshape(-1),
        notes=notes,
        **of_source,
    )


def _other_actions(name: str, tensor: str, value: Tensor, wanted: Wanted) -> Exception:
    """The error for deviations of other actions than the environment's."""
    said = f"{tensor!r} {tuple(value.shape)}"
    if not wanted.continuous:
        return refused(
            f"{name}: {said} gives deviations of continuous actions, and the environment's are"
            " discrete"
        )
    return refused(
        f"{name}: {action_outputs(value.numel())} ({said}), the environment's Box has"
        f" {wanted.outputs}"
    )


def _deviation(tensors: Mapping[str, Tensor], wanted: Wanted) -> Tensor | None:
    if not wanted.continuous or wanted.kind != "actor-critic":
        return None
    found = [
        tensor
        for name, tensor in tensors.items()
        if _DEVIATION.search(name) and tensor.numel() == wanted.outputs
    ]
    return found[0] if found else None


def _paths(
    name: str, parts: Sequence[_Part], wanted: Wanted, outputs: Sequence[int]
) -> tuple[list[_Part], list[_Part], int]:
    """The layers from observations to actions and to values, and how many are the same."""
    groups = _groups(parts, wanted)
    begun = [group for group in groups if _begins(group[0].layer, wanted)]
    actors, critics, used = [], [], []
    for group in groups:
        trunk: list[_Part] = []
        if group not in begun:
            fitting = [other for other in begun if _follows(other[-1].layer, group[0].layer)]
            if len(fitting) != 1:
                raise _no_place(name, group[0], wanted)
            trunk = fitting[0]
        path = ([*trunk, *group], len(trunk))
        size = group[-1].layer.weight.shape[0]
        value = size == 1 and (1 not in outputs or bool(_VALUE.search(group[-1].name)))
        if size in outputs and not value:
            actors.append(path)
        elif value and wanted.kind == "actor-critic":
            critics.append(path)
        else:
            continue
        used += [group, trunk]
    unused = [group for group in groups if group not in used]
    if unused or not actors:
        last = (unused or groups)[0][-1]
        raise refused(
            f"{name}: {_named(last.name)!r} {tuple(last.layer.weight.shape)} ends a network with"
            f" {last.layer.weight.shape[0]} outputs, where actions need"
            f" {' or '.join(map(str, outputs))}"
        )
    if len(actors) > 1 or len(critics) > 1:
        several = actors if len(actors) > 1 else critics
        names = " and ".join(repr(_named(path[-1].name)) for path, _ in several[:2])
        raise refused(f"{name}: {names} both end a network that fits; leave one out")
    actor, shared = actors[0]
    critic = critics[0][0] if critics else []
    return actor, critic, shared if critic else 0


def _groups(parts: Sequence[_Part], wanted: Wanted) -> list[list[_Part]]:
    """Layers of one parent whose sizes follow one another."""
    groups: list[list[_Part]] = []
    for part in parts:
        before = groups[-1][-1] if groups else None
        anew = before is not None and (
            before.layer.weight.shape[0] == wanted.outputs and _begins(part.layer, wanted)
        )
        together = (
            before is not None and before.name.rpartition(".")[0] == (part.name.rpartition(".")[0])
        )
        if before is not None and together and not anew and _follows(before.layer, part.layer):
            groups[-1].append(part)
        else:
            groups.append([part])
    return groups


def _follows(before: Kernel, after: Kernel) -> bool:
    out, into = before.weight.shape[0], after.weight.shape[1]
    if isinstance(before, nn.Conv2d) and isinstance(after, nn.Linear):
        return bool(into % out == 0)
    return type(before) is type(after) and bool(into == out)


def _begins(layer: Kernel, wanted: Wanted) -> bool:
    fits = layer.weight.shape[1] == wanted.inputs
    return bool(fits) and isinstance(layer, nn.Conv2d) == wanted.images


def _named(parent: str, last: str = "weight") -> str:
    """A tensor's name; a module that is a layer itself has none in front."""
    return f"{parent}.{last}" if parent else last


def _no_place(name: str, part: _Part, wanted: Wanted) -> Exception:
    what = f"images of {wanted.inputs} channels" if wanted.images else f"{wanted.inputs} numbers"
    return refused(
        f"{name}: {_named(part.name)!r} {tuple(part.layer.weight.shape)} reads"
        f" {part.layer.weight.shape[1]}, and observations are {what}"
    )
