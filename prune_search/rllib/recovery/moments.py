"""Moments of the baseline's training that a rewinding returns to, kept beside its checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from ray.rllib.algorithms.algorithm import Algorithm
from torch import Tensor

from prune_search.errors import TrialError
from prune_search.records.checkpoint import EARLY_REPLAY, EARLY_STATE, MOMENTS
from prune_search.rllib.checkpoints.replay import save_replay
from prune_search.rllib.learners import masks as learner
from prune_search.rllib.running import env_steps


@dataclass(frozen=True)
class Early:
    """The training at its moment `early`, but for the weights."""

    env_steps: int
    adaptive: dict[str, dict[str, float]]
    """See `masks.adaptive_state`."""
    replay: Path
    """Where its replay buffer is, if it has one."""


def keep(algorithm: Algorithm, folder: Path, moment: str) -> None:
    """Keeps this moment of a training.

    Args:
        algorithm: the baseline's.
        folder: the baseline's.
        moment: `initial`, of which the weights say all, or `early`.
    """
    torch.save(learner.weights(algorithm), folder / MOMENTS[moment])
    if moment == "early":
        state = {
            "env_steps": env_steps(algorithm),
            "adaptive": learner.adaptive_state(algorithm),
        }
        torch.save(state, folder / EARLY_STATE)
        save_replay(algorithm, folder / EARLY_REPLAY)


def weights(folder: Path, moment: str) -> dict[str, Tensor]:
    """The weights of a moment, a key of `MOMENTS`.

    Raises:
        TrialError: the baseline has none of that moment.
    """
    path = folder / MOMENTS[moment]
    if not path.is_file():
        raise TrialError(
            f"the baseline has no {path.stem} weights to rewind to: its training ended before"
            " baseline.early of its env steps"
        )
    found: dict[str, Tensor] = torch.load(path, weights_only=True)
    return found


def early(folder: Path, env_steps: int) -> Early:
    """What `keep` kept of the moment `early`.

    Args:
        folder: the baseline's.
        env_steps: where it was about, for baselines of earlier versions, which kept weights alone.
    """
    path = folder / EARLY_STATE
    state = torch.load(path, weights_only=True) if path.is_file() else None
    state = state or {"env_steps": env_steps, "adaptive": {}}
    return Early(state["env_steps"], state["adaptive"], folder / EARLY_REPLAY)
