"""RLlib's default networks at any shapes, so that a shrunk policy is an ordinary checkpoint.

Where units were removed, no setting of RLlib's describes the network any more: every layer has
sizes of its own, and actor and critic differ. The classes here build what their parents build and
then give layers the shapes that ``model_config["shapes"]`` lists by parameter name. Whoever has
this package installed opens such a checkpoint by RLlib's own calls:

    module = RLModule.from_checkpoint(path)

Where it is not installed they raise an error that names it, see `prune_search.required`.
Weights come from the checkpoint or the learner, as for any RLModule; a resized layer that gets
none has torch's own initialisation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms.appo.torch.default_appo_torch_rl_module import (
    DefaultAPPOTorchRLModule,
)
from ray.rllib.algorithms.bc.torch.default_bc_torch_rl_module import DefaultBCTorchRLModule
from ray.rllib.algorithms.cql.torch.default_cql_torch_rl_module import DefaultCQLTorchRLModule
from ray.rllib.algorithms.dqn.torch.default_dqn_torch_rl_module import DefaultDQNTorchRLModule
from ray.rllib.algorithms.iql.torch.default_iql_torch_rl_module import DefaultIQLTorchRLModule
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.algorithms.sac.torch.default_sac_torch_rl_module import DefaultSACTorchRLModule
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule

from prune_search.required import Required
from prune_search.sparsity.structure.resizing import resize_

SHAPES = "shapes"
"""Key of ``model_config``: the shape of each parameter, by its name in the RLModule.

A parameter that is absent has the shape that the parent class gives it.
"""


class ShrunkModule(TorchRLModule, metaclass=Required):  # type: ignore[misc]
    """Mixin: an RLModule whose layers have the shapes of ``model_config["shapes"]``.

    For a network class of one's own, put it in front: ``class Mine(ShrunkModule, MyModule)``, or
    derive the class itself from it; layers get their shapes after whichever ``setup`` builds them.
    Target networks are made later, as copies, and so have the shapes of what they follow.

    Raises:
        ValueError: a name that neither the network has nor, made later or left out of an
            inference-only network, one of its non-inference parts; or a shape that its layer
            can't have.
    """

    model_config: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if shapes := module_shapes(self):
            self._resize(shapes)

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes over weights; an inference-only network takes over their shapes as well.

        An env runner that RLlib restarts is built as the first one was, and must find its way
        to the shapes that the learner has by now. A network that is trained has optimizers
        that know its parameters, so it refuses other shapes.
        """
        if self.inference_only:
            held = dict(self.named_parameters())
            given = {name: np.shape(state[name]) for name in held if name in state}
            if any(tuple(held[name].shape) != shape for name, shape in given.items()):
                self._resize(given)
                self.model_config = {
                    **config_dict(self.model_config),
                    SHAPES: module_shapes(self) | given,
                }
        super().set_state(state)

    def _resize(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        own = dict(self.named_parameters())
        parts = self.get_non_inference_attributes() if isinstance(self, InferenceOnlyAPI) else []
        unknown = [
            name
            for name in shapes
            if name not in own and not any(f"{name}.".startswith(f"{part}.") for part in parts)
        ]
        if unknown:
            raise ValueError(
                f"model_config[{SHAPES!r}]: {type(self).__name__} has no parameters {unknown}"
            )
        # Values come later; what an experiment draws from the stream must not depend on shapes.
        with torch.random.fork_rng(devices=[]):
            resize_(self, {name: shape for name, shape in shapes.items() if name in own})


class ShrunkPPOTorchRLModule(ShrunkModule, DefaultPPOTorchRLModule):  # type: ignore[misc]
    """The default network of PPO, IMPALA and MARWIL."""


class ShrunkAPPOTorchRLModule(ShrunkModule, DefaultAPPOTorchRLModule):  # type: ignore[misc]
    """APPO's default network."""


class ShrunkDQNTorchRLModule(ShrunkModule, DefaultDQNTorchRLModule):  # type: ignore[misc]
    """DQN's default network."""


class ShrunkSACTorchRLModule(ShrunkModule, DefaultSACTorchRLModule):  # type: ignore[misc]
    """SAC's default network."""


class ShrunkBCTorchRLModule(ShrunkModule, DefaultBCTorchRLModule):  # type: ignore[misc]
    """BC's default network."""


class ShrunkCQLTorchRLModule(ShrunkModule, DefaultCQLTorchRLModule):  # type: ignore[misc]
    """CQL's default network."""


class ShrunkIQLTorchRLModule(ShrunkModule, DefaultIQLTorchRLModule):  # type: ignore[misc]
    """IQL's default network."""


_CLASSES: dict[type[RLModule], type[ShrunkModule]] = {
    cls.__bases__[1]: cls
    for cls in (
        ShrunkPPOTorchRLModule,
        ShrunkAPPOTorchRLModule,
        ShrunkDQNTorchRLModule,
        ShrunkSACTorchRLModule,
        ShrunkBCTorchRLModule,
        ShrunkCQLTorchRLModule,
        ShrunkIQLTorchRLModule,
    )
}


def shrunk_class(base: type[RLModule]) -> type[ShrunkModule]:
    """The class that builds ``base``'s network at other shapes.

    Raises:
        ValueError: a class that is not one of RLlib's defaults and lacks the mixin.
    """
    if issubclass(base, ShrunkModule):
        return base
    if base not in _CLASSES:
        raise ValueError(
            f"{base.__module__}.{base.__qualname__} can't be built at other shapes; known are"
            f" {', '.join(known.__name__ for known in _CLASSES)}. For a class of your own, give"
            f" RLlib a subclass: class Shrinkable(ShrunkModule, {base.__name__}), with ShrunkModule"
            f" from {__name__}"
        )
    return _CLASSES[base]


def module_shapes(module: RLModule) -> dict[str, tuple[int, ...]]:
    """The shapes that a network was given by ``model_config["shapes"]``."""
    given = config_dict(module.model_config).get(SHAPES) or {}
    return {name: tuple(shape) for name, shape in given.items()}


def config_dict(model_config: Any) -> dict[str, Any]:
    """A ``model_config``, which may be None, a dict or a dataclass, as a dict of its own."""
    if dataclasses.is_dataclass(model_config) and not isinstance(model_config, type):
        return dataclasses.asdict(model_config)
    return dict(model_config or {})
