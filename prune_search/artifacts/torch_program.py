"""Target torch: a plain torch module, traced by torch.export; torch alone opens it.

program = torch.export.load("policy.pt2").module()
action = program(torch.tensor([[0.0, 0.1, 0.2, 0.3]]))
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prune_search.artifacts.base import Artifact, Material, Target, register_target
from prune_search.artifacts.card import Card
from prune_search.errors import UserError, one_line
from prune_search.policy.arrays import Array
from prune_search.policy.torch_policy import TorchPolicy

_CARD = "prune_search.json"
"""The card's name inside the file: `torch.export.load(path, extra_files={name: ""})`."""


@register_target("torch")
class TorchTarget(Target):
    """One file, of any number of observations at a time."""

    suffix = ".pt2"

    def write(self, material: Material, path: Path) -> None:
        policy = material.described
        sizes = [size for size in (policy.state_size, policy.action.noise_size) if size]
        given = [torch.zeros(2, *policy.observation_shape), *(torch.zeros(2, n) for n in sizes)]
        rows = {0: torch.export.Dim("rows")}
        shapes: dict[str, Any] = {"observations": rows}
        if sizes:
            shapes["others"] = tuple(rows for _ in sizes)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about torch
            module = TorchPolicy(policy).eval()
            program = torch.export.export(module, tuple(given), dynamic_shapes=shapes)
            torch.export.save(
                program, path, extra_files={_CARD: material.card.model_dump_json(indent=1)}
            )

    def opens(self, path: Path) -> bool:
        return path.suffix == self.suffix

    def open(self, path: Path) -> Artifact:
        held = {_CARD: ""}
        try:
            program = torch.export.load(path, extra_files=held)
            card = Card.model_validate_json(held[_CARD])
        except Exception as error:
            raise UserError(
                f"file: {str(path)!r} is no policy of target torch: {one_line(error)}"
            ) from None
        return TorchArtifact(program.module(), card)


class TorchArtifact(Artifact):
    """A torch module that acts."""

    rows = True

    def __init__(self, module: torch.nn.Module, card: Card) -> None:
        self.card, self._module = card, module

    def step(
        self, observation: Array, state: Array, noise: Array | None
    ) -> tuple[NDArray[Any], Array]:
        others = [state] * bool(self.card.state_size) + ([] if noise is None else [noise])
        with torch.inference_mode():
            given = [torch.from_numpy(np.ascontiguousarray(each)) for each in others]
            found = self._module(torch.from_numpy(observation), *given)
        if self.card.state_size:
            return found[0].numpy(), found[1].numpy()
        return found.numpy(), state
