"""A smaller network inside a running algorithm of RLlib's.

RLlib has no call for it: states of other shapes are refused, optimizers hold on to parameters, and
configurations rebuild the dense network. So everything is changed in place, and nothing else is
touched: replay buffers, episodes, metrics, counters, schedules, PPO's KL coefficient, SAC's
temperature.

    sizes = layout(parameters, units, masks)
    shrink(algorithm, {DEFAULT_MODULE_ID: sizes})
    learner.attach(algorithm, ...)  # masks of the new shapes

Checkpoints that the algorithm saves from then on are ordinary ones: ``Algorithm.from_checkpoint``
builds the smaller network, in any process that can import ``prune_search.modules``. An algorithm
or evaluator that is built from a configuration has given shapes through `shaped`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import ray
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.apis import TargetNetworkAPI
from ray.rllib.core.rl_module.rl_module import RLModule, RLModuleSpec
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchDDPRLModule
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO
from torch import Tensor

from prune_search.modules import ShrunkModule
from prune_search.rllib.networks.shapes import reshape, respecify, respecify_all, shaped
from prune_search.rllib.pausing import paused
from prune_search.rllib.running import each_learner, unwrapped
from prune_search.sparsity.masks import Handle
from prune_search.sparsity.named import Shapes
from prune_search.sparsity.structure.resizing import Layout, carry_, shrink_

__all__ = ["shaped", "shrink"]

_OLD_CONFIGS = "_prune_search_old_configs"


def shrink(algorithm: Algorithm, steps: Mapping[str, Layout]) -> dict[str, Layout]:
    """Takes units out of the networks of a running algorithm, in place.

    Learners (all of them, distributed ones are wrapped anew), target networks, optimizers with
    their moments, every env runner and every configuration that something may be rebuilt from.
    A target network loses what the network that it follows loses. Masks on the learners are
    of the old shapes: ``masks.attach`` must be called again, and until then nothing is masked.

    Call it between two calls of ``train``.

    Args:
        algorithm: built; on RLlib's new API stack.
        steps: by ModuleID, what goes; dense shapes are those that the network has now.

    Returns:
        By ModuleID, all that went: the layout of the whole network, targets included.

    Raises:
        ValueError: a layout doesn't fit its network, a network's class or a layer can't be
            resized, or env runners would come back dense when RLlib restarts them. Nothing has
            changed then.
        RuntimeError: a learner is lost.
    """
    if getattr(algorithm, "offline_eval_runner_group", None) is not None:
        raise ValueError("algorithms with offline evaluation runners can't be shrunk")
    groups = [algorithm.env_runner_group, algorithm.eval_env_runner_group]
    groups = [group for group in groups if group is not None]
    for group in groups:
        _check_restarts(group, steps)

    def check(learner: Any) -> dict[str, Layout]:
        with paused(learner):
            return _Change(learner, steps).layouts

    def change(learner: Any) -> tuple[Any, int]:
        with paused(learner):
            _Change(learner, steps).apply()
            return _inference_state(learner)

    layouts = each_learner(algorithm, check)[0]
    shapes = {module_id: whole.shapes for module_id, whole in layouts.items()}
    state, number = each_learner(algorithm, change)[0]
    _reshape_algorithm(algorithm, shapes)
    for group in groups:
        _reshape_runners(group, shapes, {COMPONENT_RL_MODULE: state, WEIGHTS_SEQ_NO: number})
    return layouts


class _Change:
    """One learner's change, made up as a whole before any of it is carried out."""

    def __init__(self, learner: Any, steps: Mapping[str, Layout]) -> None:
        self._learner = learner
        unknown = sorted(steps.keys() - learner.module.keys())
        if unknown:
            raise ValueError(f"no networks {unknown}; there are {sorted(learner.module.keys())}")
        self._modules: dict[str, tuple[RLModule, RLModule, Layout]] = {}
        for module_id, step in steps.items():
            old = unwrapped(learner, module_id)
            whole = _with_targets(old, step)
            self._modules[module_id] = (old, _smaller(old, whole), whole)

    @property
    def layouts(self) -> dict[str, Layout]:
        """The whole networks', targets included, by ModuleID."""
        return {module_id: whole for module_id, (_, _, whole) in self._modules.items()}

    def apply(self) -> None:
        for module_id, (old, new, whole) in self._modules.items():
            self._replace(module_id, old, new)
            self._carry(old, new, whole)
        learner = self._learner
        shapes = {module_id: whole.shapes for module_id, whole in self.layouts.items()}
        reshape(learner.config, shapes)
        respecify_all(learner._module_spec, shapes)
        learner._weights_seq_no += 1  # env runners ignore weights of a number that they have seen
        learner._log_trainable_parameters()

    def _replace(self, module_id: str, old: RLModule, new: RLModule) -> None:
        learner = self._learner
        held = new
        if learner.module[module_id] is not old:
            held = TorchDDPRLModule(new, **learner.config.torch_ddp_kwargs)
        learner.module.add_module(module_id, held, override=True)
        # RLlib notes the wrapper's class, which no checkpoint can be loaded by.
        learner.module.rl_module_specs[module_id] = RLModuleSpec.from_module(new)

    def _carry(self, old: RLModule, new: RLModule, whole: Layout) -> None:
        learner = self._learner
        before, after = dict(old.named_parameters()), dict(new.named_parameters())
        replaced = {
            learner.get_param_ref(param): learner.get_param_ref(after[name])
            for name, param in before.items()
        }
        for optimizer, references in learner._optimizer_parameters.items():
            _remove_masks(optimizer, replaced)
            carry_(optimizer, before, after, whole)
            references[:] = [replaced.get(ref, ref) for ref in references]
        values = {learner.get_param_ref(param): param for param in after.values()}
        learner._params = {
            replaced.get(ref, ref): values.get(replaced.get(ref), param)
            for ref, param in learner._params.items()
        }
        for param in before.values():
            param.grad = None


