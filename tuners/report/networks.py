"""The network that was pruned, before and after: its kernels, counted from its checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_search.errors import UserError
from prune_search.records.folder import StudyFolder
from prune_search.records.models import BaselineRecord, Point
from prune_search.records.policy_files import arrays
from prune_search.records.record import Record

_WIRES = 600
"""Joined pairs of units that can still be told apart in a drawing."""


class Kernel(Record):
    """A layer's weights: what they join."""

    name: str
    shape: tuple[int, ...]
    """Outputs, inputs, and of a convolution its window."""
    nonzero: int
    """Weights that are not zero."""
    idle_inputs: list[int]
    """Inputs that none of them joins to anything."""
    idle_outputs: list[int]
    """Outputs likewise."""
    wires: list[tuple[int, int]]
    """(output, input) of each pair that they join; empty where there are too many to draw."""

    @property
    def outputs(self) -> int:
        return self.shape[0]

    @property
    def inputs(self) -> int:
        return self.shape[1]

    @property
    def weights(self) -> int:
        return int(np.prod(self.shape))

    @classmethod
    def of(cls, name: str, values: NDArray[Any]) -> Kernel:
        """Counts an array of two or more dimensions, outputs first."""
        joined = np.any(values != 0, axis=tuple(range(2, values.ndim)))
        few = joined.sum() <= _WIRES
        return cls(
            name=name,
            shape=values.shape,
            nonzero=int(np.count_nonzero(values)),
            idle_inputs=np.flatnonzero(~joined.any(axis=0)).tolist(),
            idle_outputs=np.flatnonzero(~joined.any(axis=1)).tolist(),
            wires=[(int(o), int(i)) for o, i in np.argwhere(joined)] if few else [],
        )


class Networks(Record):
    """The kernels of the network that acts, in its order."""

    point: str
    dense: list[Kernel]
    pruned: list[Kernel]
    """Of the point."""


def networks(folder: StudyFolder, baseline: BaselineRecord, point: Point) -> Networks:
    """Counts what lies in the study's checkpoints; nothing is fetched, and no code of them runs.

    Raises:
        UserError: one of them is not on this machine, or can't be read.
    """
    names = list(point.layers)
    return Networks(
        point=point.name,
        dense=_kernels(Path(baseline.checkpoint), names),
        pruned=_kernels(folder.algorithm(point), names),
    )


def _kernels(algorithm: Path, names: Sequence[str]) -> list[Kernel]:
    held = arrays(algorithm)
    # Where there are several policies, a kernel's name has its policy's in front.
    found = {f"{module}/{name}": array for module, of in held.items() for name, array in of.items()}
    found |= {name: array for of in held.values() for name, array in of.items()}
    missing = [name for name in names if name not in found]
    if missing or not names:
        raise UserError(f"{algorithm}: no kernel {', '.join(missing)} is in it")
    return [Kernel.of(name, found[name]) for name in names]
