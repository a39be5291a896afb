"""A point's policy in another form: laid back into the dense shape, or compacted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from ray.rllib.connectors.env_to_module import EnvToModulePipeline
from ray.rllib.connectors.module_to_env import ModuleToEnvPipeline
from ray.rllib.core import (
    COMPONENT_ENV_RUNNER,
    COMPONENT_ENV_TO_MODULE_CONNECTOR,
    COMPONENT_MODULE_TO_ENV_CONNECTOR,
)
from ray.rllib.core.rl_module.rl_module import RLModule, RLModuleSpec

from prune_search.errors import UserError, one_line
from prune_search.modules import SHAPES, config_dict, shrunk_class
from prune_search.records.checkpoint import MASKS, MODULES_PATH
from prune_search.rllib.evaluation.cost import compact_policy
from prune_search.rllib.networks.roles import by_module
from prune_search.sparsity.structure.resizing import Layout


@dataclass(frozen=True)
class Compacted:
    """A policy's inference network after lossless compaction."""

    module: RLModule
    """Opens by `RLModule.from_checkpoint` wherever `prune_search.modules` is installed."""
    parameters: int
    """Parameters of the network before."""
    nonzero: int
    """Non-zero ones before."""
    left: int
    """Parameters after."""
    left_nonzero: int
    """Non-zero ones after."""
    error: float
    """Largest difference of outputs that was seen, relative to the largest output."""


def policies(algorithm: Path) -> dict[str, RLModule]:
    """The networks in an algorithm's checkpoint, by ModuleID.

    Raises:
        UserError: the checkpoint can't be read.
    """
    folders = [path for path in sorted((algorithm / MODULES_PATH).glob("*")) if path.is_dir()]
    try:
        return {path.name: RLModule.from_checkpoint(path) for path in folders}
    except Exception as error:
        raise UserError(
            f"checkpoint: {str(algorithm)!r} cannot be read: {one_line(error)}"
        ) from None


def pipelines(algorithm: Path) -> tuple[EnvToModulePipeline, ModuleToEnvPipeline]:
    """The connectors in an algorithm's checkpoint, in front of its network and behind it."""
    runner = algorithm / COMPONENT_ENV_RUNNER
    before = EnvToModulePipeline.from_checkpoint(runner / COMPONENT_ENV_TO_MODULE_CONNECTOR)
    after = ModuleToEnvPipeline.from_checkpoint(runner / COMPONENT_MODULE_TO_ENV_CONNECTOR)
    return before, after


def laid_back(algorithm: Path, dense: Path) -> dict[str, RLModule]:
    """A point's networks in the baseline's shapes: zeros stand for what was taken out.

    They compute what the smaller ones do.

    Args:
        algorithm: the point's checkpoint.
        dense: the baseline's.

    Raises:
        UserError: a checkpoint can't be read.
    """
    small, whole = policies(algorithm), policies(dense)
    state = torch.load(algorithm.with_name(MASKS), weights_only=True)
    layouts = by_module(Layout.from_state_dict(state["removal"]))
    for module_id, module in whole.items():
        values = dict(small[module_id].named_parameters())
        found = layouts[module_id]
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                value = values[name]
                parameter.copy_(found.put(name, value) if name in found.dense else value)
    return whole


def compacted(networks: Mapping[str, RLModule], *, fold: bool = True) -> dict[str, Compacted]:
    """Policies without the units that zeros have made superfluous, by ModuleID.

    Args:
        networks: a checkpoint's, as `policies` gives them; they are not changed.
        fold: as of `sparsity.compact`.

    Raises:
        UserError: a network can't be compacted.
    """
    results = {}
    for module_id, module in networks.items():
        spec = RLModuleSpec.from_module(module)
        spec.inference_only = True
        try:
            spec.module_class = shrunk_class(spec.module_class)
            acting = _built(spec, module.get_state(inference_only=True))
            found = compact_policy(acting, fold=fold)
            shapes = {name: tuple(value.shape) for name, value in found.module.named_parameters()}
            spec.model_config = {**config_dict(spec.model_config), SHAPES: shapes}
            assert isinstance(found.module, RLModule)
            small = _built(spec, found.module.get_state(inference_only=True))
        except (ValueError, RuntimeError) as error:
            raise UserError(f"point: {module_id} can't be compacted: {one_line(error)}") from None
        results[module_id] = Compacted(
            module=small,
            parameters=found.before.parameters,
            nonzero=found.before.nonzero,
            left=found.after.parameters,
            left_nonzero=found.after.nonzero,
            error=found.error,
        )
    return results


def save(modules: Mapping[str, RLModule], target: Path) -> None:
    """Writes each network into a folder of its ModuleID."""
    for module_id, module in modules.items():
        RLModule.save_to_path(module, (target / module_id).resolve())


def _built(spec: RLModuleSpec, state: dict[str, np.ndarray]) -> RLModule:
    module = spec.build()
    module.set_state(state)
    return module
