"""Target rllib: the checkpoint that RLlib opens, with what it evaluates to beside it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_search.artifacts.base import Artifact, Material, Target, card_in, register_target
from prune_search.artifacts.card import Card
from prune_search.errors import UserError
from prune_search.export.policy import Policy
from prune_search.policy.arrays import Array

CARD = "prune_search.json"


@register_target("rllib")
class RllibTarget(Target):
    """A folder: `Algorithm.from_checkpoint` opens it. For any policy of one agent."""

    suffix = ""
    of_description = False

    def write(self, material: Material, path: Path) -> None:
        if material.algorithm is None:
            raise UserError("export: target rllib is made from a checkpoint of RLlib's")
        shutil.copytree(material.algorithm, path)
        (path / CARD).write_text(material.card.model_dump_json(indent=1), encoding="utf-8")

    def opens(self, path: Path) -> bool:
        return (path / CARD).is_file() and (path / "class_and_ctor_args.pkl").is_file()

    def open(self, path: Path) -> Artifact:
        return RllibArtifact(path, card_in(path, CARD, "rllib"))


class RllibArtifact(Artifact):
    """RLlib's network and connectors, which keep their state themselves."""

    def __init__(self, path: Path, card: Card) -> None:
        self.card, self._policy = card, Policy(path)

    def reset(self) -> None:
        self._policy.reset()

    def step(
        self, observation: Array, state: Array, noise: Array | None
    ) -> tuple[NDArray[Any], Array]:
        action = np.asarray(self._policy(observation[0]))
        return action.astype(np.int64 if self.card.discrete else np.float32)[None], state
