"""Configurations of RLlib's whose networks have given shapes."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from prune_search.modules import SHAPES, config_dict, shrunk_class
from prune_search.sparsity.named import Shapes


def shrinkable(config: AlgorithmConfig) -> AlgorithmConfig:
    """The configuration with network classes that take over shapes; itself where there are none.

    A class of the user's own can't be shrunk unless it has the mixin, and is masked only.
    """
    try:
        return shaped(config, {module_id: {} for module_id in config.policies})
    except ValueError:
        return config


def shaped(config: AlgorithmConfig, shapes: Mapping[str, Shapes]) -> AlgorithmConfig:
    """A copy of a configuration, not frozen, whose networks have the given shapes.

    With no shapes, ``{DEFAULT_MODULE_ID: {}}``, the network is the dense one, built by the class
    that can be shrunk: what `surgery.shrink` asks for where RLlib may restart env runners.

    Args:
        config: of any algorithm; its own network classes and settings are kept.
        shapes: by ModuleID, shapes by parameter name; a parameter that is absent keeps the shape
            that it has under ``config``.

    Raises:
        ValueError: an unknown ModuleID, or a network of a class that can't be shrunk.
    """
    copied = config.copy(copy_frozen=False)
    reshape(copied, shapes)
    return copied


def reshape(config: AlgorithmConfig, shapes: Mapping[str, Shapes]) -> None:
    """What `shaped` does, in place, also where the configuration is frozen."""
    spec = _specification(config, shapes)
    frozen, config._is_frozen = config._is_frozen, False
    config.rl_module(rl_module_spec=spec)
    config._is_frozen = frozen
    if isinstance(config.evaluation_config, AlgorithmConfig):
        reshape(config.evaluation_config, shapes)


def _specification(
    config: AlgorithmConfig, shapes: Mapping[str, Shapes]
) -> RLModuleSpec | MultiRLModuleSpec:
    given, default = copy.deepcopy(config._rl_module_spec), config.get_default_rl_module_spec()
    known = set(config.policies)
    if isinstance(given, MultiRLModuleSpec):
        known |= given.rl_module_specs.keys()
    if not shapes.keys() <= known:
        raise ValueError(f"no networks {sorted(shapes.keys() - known)}; there are {sorted(known)}")
    if known == {DEFAULT_MODULE_ID} and not isinstance(given, MultiRLModuleSpec):
        single = given or RLModuleSpec()
        for wanted in shapes.values():
            _complete(single, default, DEFAULT_MODULE_ID)
            respecify(single, wanted)
        return single
    if not isinstance(given, MultiRLModuleSpec):
        specs = {name: copy.deepcopy(given) or RLModuleSpec() for name in known}
        given = MultiRLModuleSpec(rl_module_specs=specs)
    for name, wanted in shapes.items():
        single = given.rl_module_specs.setdefault(name, RLModuleSpec())
        _complete(single, default, name)
        respecify(single, wanted)
    return given


def _complete(
    spec: RLModuleSpec, default: RLModuleSpec | MultiRLModuleSpec, module_id: str
) -> None:
    """Fills in the class that RLlib would choose."""
    if isinstance(default, MultiRLModuleSpec):
        default = default.rl_module_specs[module_id]
    spec.module_class = spec.module_class or default.module_class
    spec.catalog_class = spec.catalog_class or default.catalog_class


def respecify_all(spec: MultiRLModuleSpec | None, shapes: Mapping[str, Shapes]) -> None:
    """Changes, in place, those networks of a specification that `shapes` names."""
    for module_id, wanted in shapes.items():
        if spec is not None and module_id in spec:
            respecify(spec[module_id], wanted)


def respecify(spec: RLModuleSpec, shapes: Shapes) -> None:
    """Changes, in place, one network's specification.

    Raises:
        ValueError: its class can't be built at other shapes.
    """
    spec.module_class = shrunk_class(spec.module_class)
    model_config = config_dict(spec.model_config)
    known = dict(model_config.get(SHAPES) or {})
    spec.model_config = {**model_config, SHAPES: {**known, **shapes}}
