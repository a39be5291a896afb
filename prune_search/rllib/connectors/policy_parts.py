"""Parts of RLlib's policies that have no public names: what a description of them reads."""

from __future__ import annotations

from typing import Any


def of_one_agent(connector: Any) -> bool:
    """Whether a connector that knows several agents was made for one."""
    return not connector._multi_agent


def removes_keys(connector: Any) -> bool:
    """Whether a connector that flattens observations leaves some parts of them out."""
    return bool(connector._keys_to_remove)


def observation_filter(connector: Any) -> Any:
    """The filter of a mean-std connector of one agent, with what it has seen."""
    return connector._filters[None]
