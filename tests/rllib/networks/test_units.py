"""Networks that are built alike share what was found; others don't."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gymnasium import spaces
from ray.rllib.core.rl_module.rl_module import RLModule

from prune_search.rllib.configuration.algorithms import algorithm_config
from prune_search.rllib.evaluation.cost import acting, compact_policy
from prune_search.rllib.networks import units
from prune_search.rllib.networks.roles import example_batch, outputs
from prune_search.rllib.networks.units import units_of

OBSERVATIONS, ACTIONS = spaces.Box(-1.0, 1.0, (4,)), spaces.Discrete(2)


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[RLModule]:
    """The networks that are traced, none of which is known yet."""
    found, seen = units.couplings, []

    def noted(module: RLModule, *rest: Any) -> Any:
        seen.append(module)
        return found(module, *rest)

    monkeypatch.setattr(units, "couplings", noted)
    monkeypatch.setattr(units, "_found", {})
    return seen


def test_what_is_built_alike_is_traced_once(tiny: Any, traced: list[RLModule]) -> None:
    def network(*overrides: str, seed: int = 0) -> Any:
        torch.manual_seed(seed)
        both = (OBSERVATIONS, ACTIONS)
        spec = algorithm_config(tiny(*overrides), seed=1).get_multi_rl_module_spec(
            spaces={"__env_single__": both, "default_policy": both}
        )
        return spec.build()["default_policy"].unwrapped()

    first, second = network(), network(seed=1)
    batch = example_batch(first)
    assert units_of(first, batch, outputs) is units_of(second, batch, outputs)
    assert traced == [first]

    relu = network("algorithm.model.fcnet_activation=relu")
    wide = network("algorithm.model.fcnet_hiddens=[24, 16]")
    widths = [units_of(each, batch, outputs)[0].units for each in (first, relu, wide)]
    assert widths == [16, 16, 24] and traced == [first, relu, wide]

    # Another function of the same network; weights that are zero change nothing of it.
    assert units_of(first, batch, acting) is not units_of(first, batch, outputs)
    with torch.no_grad():
        for name, value in second.named_parameters():
            if name.startswith("encoder.actor") and value.dim() == 2:
                value[:3] = 0.0
    assert set(compact_policy(first).removed.values()) == {0}
    assert sum(compact_policy(second).removed.values()) == 6
    assert len(traced) == 4
