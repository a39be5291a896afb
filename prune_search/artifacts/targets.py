"""The targets that there are: importing this file registers those of prune-search."""

from __future__ import annotations

import prune_search.artifacts.c.target
import prune_search.artifacts.litert
import prune_search.artifacts.onnx_targets
import prune_search.artifacts.packed_target
import prune_search.artifacts.torch_program
import prune_search.artifacts.web.target  # noqa: F401 - they are registered
from prune_search.artifacts.base import TARGETS, Target
from prune_search.errors import unknown


def find_target(name: str) -> Target:
    """The target of this name.

    Raises:
        UserError: there is none; the message lists those there are.
    """
    if name not in TARGETS:
        raise unknown("--to", name, TARGETS)
    return TARGETS[name]
