"""What the tests of imported policies share."""

from __future__ import annotations

from typing import Any

from ray.rllib.core.rl_module.rl_module import RLModule

from prune_search.experiment.file import parse
from prune_search.importing.policies import Imported
from prune_search.rllib.configuration.algorithms import MODULE_PATH

CARTPOLE = "environment: {id: CartPole-v1}"
PENDULUM = "environment: {id: Pendulum-v1}"
PICTURES = "environment: {id: Pictures-v0, modules: [tests.importing.environments]}"


def of_algorithm(text: str, name: str, **model: Any) -> Any:
    return parse(f"{{{text}, algorithm: {{name: {name}, model: {model}}}}}")


def network(found: Imported) -> Any:
    return RLModule.from_checkpoint(found.checkpoint / MODULE_PATH)
