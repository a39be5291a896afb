"""Every target that there is: those that are made from a description, and RLlib's checkpoint."""

from __future__ import annotations

import prune_search.export.rllib_target  # noqa: F401 - it is registered
from prune_search.artifacts.base import TARGETS, open_artifact
from prune_search.artifacts.targets import find_target

__all__ = ["TARGETS", "find_target", "open_artifact"]
