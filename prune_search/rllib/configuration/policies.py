"""Several policies in one environment: which agents each of them acts for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig


def set_policies(config: AlgorithmConfig, policies: Mapping[str, Sequence[str]] | None) -> None:
    """Gives a configuration one network for each policy.

    Args:
        policies: for each policy the agents that it acts for, as ids or patterns; None for an
            environment of one agent, and for a configuration that has its policies already.
    """
    if policies is not None:
        config.multi_agent(policies=set(policies), policy_mapping_fn=policy_mapping(policies))


def policy_mapping(policies: Mapping[str, Sequence[str]]) -> Callable[..., str]:
    """RLlib's `policy_mapping_fn`: the first policy that names an agent acts for it.

    The function is local, so that checkpoints carry it with them and open without this package.

    Args:
        policies: for each policy the agents that it acts for, as ids or patterns (`*`, `?`).
    """
    table = {name: list(patterns) for name, patterns in policies.items()}

    def policy_of(agent_id: Any, *_: Any, **__: Any) -> str:
        from fnmatch import fnmatchcase

        for name, patterns in table.items():
            if any(fnmatchcase(str(agent_id), pattern) for pattern in patterns):
                return name
        raise ValueError(
            f"environment.policies: no policy acts for agent {agent_id!r}; they name {table}"
        )

    return policy_of
