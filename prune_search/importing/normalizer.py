"""Statistics of Stable-Baselines3's VecNormalize, read from its pickle without running it.

Classes that the pickle names are not imported: objects of them are empty shells that keep their
attributes. Arrays alone are made.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prune_search.errors import one_line
from prune_search.importing.source import refused

_CALLED = {  # what numpy's arrays and numbers are made by
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}


@dataclass(frozen=True, eq=False)
class Normalizer:
    """(observation - mean) / sqrt(variance + epsilon), cut at -clip and clip."""

    mean: NDArray[np.float64]
    """[*observation_shape]."""
    variance: NDArray[np.float64]
    epsilon: float
    clip: float
    count: int
    """Observations that it has seen."""
    of_rewards: bool
    """Whether rewards were scaled as well."""

    @property
    def deviation(self) -> NDArray[np.float64]:
        """What observations are divided by."""
        return np.sqrt(self.variance + self.epsilon)

    def __call__(self, observations: Tensor) -> Tensor:
        mean, scale = torch.as_tensor(self.mean), torch.as_tensor(self.deviation)
        return ((observations.double() - mean) / scale).clamp(-self.clip, self.clip).float()


class _Shell:
    """Stands for an object of any class."""

    def __new__(cls, *_: Any, **__: Any) -> _Shell:
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy.core.", "numpy._core.")  # its name before numpy 2
        if (module, name) in _CALLED:
            return super().find_class(module, name)
        return _Shell


def read_normalizer(path: Path) -> Normalizer:
    """What `VecNormalize.save` has written.

    Raises:
        UserError: it can't be read, or normalises no vectors.
    """
    try:
        with path.open("rb") as stream:
            kept = vars(_Reader(stream).load())
        statistics = vars(kept["obs_rms"]) if kept["norm_obs"] else {}
        found = Normalizer(
            mean=np.asarray(statistics["mean"], np.float64),
            variance=np.asarray(statistics["var"], np.float64),
            epsilon=float(kept["epsilon"]),
            clip=float(kept["clip_obs"]),
            count=max(2, round(float(statistics["count"]))),
            of_rewards=bool(kept["norm_reward"]),
        )
    except Exception as error:
        raise refused(
            f"--normalizer: {str(path)!r} holds no normalisation of observations by VecNormalize:"
            f" {one_line(error)}"
        ) from None
    if found.mean.ndim != 1:
        raise refused(
            f"--normalizer: {str(path)!r} normalises observations of shape {found.mean.shape};"
            " vectors can be imported"
        )
    return found
