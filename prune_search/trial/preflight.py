"""What can be known to be wrong before any training starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.env.multi_agent_env import MultiAgentEnv
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from torch import Tensor

from prune_search.errors import UserError, one_line
from prune_search.experiment.fields import as_choices, highest
from prune_search.experiment.schema import Experiment
from prune_search.experiment.trust import require_trust
from prune_search.modules import shrunk_class
from prune_search.records.models import BaselineRecord
from prune_search.rllib.algorithms import (
    MODULES_PATH,
    algorithm_config,
    checkpoint_config,
)
from prune_search.rllib.environments import make_environment, name_of, steps_of
from prune_search.rllib.evaluation.cost import policy_cost
from prune_search.rllib.networks import Network, full_name, networks
from prune_search.rllib.own_networks import check_own_network
from prune_search.rllib.policies import policy_mapping
from prune_search.rllib.recovery import moments
from prune_search.rllib.recovery.teacher import load_teacher
from prune_search.sparsity.masks import check_maskable
from prune_search.trial.network_preflight import (
    check_granularities,
    check_thresholds,
    layers_in_scope,
)


def check(experiment: Experiment) -> None:
    """Makes the environment and the networks once, and opens checkpoints where there are any.

    Raises:
        UserError: the first thing that would not work, by the name of its field.
    """
    modules = dense_modules(experiment)
    shapes = {name: tuple(value.shape) for name, value in named_weights(modules).items()}
    check_granularities(_networks(modules, experiment), shapes, experiment.pruning)
    checkpoint, pruning = experiment.baseline.checkpoint, experiment.pruning
    try:
        check_maskable(shapes)
    except ValueError as error:
        field = "baseline.checkpoint" if checkpoint else "algorithm.module"
        raise UserError(f"{field}: {one_line(error)}") from None
    if pruning.shrink and {"neuron", "filter"} & set(as_choices(pruning.granularity)):
        for module in modules.values():
            try:
                shrunk_class(type(module))
            except ValueError as error:
                raise UserError(
                    f"pruning.shrink: {one_line(error)}; or set it to false, to mask units only"
                ) from None
    _check_costs(modules, experiment)
    if checkpoint:
        _check_checkpoint(Path(checkpoint).expanduser(), experiment, modules)
    if pruning.teacher and highest(pruning.distillation) > 0:
        if Path(pruning.teacher).expanduser().exists():
            require_trust(experiment, "pruning.teacher")
        for module_id, module in modules.items():
            try:
                load_teacher(
                    Path(pruning.teacher), module.action_space, module.observation_space, module_id
                )
            except ValueError as error:
                raise UserError(f"pruning.{one_line(error)}") from None


def _check_costs(modules: dict[str, RLModule], experiment: Experiment) -> None:
    """A figure that the search goes by has to be known of every trial."""
    search = experiment.search
    limits = search.constraints.model_dump(exclude_none=True)
    named: dict[str, str] = dict.fromkeys(search.objectives, "search.objectives")
    named |= {name.removeprefix("max_"): f"search.constraints.{name}" for name in limits}
    if not {"macs", "latency_us"} & named.keys():
        return
    for figure, why in policy_cost(modules, timed=search.timed).missing.items():
        if figure in named:
            raise UserError(f"{named[figure]}: {figure} can't be had of these networks: {why}")


def prunable_layers(experiment: Experiment) -> tuple[str, ...]:
    """Names of the kernels that trials may prune."""
    return layers_in_scope(_networks(dense_modules(experiment), experiment), experiment.pruning)


def check_baseline(experiment: Experiment, baseline: BaselineRecord) -> None:
    """What only the dense weights can tell, before any trial begins.

    Raises:
        UserError: a threshold would remove a whole layer, or there are no weights to rewind to.
    """
    kept = Path(baseline.checkpoint).with_name(moments.WEIGHTS["early"]).is_file()
    if "early" in as_choices(experiment.pruning.rewind) and not kept:
        raise UserError(
            "pruning.rewind: early returns to the weights after baseline.early ="
            f" {experiment.baseline.early:g} of baseline.env_steps,"
            f" {experiment.baseline.env_steps:,}, and the baseline's training ended after"
            f" {baseline.env_steps:,}; make baseline.early smaller"
        )
    if "threshold" not in as_choices(experiment.pruning.criterion):
        return
    modules = dense_modules(experiment)
    for module_id, module in modules.items():
        source = Path(baseline.checkpoint) / MODULES_PATH / module_id
        module.set_state(RLModule.from_checkpoint(source).get_state())
    check_thresholds(_networks(modules, experiment), named_weights(modules), experiment.pruning)


def dense_modules(experiment: Experiment) -> dict[str, RLModule]:
    """The networks that the experiment describes, untrained and whole, by ModuleID.

    Raises:
        UserError: the environment can't be made, or RLlib can't build networks for it.
    """
    config = algorithm_config(experiment, seed=0)
    spaces = _spaces(experiment, config)
    for observation, action in spaces.values():
        _check_spaces(observation, action, trained=experiment.baseline.checkpoint is not None)
    first = next(iter(spaces.values()))
    _check_model(experiment, first[0])
    try:
        spec = config.get_multi_rl_module_spec(spaces={"__env_single__": first, **spaces})
        modules = spec.build()
    except Exception as error:
        raise UserError(
            f"{'algorithm.module' if experiment.algorithm.module else 'algorithm.model'}: RLlib"
            f" cannot build a network for observations {first[0]} and actions {first[1]}:"
            f" {one_line(error)}"
        ) from None
    found = {name: modules[name].unwrapped() for name in spaces}
    if experiment.algorithm.module:
        for module in found.values():
            check_own_network(experiment.algorithm.module, module)
    return found


def _spaces(
    experiment: Experiment, config: AlgorithmConfig
) -> dict[str, tuple[gym.Space, gym.Space]]:
    """What each policy's network sees and gives, by ModuleID."""
    environment = make_environment(experiment.environment, config.env)
    try:
        _check_wrappers(environment)
        spaces = policy_spaces(environment, experiment)
    finally:
        environment.close()
    if config._env_to_module_connector is None:
        return spaces
    # A checkpoint's own connectors: what they make of observations, only they can tell.
    config = config.copy(copy_frozen=False)
    config.env_runners(num_env_runners=0, num_envs_per_env_runner=1)
    runner_class = MultiAgentEnvRunner if config.is_multi_agent else SingleAgentEnvRunner
    try:
        runner = runner_class(config=config)
    except Exception as error:
        raise UserError(
            "baseline.checkpoint: its connectors, or its network behind them, can't be built for"
            f" {experiment.environment.id}: {type(error).__name__}: {one_line(error)}"
        ) from None
    try:
        seen = runner.get_spaces()
        return {module_id: seen[module_id] for module_id in spaces}
    finally:
        runner.stop()


