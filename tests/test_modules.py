"""RLlib's default networks at other shapes, without any algorithm."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray import cloudpickle
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.bc import BCConfig
from ray.rllib.algorithms.cql import CQLConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.iql import IQLConfig
from ray.rllib.algorithms.marwil import MARWILConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import TargetNetworkAPI
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModule, RLModuleSpec
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from torch import nn

from prune_search.modules import (
    SHAPES,
    ShrunkModule,
    ShrunkPPOTorchRLModule,
    module_shapes,
    shrunk_class,
)

OBSERVATION = gym.spaces.Box(-1, 1, (4,), np.float32)
DISCRETE = gym.spaces.Discrete(3)
CONTINUOUS = gym.spaces.Box(-1, 1, (2,), np.float32)
WIDTH, NARROW = 16, 5

ALGORITHMS: dict[type[AlgorithmConfig], gym.Space] = {
    PPOConfig: DISCRETE,
    APPOConfig: DISCRETE,
    IMPALAConfig: DISCRETE,
    MARWILConfig: DISCRETE,
    BCConfig: DISCRETE,
    DQNConfig: DISCRETE,
    SACConfig: CONTINUOUS,
    CQLConfig: CONTINUOUS,
    IQLConfig: CONTINUOUS,
}


@pytest.fixture(params=ALGORITHMS, ids=lambda config: config.__name__)
def dense_spec(request: Any) -> RLModuleSpec:
    """The default network of each algorithm, hidden layers WIDTH wide."""
    config = request.param().rl_module(
        model_config=DefaultModelConfig(
            fcnet_hiddens=[WIDTH, WIDTH], head_fcnet_hiddens=[WIDTH], vf_share_layers=False
        )
    )
    spaces = {DEFAULT_MODULE_ID: (OBSERVATION, ALGORITHMS[request.param])}
    return config.get_rl_module_spec(spaces=spaces)


def narrower(module: RLModule) -> dict[str, tuple[int, ...]]:
    """Shapes of a network whose hidden layers are all NARROW wide."""
    return {
        name: tuple(NARROW if size == WIDTH else size for size in param.shape)
        for name, param in module.named_parameters()
    }


def small_spec(dense: RLModuleSpec, **changes: Any) -> RLModuleSpec:
    spec = copy.deepcopy(dense)
    spec.module_class = shrunk_class(dense.module_class)
    spec.model_config = {**spec.model_config, SHAPES: narrower(dense.build())}
    for name, value in changes.items():
        setattr(spec, name, value)
    return spec


def shapes(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(param.shape) for name, param in module.named_parameters()}


def act(module: RLModule) -> dict[str, torch.Tensor]:
    return dict(module.forward_inference({Columns.OBS: torch.ones(2, 4)}))


def test_each_default_network_is_built_at_other_shapes(dense_spec: RLModuleSpec) -> None:
    dense, small = dense_spec.build(), small_spec(dense_spec).build()
    assert isinstance(small, dense_spec.module_class)
    assert shapes(small) == narrower(dense) != shapes(dense)
    assert small.state_dict().keys() == dense.state_dict().keys()
    assert act(small).keys() == act(dense).keys()


def test_without_shapes_the_network_is_the_dense_one(dense_spec: RLModuleSpec) -> None:
    spec = copy.deepcopy(dense_spec)
    spec.module_class = shrunk_class(dense_spec.module_class)
    assert shapes(spec.build()) == shapes(dense_spec.build())


def test_target_networks_follow(dense_spec: RLModuleSpec) -> None:
    small = small_spec(dense_spec).build()
    if not isinstance(small, TargetNetworkAPI):
        pytest.skip("has no target networks")
    small.make_target_networks()
    for main, target in small.get_target_network_pairs():
        assert shapes(main) == shapes(target)


def test_inference_only_network_takes_the_whole_ones_shapes_and_weights(
    dense_spec: RLModuleSpec,
) -> None:
    whole = small_spec(dense_spec).build()
    acting = small_spec(dense_spec, inference_only=True).build()
    assert shapes(acting).keys() <= shapes(whole).keys()
    acting.set_state(whole.get_state(inference_only=True))
    torch.testing.assert_close(act(acting), act(whole), rtol=0, atol=0)


def test_an_acting_network_follows_the_shapes_of_a_state(dense_spec: RLModuleSpec) -> None:
    """As an env runner must that RLlib has started again with its first arguments."""
    whole = small_spec(dense_spec).build()
    dense = copy.deepcopy(dense_spec)
    dense.module_class, dense.inference_only = shrunk_class(dense_spec.module_class), True
    acting = dense.build()
    acting.set_state(whole.get_state(inference_only=True))
    torch.testing.assert_close(act(acting), act(whole), rtol=0, atol=0)
    rebuilt = RLModuleSpec.from_module(acting).build()
    assert shapes(rebuilt) == shapes(acting) != shapes(dense.build())


def test_a_trained_network_refuses_a_state_of_other_shapes(dense_spec: RLModuleSpec) -> None:
    whole = small_spec(dense_spec).build()
    dense = copy.deepcopy(dense_spec)
    dense.module_class = shrunk_class(dense_spec.module_class)
    with pytest.raises(RuntimeError, match="size mismatch"):
        dense.build().set_state(whole.get_state())


def test_copies_pickles_and_checkpoints_have_the_shapes(
    dense_spec: RLModuleSpec, tmp_path: Any
) -> None:
    small = small_spec(dense_spec).build()
    small.save_to_path(tmp_path / "module")
    for other in (
        copy.deepcopy(small),
        pickle.loads(pickle.dumps(small)),
        RLModule.from_checkpoint(tmp_path / "module"),
    ):
        assert type(other) is type(small)
        torch.testing.assert_close(act(other), act(small), rtol=0, atol=0)


HIDDEN = """
import sys
from pathlib import Path

