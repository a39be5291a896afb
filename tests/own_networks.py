"""Networks of a user's own."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, ValueFunctionAPI
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from torch import Tensor, nn

from prune_search.modules import ShrunkModule


class NoValues(TorchRLModule):
    """A policy alone, with a skip connection and a normalisation."""

    def setup(self) -> None:
        width = self.model_config.get("width", 16)
        self.body = nn.Linear(self.observation_space.shape[0], width)
        self.norm = nn.LayerNorm(width)
        self.branch = nn.Sequential(nn.Linear(width, 12), nn.Tanh(), nn.Linear(12, width))
        self.head = nn.Linear(width, int(self.action_space.n))

    def _forward(self, batch: dict[str, Any], **_: Any) -> dict[str, Any]:
        hidden = torch.tanh(self.norm(self.body(batch[Columns.OBS].float())))
        return {Columns.ACTION_DIST_INPUTS: self.head(hidden + self.branch(hidden))}


class Residual(NoValues, ValueFunctionAPI, InferenceOnlyAPI):
    """What PPO can train."""

    def setup(self) -> None:
        super().setup()
        self.values = nn.Sequential(
            nn.Linear(self.observation_space.shape[0], 16), nn.Tanh(), nn.Linear(16, 1)
        )

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> Tensor:
        return self.values(batch[Columns.OBS].float()).squeeze(-1)

    def get_non_inference_attributes(self) -> list[str]:
        return ["values"]


class Shrinkable(ShrunkModule, Residual):
    """The same at any shapes."""


class Failing(Residual):
    """Of which one layer does not fit the other."""

    def setup(self) -> None:
        super().setup()
        self.head = nn.Linear(3, int(self.action_space.n))
