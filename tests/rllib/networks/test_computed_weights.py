"""Networks whose weights are computed from parameters are refused before anything is trained."""

from typing import Any

import pytest
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from torch.nn.utils import parametrizations

from prune_search.errors import UserError
from prune_search.trial.preflight import check


class Normalized(DefaultPPOTorchRLModule):
    def setup(self) -> None:
        super().setup()
        parametrizations.weight_norm(self.encoder.actor_encoder.net.mlp[0])


def test_a_network_with_weight_normalization_is_refused_by_name(tiny: Any) -> None:
    experiment = tiny(f"algorithm.module={__name__}.Normalized")
    with pytest.raises(
        UserError,
        match=r"algorithm.module: '.*mlp\.0\.parametrizations\.weight\..*' can't be masked",
    ):
        check(experiment)