def _check_wrappers(environment: Any) -> None:
    """Refuses wrappers that learn, as gymnasium's running means do: what they know is lost."""
    while isinstance(environment, gym.Wrapper):
        if hasattr(type(environment), "update_running_mean"):
            raise UserError(
                f"environment: {type(environment).__name__} learns from what it sees, in each"
                " environment on its own, and no checkpoint holds it, so that an evaluation would"
                " measure another policy; scale by constants (RescaleObservation,"
                " TransformReward), or start from a checkpoint with RLlib's MeanStdFilter"
            )
        environment = environment.env


def policy_spaces(
    environment: Any, experiment: Experiment
) -> dict[str, tuple[gym.Space, gym.Space]]:
    """Observation and action space of each policy, by ModuleID.

    Raises:
        UserError: `environment.policies` does not fit the environment's agents.
    """
    policies = experiment.environment.policies
    agents = isinstance(environment, MultiAgentEnv)
    if agents != (policies is not None):
        have = "several agents" if agents else "one agent"
        raise UserError(
            f"environment.policies: {experiment.environment.id!r} is an environment of {have};"
            f" policies must {'be given' if agents else 'be absent'}, got {policies}"
        )
    if policies is None:
        return {DEFAULT_MODULE_ID: (environment.observation_space, environment.action_space)}
    known = list(environment.possible_agents)
    acts_for = policy_mapping(policies)
    try:
        owner = {agent: acts_for(agent) for agent in known}
    except ValueError as error:
        raise UserError(str(error)) from None
    found = {}
    for name in policies:
        agent = next((agent for agent in known if owner[agent] == name), None)
        if agent is None:
            raise UserError(
                f"environment.policies: {name!r} acts for no agent; there are {known}, and the"
                f" policies are {policies}"
            )
        found[name] = (
            environment.get_observation_space(agent),
            environment.get_action_space(agent),
        )
    return found


def _networks(modules: dict[str, RLModule], experiment: Experiment) -> dict[str, Network]:
    """All networks, by the names that trials use."""
    units = bool({"neuron", "filter"} & set(as_choices(experiment.pruning.granularity)))
    found: dict[str, Network] = {}
    for module_id, module in modules.items():
        try:
            own = networks(module, units=units)
        except ValueError as error:
            raise UserError(f"pruning.granularity: {one_line(error)}") from None
        if module_id == DEFAULT_MODULE_ID:
            return own
        found |= {(other := network.of(module_id)).name: other for network in own.values()}
    return found


