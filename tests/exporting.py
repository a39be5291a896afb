"""What RLlib does with a small policy, to compare descriptions with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_search.export.recording import recorded
from prune_search.export.surroundings import Surroundings


def played(
    checkpoint: Path, around: Surroundings, rows: int = 60
) -> tuple[NDArray[np.float32], NDArray[Any], list[bool]]:
    """What RLlib's connectors and network do in the environment.

    Returns:
        Observations as the description takes them, the actions on them as the environment takes
        them, and where episodes begin.
    """
    found = recorded(checkpoint, around, rows)
    return found.observations, found.actions, found.begins.tolist()