from ray import cloudpickle
from ray.rllib.core.rl_module.rl_module import RLModule


class Hiding:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, *rest):
        hidden = name.partition(".")[0] in ("prune_search", "tests", "tuners")
        return None if hidden else self.finder.find_spec(name, *rest)


sys.meta_path[:] = map(Hiding, sys.meta_path)
spec = Path(sys.argv[1], "spec.pkl").read_bytes()
for open_, given in (
    (RLModule.from_checkpoint, Path(sys.argv[1], "module")),
    (RLModule.from_checkpoint, Path(sys.argv[1], "mine")),
    (cloudpickle.loads, spec),
):
    try:
        open_(given)
        print("opened")
    except Exception as error:
        print(error)
"""


@pytest.mark.slow
def test_where_the_package_is_missing_it_is_named(tmp_path: Any) -> None:
    """Of a network, of one of a class of one's own, and of what an algorithm's checkpoint holds."""
    mine = ppo_spec()
    mine.module_class = MineToShrink
    for name, spec in (("module", ppo_spec()), ("mine", mine)):
        spec.build().save_to_path(tmp_path / name)
    (tmp_path / "spec.pkl").write_bytes(cloudpickle.dumps(ppo_spec()))
    command = [sys.executable, "-c", HIDDEN, str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    line = "the network {} opens only where the package {!r} is installed"
    shrunk = line.format("prune_search.modules.ShrunkPPOTorchRLModule", "prune-search")
    assert told == [shrunk, line.format("tests.test_modules.MineToShrink", "tests"), shrunk]


def test_building_draws_no_more_random_numbers_than_the_dense_network(
    dense_spec: RLModuleSpec,
) -> None:
    spec = small_spec(dense_spec)
    torch.manual_seed(0)
    dense_spec.build()
    expected = torch.rand(3)
    torch.manual_seed(0)
    spec.build()
    assert torch.equal(torch.rand(3), expected)


def ppo_spec(**model_config: Any) -> RLModuleSpec:
    return RLModuleSpec(
        module_class=ShrunkPPOTorchRLModule,
        observation_space=OBSERVATION,
        action_space=DISCRETE,
        model_config={"fcnet_hiddens": [WIDTH], "vf_share_layers": False, **model_config},
    )


def test_unknown_names_and_impossible_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no parameters \['encoder.typo.weight'\]"):
        ppo_spec(shapes={"encoder.typo.weight": (3, 4)}).build()
    with pytest.raises(ValueError, match="bias"):
        ppo_spec(shapes={"pi.net.mlp.0.weight": (2, WIDTH)}).build()


def test_shapes_may_be_lists_as_json_has_them() -> None:
    name = "encoder.actor_encoder.net.mlp.0"
    given = {f"{name}.weight": [7, 4], f"{name}.bias": [7], "pi.net.mlp.0.weight": [3, 7]}
    built = ppo_spec(shapes=given).build()
    assert shapes(built)["pi.net.mlp.0.weight"] == (3, 7)
    assert module_shapes(built)[f"{name}.weight"] == (7, 4)


def test_a_dataclass_has_no_shapes() -> None:
    built = ShrunkPPOTorchRLModule(
        observation_space=OBSERVATION,
        action_space=DISCRETE,
        model_config=DefaultModelConfig(fcnet_hiddens=[WIDTH]),
    )
    assert module_shapes(built) == {}


class Mine(DefaultPPOTorchRLModule):
    """A network class of a user's own."""


class MineToShrink(ShrunkModule, Mine):
    """The same with the mixin."""


def test_ones_own_class_needs_the_mixin() -> None:
    assert shrunk_class(MineToShrink) is MineToShrink
    assert shrunk_class(ShrunkPPOTorchRLModule) is ShrunkPPOTorchRLModule
    with pytest.raises(ValueError, match=r"Mine can't be built.*\(ShrunkModule, Mine\)"):
        shrunk_class(Mine)


class AllInOne(ShrunkModule, TorchRLModule):
    """The mixin, and what it is to shrink, in one class."""

    def setup(self) -> None:
        self.body = nn.Linear(4, WIDTH)
        self.head = nn.Linear(WIDTH, 3)


def test_ones_own_class_may_be_derived_from_the_mixin_itself() -> None:
    """Its `setup` stands in front of any of the mixin's, which must not be what resizes."""
    given = {"body.weight": (NARROW, 4), "body.bias": (NARROW,), "head.weight": (3, NARROW)}
    spaces = {"observation_space": OBSERVATION, "action_space": DISCRETE}
    spec = RLModuleSpec(module_class=AllInOne, **spaces, model_config={SHAPES: given})
    assert shapes(spec.build()) == {**given, "head.bias": (3,)}
