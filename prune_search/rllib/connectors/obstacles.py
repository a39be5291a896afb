"""Where all of RLlib's env runner is needed, and where lean loops give the same.

Those are `evaluation.lean`, which plays episodes, and `runners.lean`, which samples. Each function
returns the reason in words, for records and tests, or an empty text.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
from gymnasium.wrappers.vector import DictInfoToList
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.connectors import env_to_module, module_to_env
from ray.rllib.connectors.connector_pipeline_v2 import ConnectorPipelineV2
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.utils import force_list

INPUT = [
    env_to_module.AddObservationsFromEpisodesToBatch,
    env_to_module.AddTimeDimToBatchAndZeroPad,
    env_to_module.AddStatesFromEpisodesToBatch,
    env_to_module.BatchIndividualItems,
    env_to_module.NumpyToTensor,
]
OUTPUT = [
    module_to_env.GetActions,
    module_to_env.TensorToNumpy,
    module_to_env.UnBatchToIndividualItems,
    module_to_env.RemoveSingleTsTimeRankFromBatch,
    module_to_env.NormalizeAndClipActions,
    module_to_env.ListifyDataForVectorEnv,
]
_PIPELINES = (
    ConnectorPipelineV2,
    env_to_module.EnvToModulePipeline,
    module_to_env.ModuleToEnvPipeline,
)
_OF_EPISODES = ("on_episode_created", "on_episode_start", "on_episode_step", "on_episode_end")
_OF_SAMPLES = (*_OF_EPISODES, "on_sample_end")
_ACTIONS = (
    gym.spaces.Box,
    gym.spaces.Discrete,
    gym.spaces.MultiDiscrete,
    gym.spaces.MultiBinary,
)
# What they give depends on all the steps before an episode, those of episodes past the end too.
_LASTING = (gym.wrappers.NormalizeObservation, gym.wrappers.NormalizeReward)


def connectors(pipeline: ConnectorPipelineV2) -> Iterator[Any]:
    """All connectors of a pipeline, those of pipelines within it too."""
    for connector in pipeline.connectors:
        if isinstance(connector, ConnectorPipelineV2):
            yield from connectors(connector)
        else:
            yield connector


def freeze(pipeline: ConnectorPipelineV2) -> None:
    """Filters learn nothing from what they see from now on."""
    for connector in connectors(pipeline):
        if hasattr(connector, "_update_stats"):  # MeanStdFilter's switch
            connector._update_stats = False


def is_filter(connector: Any) -> bool:
    """Whether it is RLlib's observation filter of one agent, which takes rows of observations."""
    return type(connector) is env_to_module.MeanStdFilter and not connector._multi_agent


def of_surroundings(runner: Any) -> str:
    """Why not even random actions can be played by the lean loop."""
    if type(runner) is not SingleAgentEnvRunner:
        return "there are several agents"
    return (
        _of_environments(runner.env)
        or _of_configuration(runner.config, _OF_SAMPLES)
        or _of_pipelines(runner)
    )


def of_sampling(runner: SingleAgentEnvRunner) -> str:
    """Why an env runner can't sample for training without RLlib's connectors."""
    if not runner.config.episodes_to_numpy:
        return "episodes are wanted as lists (episodes_to_numpy)"
    return (
        _of_configuration(runner.config, _OF_EPISODES)
        or _of_pipelines(runner)
        or of_network(runner)
    )


def _of_environments(vector: gym.vector.VectorEnv) -> str:
    if type(vector) is not DictInfoToList or type(vector.env) is not gym.vector.SyncVectorEnv:
        return f"environments are stepped together by {type(vector.unwrapped).__name__}"
    layer = vector.env.envs[0]
    while isinstance(layer, gym.Wrapper):
        if isinstance(layer, _LASTING):
            return f"{type(layer).__name__} learns from one episode for the next"
        layer = layer.env
    return ""


def _of_configuration(config: AlgorithmConfig, hooks: tuple[str, ...]) -> str:
    if config.restart_failed_sub_environments:
        return "environments that fail are made anew (restart_failed_sub_environments)"
    for hook in hooks:
        for kind in force_list(config.callbacks_class):
            if getattr(kind, hook, None) is not getattr(RLlibCallback, hook):
                return f"{getattr(kind, '__name__', kind)}.{hook} watches episodes"
        if getattr(config, f"callbacks_{hook}") is not None:
            return f"callbacks_{hook} watches episodes"
    return ""


def _of_pipelines(runner: SingleAgentEnvRunner) -> str:
    return _of_connectors(runner._env_to_module, INPUT) or _of_connectors(
        runner._module_to_env, OUTPUT
    )


def _of_connectors(pipeline: Any, default: list[type]) -> str:
    if type(pipeline) not in _PIPELINES:
        return f"connectors are in a {type(pipeline).__name__}"
    found = list(connectors(pipeline))
    while default is INPUT and found and is_filter(found[0]):
        del found[0]
    kinds = [type(connector) for connector in found]
    if kinds == default:
        return ""
    others = [kind.__name__ for kind in kinds if kind not in default]
    return f"connectors are not RLlib's default ones: {', '.join(others) or 'some are missing'}"


def of_network(runner: SingleAgentEnvRunner) -> str:
    """Why a network can't be asked for many environments' actions by arrays alone."""
    module, vector = runner.module, runner.env
    if module is None:
        return "there is no network"
    if module.is_stateful():
        return "the network has a state (it is recurrent)"
    if not isinstance(vector.single_observation_space, gym.spaces.Box):
        return f"observations are {type(vector.single_observation_space).__name__}, not Box"
    if not isinstance(vector.single_action_space, _ACTIONS):
        return f"actions are {type(vector.single_action_space).__name__}"
    return ""


def of_policy(runner: SingleAgentEnvRunner, sampled: bool) -> str:
    """Why a network's actions can't be played by the lean loop.

    Args:
        runner: one that `of_surroundings` says nothing about.
        sampled: whether actions are sampled, not greedy.
    """
    module = runner.module
    if found := of_network(runner):
        return found
    if sampled and "t" in inspect.signature(module._forward_exploration).parameters:
        # How many steps RLlib has counted by then depends on episodes that are not played here.
        schedule = getattr(module, "epsilon_schedule", None)
        if schedule is None:
            return "how much it explores depends on the steps of episodes past the end"
        steps = runner.num_env_steps_sampled_lifetime
        if schedule.use_schedule and steps < schedule._schedule.endpoints[-1][0]:
            return f"epsilon still changes after {steps:,} env steps"
    return ""
