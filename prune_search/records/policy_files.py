"""The files that hold a policy's weights: how large they are on disk. Imports no RLlib by itself.

RLlib writes each network into a folder of its own, and its weights into one file there, a pickle
of arrays: zeros, and in a checkpoint the critic, among them.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prune_search.errors import UserError, one_line
from prune_search.records.checkpoint import MODULES_PATH

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from ray.rllib.core.rl_module.rl_module import RLModule

WEIGHTS = "module_state.pkl"
"""The file's name, in the folder of a network."""
_CALLED = {  # what arrays by name are made by
    ("collections", "OrderedDict"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}


class _Arrays(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy.core.", "numpy._core.")  # its name before numpy 2
        if (module, name) not in _CALLED:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, which is no array")
        return super().find_class(module, name)


def arrays(algorithm: Path) -> dict[str, dict[str, NDArray[Any]]]:
    """The weights in the checkpoint of an algorithm, by ModuleID and name; runs no code of theirs.

    Raises:
        UserError: they are not here, or something else is.
    """
    found = {}
    for path in sorted((algorithm / MODULES_PATH).glob(f"*/{WEIGHTS}")):
        try:
            with path.open("rb") as stream:
                found[path.parent.name] = dict(_Arrays(stream).load())
        except Exception as error:  # a pickle that was harmed raises anything
            raise UserError(f"{path}: no weights by name: {one_line(error)}") from None
    if not found:
        raise UserError(f"{algorithm}: no checkpoint is here")
    return found


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
