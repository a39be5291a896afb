"""Which env runner samples: the lean one wherever it can, or RLlib's."""

from __future__ import annotations

from typing import Any, Literal

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from prune_search.errors import UserError
from prune_search.rllib.randomness import random_state_kept
from prune_search.rllib.runners.lean import LeanEnvRunner
from prune_search.rllib.runners.replay import draws_lean, lighten_replay
from prune_search.rllib.runners.update import lighten, lightened
from prune_search.rllib.running import each_learner

Runner = Literal["auto", "lean", "rllib"]
"""What `resources.runner` may say."""


def set_runner(config: AlgorithmConfig, runner: Runner) -> None:
    """Gives a configuration the env runner that the experiment asks for.

    Raises:
        UserError: the lean one is asked for and can't sample.
    """
    why = _obstacle(config)
    if runner == "lean" and why:
        raise _refused(why)
    if runner != "rllib" and not why:
        config.env_runners(env_runner_cls=LeanEnvRunner)
    elif config.env_runner_cls is LeanEnvRunner:  # a checkpoint of ours had it
        config.env_runners(env_runner_cls=None)


def build(config: AlgorithmConfig) -> Algorithm:
    """RLlib's algorithm; where lean env runners sample, its learners update in less time too."""
    algorithm: Algorithm = config.build_algo()
    if config.env_runner_cls is LeanEnvRunner:
        lighten(algorithm)
        lighten_replay(algorithm)
    return algorithm


def check_lean(config: AlgorithmConfig) -> None:
    """Makes environments and network once, to see whether the lean env runner can sample.

    Raises:
        UserError: it can't.
    """
    config = config.copy(copy_frozen=False).env_runners(num_env_runners=0)
    with random_state_kept():  # RLlib's env runners seed the process that they are built in
        made = LeanEnvRunner(config=config)
    made.stop()
    if made.obstacle:
        raise _refused(made.obstacle)


def sampled_by(algorithm: Algorithm) -> str:
    """Who samples: `lean`, or `rllib: ` and why; empty where nothing is sampled."""
    config, group = algorithm.config, algorithm.env_runner_group
    if group is None or config is None or algorithm.offline_data is not None:
        return ""
    if why := _obstacle(config):
        return f"rllib: {why}"
    if config.env_runner_cls is not LeanEnvRunner:
        return "rllib: resources.runner says so"

    def obstacle(runner: EnvRunner) -> str | None:
        return runner.obstacle if runner.env is not None else None

    found: list[Any] = group.foreach_env_runner(obstacle)
    reasons = [reason for reason in found if reason is not None]
    return f"rllib: {reasons[0]}" if reasons and reasons[0] else "lean"


def updated_by(algorithm: Algorithm) -> str:
    """What updates its networks: `lean`, or `rllib`; with both, which part is whose.

    As in `lean update, rllib replay buffer`.
    """
    parts = {"update": all(each_learner(algorithm, lightened))}
    if algorithm.local_replay_buffer is not None:
        parts["replay buffer"] = draws_lean(algorithm)
    if len(set(parts.values())) == 1:
        return "lean" if parts["update"] else "rllib"
    return ", ".join(f"{'lean' if lean else 'rllib'} {part}" for part, lean in parts.items())


def _obstacle(config: AlgorithmConfig) -> str:
    """What can be told before anything is built."""
    if config.is_multi_agent:
        return "there are several agents"
    if config.is_offline:
        return "nothing is sampled, it learns from recorded episodes"
    if config.output:
        return "episodes are recorded (output)"
    if config.env_runner_cls not in (None, SingleAgentEnvRunner, LeanEnvRunner):
        return f"the checkpoint has its own, {config.env_runner_cls.__name__}"
    return ""


def _refused(why: str) -> UserError:
    return UserError(
        f"resources.runner: lean can't sample here: {why}; allowed are auto, which takes RLlib's"
        " there, and rllib"
    )
