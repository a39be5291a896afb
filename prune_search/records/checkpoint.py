"""What a checkpoint's folder holds: names of its files."""

from __future__ import annotations

ALGORITHM = "algorithm"
"""Folder of RLlib's own checkpoint."""
MASKS = "masks.pt"
"""What a round keeps beside it: masks, and the state of all that prunes."""
ADAPTIVE = "adaptive.pt"
"""What a dense policy keeps beside it: see `learner.adaptive_state`."""
REPLAY = "replay.pkl"
"""The replay buffer, where there is one."""