def named_weights(modules: dict[str, RLModule]) -> dict[str, Tensor]:
    """All parameters, by the names that trials use."""
    return {
        name if module_id == DEFAULT_MODULE_ID else full_name(module_id, name): value.detach()
        for module_id, module in modules.items()
        for name, value in module.named_parameters()
    }


def _check_spaces(observation: gym.Space, action: gym.Space, *, trained: bool) -> None:
    """What comes out of wrappers and conversion, and is still nothing that networks take.

    Args:
        observation: what a network sees.
        action: what the environment takes.
        trained: the network comes from a checkpoint, and takes numbers as it was trained to.
    """
    as_they_are = "of an environment of several agents, or with a checkpoint, they are taken as"
    if not (isinstance(observation, spaces.Box) and len(observation.shape) in (1, 3)):
        raise UserError(
            "environment: observations must be a Box of rank 1 (vectors) or 3 (images), got"
            f" {observation}; {as_they_are} they are: wrap the environment (environment.wrappers)"
        )
    if not isinstance(action, spaces.Discrete | spaces.Box | spaces.MultiDiscrete):
        raise UserError(
            f"environment: actions must be Discrete, MultiDiscrete or Box, got {action}"
        )
    if trained:
        return
    if not np.issubdtype(observation.dtype, np.floating):
        raise UserError(
            f"environment: observations must be floats, got {observation}; {as_they_are} they are:"
            " cast them in the environment"
        )
    if isinstance(action, spaces.Box) and not np.issubdtype(action.dtype, np.floating):
        raise UserError(
            f"environment: actions that are a Box must be floats, got {action}; RLlib's policies"
            " are Gaussian there: make them MultiDiscrete (environment.wrappers)"
        )
    if not isinstance(action, spaces.Box) and np.any(action.start):
        raise UserError(
            f"environment: actions must count from 0, as those of RLlib's policies do, got"
            f" {action}; {as_they_are} they are: shift them in the environment"
        )


def _check_model(experiment: Experiment, observation: gym.Space) -> None:
    """Raises UserError for convolutions that nobody would see are not there."""
    if experiment.algorithm.model.get("conv_filters") and len(observation.shape) != 3:
        raise UserError(
            "algorithm.model.conv_filters: the network sees vectors, which have no use for them:"
            f" {observation}; where the environment gives images without channels, add them in"
            " environment.wrappers by gymnasium.wrappers.ReshapeObservation"
        )


def _check_checkpoint(path: Path, experiment: Experiment, modules: dict[str, RLModule]) -> None:
    config: AlgorithmConfig = checkpoint_config(experiment)
    name = str(config.algo_class.__name__) if config.algo_class else type(config).__name__
    if name != experiment.algorithm.name:
        raise UserError(
            f"baseline.checkpoint: {str(path)!r} is of algorithm {name}, and algorithm.name is"
            f" {experiment.algorithm.name}"
        )
    theirs, ours = name_of(config.env), name_of(experiment.environment.id)
    if theirs is not None and theirs != ours:  # a class of theirs has no id
        raise UserError(
            f"baseline.checkpoint: {str(path)!r} is of environment {theirs}, and environment.id is"
            f" {experiment.environment.id}"
        )
    wrapped = steps_of(config.env)
    if wrapped and wrapped != steps_of(algorithm_config(experiment, seed=0).env):
        names = ", ".join(step["name"] for step in wrapped)
        raise UserError(
            f"environment.wrappers: {str(path)!r} was trained with {names}; give the same, with"
            f" the same arguments: {wrapped}"
        )
    for module_id, module in modules.items():
        _check_network(path, module_id, module)


def _check_network(path: Path, module_id: str, module: RLModule) -> None:
    try:
        saved = RLModule.from_checkpoint(path / MODULES_PATH / module_id)
    except Exception as error:
        raise UserError(
            f"baseline.checkpoint: the network in {str(path)!r} cannot be read: {one_line(error)}"
        ) from None
    ours = {name: tuple(value.shape) for name, value in module.named_parameters()}
    given = {name: tuple(value.shape) for name, value in saved.named_parameters()}
    different = [name for name in ours if name in given and given[name] != ours[name]]
    if different or not set(ours) <= set(given):
        name = (different or sorted(set(ours) - set(given)))[0]
        raise UserError(
            f"baseline.checkpoint: {str(path)!r} does not fit: {name} has shape {given.get(name)},"
            f" and environment and algorithm.model make it {ours[name]}"
        )
