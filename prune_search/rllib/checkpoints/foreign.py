"""Checkpoints of other libraries, known by their names and tables of contents: nothing is run."""

from __future__ import annotations

import zipfile
from pathlib import Path

from ray.rllib.utils.checkpoints import Checkpointable


def told(path: Path) -> str | None:
    """What is no checkpoint of RLlib's is, and what can be done; None for what may be one.

    Args:
        path: an existing file or folder, of which only names are read.
    """
    if path.is_dir():
        if any(path.glob("checkpoint_*")):
            return "it is a trial's folder of Ray Tune's; give one of its checkpoint_* folders"
        if (path / Checkpointable.CLASS_AND_CTOR_ARGS_FILE_NAME).is_file():
            return None
        inside = [item for item in sorted(path.iterdir()) if item.is_file()]
        return next((f"{item.name}: {text}" for item in inside if (text := _file(item))), None)
    return _file(path) or "RLlib's checkpoints are folders, this is a file"


def _file(path: Path) -> str | None:
    other = (
        "prune-search import FILE EXPERIMENT --to CHECKPOINT makes one of it, where RLlib's"
        " default networks can hold it; or prune the network in its own script by"
        " prune_search.sparsity, which works on any torch module and optimizer"
    )
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = {Path(name).name for name in archive.namelist()}
        if "_stable_baselines3_version" in names:
            return f"it is a model of Stable-Baselines3; {other}"
    if path.suffix == ".cleanrl_model":
        return f"it is a model of CleanRL (a state_dict); {other}"
    if path.suffix in {".pt", ".pth"}:
        return f"it is a torch file, as CleanRL and others write them; {other}"
    return None
