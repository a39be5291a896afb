"""The files that hold a policy's weights: how large they are on disk. Imports no RLlib by itself.

RLlib writes each network into a folder of its own, and its weights into one file there, a pickle
of arrays: zeros, and in a checkpoint the critic, among them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from prune_search.records.checkpoint import MODULES_PATH

if TYPE_CHECKING:
    from ray.rllib.core.rl_module.rl_module import RLModule

WEIGHTS = "module_state.pkl"
"""The file's name, in the folder of a network."""


def stored_bytes(algorithm: Path) -> int:
    """Bytes of the policy's files in the checkpoint of an algorithm; 0 where it isn't here."""
    return file_bytes(algorithm / MODULES_PATH)


def file_bytes(networks: Path) -> int:
    """Bytes of the files of all networks in a folder that has a folder of each, by ModuleID."""
    return sum(path.stat().st_size for path in networks.glob(f"*/{WEIGHTS}"))


def bytes_to_write(networks: Iterable[RLModule]) -> int:
    """What `file_bytes` will be where inference-only networks are saved."""
    from ray import cloudpickle

    states = (network.get_state(inference_only=True) for network in networks)
    return sum(len(cloudpickle.dumps(state)) for state in states)
