"""What a checkpoint's folder holds: names of its files."""

from __future__ import annotations

from pathlib import Path

ALGORITHM = "algorithm"
"""Folder of RLlib's own checkpoint."""
MODULES_PATH = Path("learner_group", "learner", "rl_module")
"""Where the networks lie in it, each in a folder named by its ModuleID."""
MASKS = "masks.pt"
"""What a round keeps beside it: masks, and the state of all that prunes."""
ADAPTIVE = "adaptive.pt"
"""What a dense policy keeps beside it: see `adaptive_state` in rllib/learners/masks.py."""
REPLAY = "replay.pkl"
"""The replay buffer, where there is one."""
TRAINING = "training.json"
"""Beside the checkpoint of a baseline's training that has not ended: how long it took so far."""

MOMENTS = {"initial": "initial.pt", "early": "early.pt"}
"""What a baseline keeps of moments of its training to rewind to: the weights ..."""
EARLY_STATE, EARLY_REPLAY = "early-state.pt", "early-replay.pkl"
"""... and what else the training had at the moment `early`."""