def _with_targets(module: RLModule, step: Layout) -> Layout:
    """The layout of the whole network, in which targets lose what their main networks lose."""
    params: dict[str, Tensor] = dict(module.named_parameters())
    for name, shape in step.dense.items():
        found = tuple(params[name].shape) if name in params else None
        if found != shape:
            raise ValueError(f"the layout is for {name} of shape {shape}; the network's is {found}")
    kept = dict(step.kept)
    if isinstance(module, TargetNetworkAPI):
        names = {id(param): name for name, param in params.items()}
        for main, target in module.get_target_network_pairs():
            pairs = zip(main.named_parameters(), target.named_parameters(), strict=True)
            for (_, followed), (_, follower) in pairs:
                source, name = names[id(followed)], names[id(follower)]
                kept.pop(name, None)
                if source in kept:
                    kept[name] = kept[source]
    return Layout(Layout.full(params).dense, kept)


def _smaller(module: RLModule, whole: Layout) -> RLModule:
    """The network as a checkpoint would build it, with the kept values in it."""
    small = copy.deepcopy(module)
    shrink_(small, whole)
    spec = RLModuleSpec.from_module(module)
    respecify(spec, whole.shapes)
    with torch.random.fork_rng(devices=[]):
        built = spec.build()
    if isinstance(built, TargetNetworkAPI):
        built.make_target_networks()
    device = next(module.parameters()).device
    built.to(device).train(module.training)
    built.load_state_dict(small.state_dict(), strict=True)
    for new, old in zip(built.parameters(), module.parameters(), strict=True):
        new.requires_grad_(old.requires_grad)
    return built


def _remove_masks(optimizer: torch.optim.Optimizer, replaced: Mapping[Any, Any]) -> None:
    """Ends what masks do to parameters that are no longer trained."""
    for hook in list(optimizer._optimizer_step_post_hooks.values()):
        handle = getattr(hook, "__self__", None)
        if isinstance(handle, Handle) and any(param in replaced for param in handle.parameters):
            handle.remove()


def _inference_state(learner: Any) -> tuple[Any, int]:
    """Weights for env runners, in Ray's object store, and their sequence number."""
    state = learner.module.get_state(inference_only=True)
    return ray.put(state), learner._weights_seq_no


def _reshape_algorithm(algorithm: Algorithm, shapes: Mapping[str, Shapes]) -> None:
    """Every configuration that the driver builds something from."""
    group, offline = algorithm.learner_group, algorithm.offline_data
    configs = [algorithm.config, algorithm.evaluation_config, group.config]
    configs += [offline.config] if offline is not None else []
    for config in {id(config): config for config in configs if config is not None}.values():
        reshape(config, shapes)
    for spec in (group._module_spec, getattr(offline, "module_spec", None)):
        respecify_all(spec, shapes)


def _reshape_runners(
    group: EnvRunnerGroup, shapes: Mapping[str, Shapes], state: dict[str, Any]
) -> None:
    """New networks on every env runner; episodes go on."""

    def run(runner: EnvRunner) -> Exception | None:
        try:
            reshape(runner.config, shapes)
            with torch.random.fork_rng(devices=[]):
                runner.make_module()
            runner.set_state(state)
        except Exception as error:  # RLlib would drop it, and sample with a random network
            return error
        return None

    for config in {id(c): c for c in (group._remote_config, group._local_config)}.values():
        reshape(config, shapes)
    # For runners that are added; Ray starts the others again from the old one, while it exists.
    vars(group).setdefault(_OLD_CONFIGS, []).append(group._remote_config_obj_ref)
    group._remote_config_obj_ref = ray.put(group._remote_config)
    for error in group.foreach_env_runner(run):
        if error is not None:
            raise error


def _check_restarts(group: EnvRunnerGroup, steps: Mapping[str, Layout]) -> None:
    """Raises ValueError if an actor that Ray starts again could not follow the new shapes.

    Ray repeats the constructor with its first arguments, which nobody can change.
    """
    if not group.num_remote_env_runners() or not group._remote_args["max_restarts"]:
        return
    config: AlgorithmConfig = ray.get(group._remote_config_obj_ref)
    spec = config.rl_module_spec
    if (
        set(steps) == {DEFAULT_MODULE_ID}
        and isinstance(spec, RLModuleSpec)
        and issubclass(spec.module_class, ShrunkModule)
    ):
        return
    raise ValueError(
        "env runners that RLlib restarts would come back with the dense network: build the"
        " algorithm from shaped(config, {DEFAULT_MODULE_ID: {}}), or set"
        " config.fault_tolerance(restart_failed_env_runners=False), which networks of several"
        " agents need"
    )
