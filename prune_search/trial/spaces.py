"""What a task shows and takes, and whether networks and pruning can serve it."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.env.multi_agent_env import MultiAgentEnv
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from prune_search.errors import UserError, one_line
from prune_search.experiment.schema import Experiment
from prune_search.rllib.configuration.algorithms import own_connectors
from prune_search.rllib.configuration.environments import make_environment, unconverted
from prune_search.rllib.configuration.policies import policy_mapping
from prune_search.trial.environment_preflight import try_out


def spaces_of(
    experiment: Experiment, config: AlgorithmConfig, *, tried: bool = False
) -> dict[str, tuple[gym.Space, gym.Space]]:
    """What each policy's network sees and gives, by ModuleID.

    Args:
        experiment: with the environment, which is made.
        config: RLlib's, of the experiment.
        tried: whether the environment is stepped as well; see `environment_preflight.try_out`.

    Raises:
        UserError: the environment can't be made, does not fit the policies, or fails in its steps.
    """
    environment = make_environment(experiment.environment, config.env)
    try:
        _check_wrappers(environment)
        spaces = policy_spaces(environment, experiment)
        if tried:
            try_out(unconverted(environment, experiment.environment, config.env))
    finally:
        environment.close()
    if experiment.baseline.checkpoint is None or not own_connectors(config):
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
                " TransformReward), or set algorithm.env_runners.observation_filter: MeanStdFilter"
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


def check_spaces(observation: gym.Space, action: gym.Space, *, trained: bool) -> None:
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
