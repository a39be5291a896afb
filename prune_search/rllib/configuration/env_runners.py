"""RLlib's settings of env runners that the file gives, and those that it must give elsewhere."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from prune_search.errors import UserError, check_known, one_line, shown
from prune_search.rllib.configuration.offline import OFFLINE
from prune_search.rllib.connectors.normalising import filtering

# Settings that are given elsewhere in the file, or decided here: name to where, or why.
_OWNED = {
    "num_env_runners": "set resources.env_runners",
    "num_envs_per_env_runner": "set resources.envs_per_env_runner",
    "env_to_module_connector": "it is code: name wrappers in environment.wrappers, or give a"
    " baseline.checkpoint that has connectors",
    "module_to_env_connector": "it is code: give a baseline.checkpoint that has connectors",
    "env_runner_cls": "set resources.runner",
    "create_local_env_runner": "masks and evaluation need the one that there is",
    "create_env_on_local_worker": "evaluation decides it",
    "explore": "training explores, and evaluation.actions says how policies are measured",
}
# Of RLlib's old stack: accepted by RLlib, and without effect.
_OLD = frozenset(
    {
        "use_worker_filter_stats",
        "update_worker_filter_stats",
        "exploration_config",
        "sample_collector",
        "remote_worker_envs",
        "remote_env_batch_wait_ms",
        "preprocessor_pref",
        "enable_tf1_exec_eagerly",
        "sampler_perf_stats_ema_coef",
    }
)
# RLlib's new stack ignores this setting of the old one, and has a connector in its place.
_FILTER, _NO_FILTER, _MEAN_STD = "observation_filter", "NoFilter", "MeanStdFilter"
_CLIP = 10.0  # what filtered observations are cut at: the connector's default
# Arguments of AlgorithmConfig.environment that say how runners treat actions and rewards.
_OF_ENVIRONMENT = frozenset({"normalize_actions", "clip_actions", "clip_rewards"})


def set_env_runners(
    config: AlgorithmConfig, settings: Mapping[str, Any], *, taken_over: bool, agents: bool
) -> None:
    """Gives a configuration what `algorithm.env_runners` holds.

    Args:
        config: is changed.
        settings: by name.
        taken_over: it is a checkpoint's.
        agents: the environment is one of several agents.

    Raises:
        UserError: a setting that RLlib does not know, ignores or refuses, or that another field of
            the file owns.
    """
    known = _known() | _OF_ENVIRONMENT | {_FILTER}
    for name in settings:
        if name in _OWNED:
            raise UserError(f"algorithm.env_runners.{name}: can't be set here; {_OWNED[name]}")
        check_known("algorithm.env_runners", name, known)
    mode = str(settings.get("gym_env_vectorize_mode", "")).lower()
    if "vector_entry_point" in mode and not isinstance(config.env, str):
        raise UserError(
            "algorithm.env_runners.gym_env_vectorize_mode: vector_entry_point takes the"
            " environment's own vector form, which environment.wrappers, and what converts its"
            " observations and actions, can't wrap; allowed are sync and async"
        )
    _set_filter(config, settings.get(_FILTER, _NO_FILTER), taken_over=taken_over, agents=agents)
    others = settings.keys() - _OF_ENVIRONMENT - {_FILTER}
    try:
        config.environment(**{key: settings[key] for key in settings if key in _OF_ENVIRONMENT})
        config.env_runners(**{key: settings[key] for key in settings if key in others})
    except (TypeError, AttributeError, ValueError) as error:
        raise UserError(f"algorithm.env_runners: {one_line(error)}") from None


def _set_filter(config: AlgorithmConfig, name: Any, *, taken_over: bool, agents: bool) -> None:
    """Lets networks see observations less their running mean, over their running deviation."""
    field = f"algorithm.env_runners.{_FILTER}"
    if name not in (_NO_FILTER, _MEAN_STD):
        raise UserError(f"{field}: must be {_MEAN_STD} or {_NO_FILTER}, got {shown(name)}")
    if name == _NO_FILTER:
        return
    if taken_over:
        raise UserError(
            f"{field}: a baseline.checkpoint comes with its own connectors, and its network has"
            " learned what they give; remove it"
        )
    if isinstance(config, OFFLINE):
        raise UserError(f"{field}: recorded episodes are read as they are; remove it")
    config.env_runners(env_to_module_connector=filtering(_CLIP, agents=agents))


def _known() -> frozenset[str]:
    """Names that RLlib heeds: those of its new stack that are not deprecated."""
    parameters = inspect.signature(AlgorithmConfig.env_runners).parameters
    deprecated = parameters["num_rollout_workers"].default
    current = {name for name, each in parameters.items() if each.default is not deprecated}
    return frozenset(current - {"self"} - _OWNED.keys() - _OLD)
