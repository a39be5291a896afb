"""All of an algorithm in a folder: RLlib's checkpoint and, beside it, what RLlib leaves out.

That is what learners adapt (PPO's KL coefficient, SAC's temperature, MARWIL's norm, the times of
target updates) and the replay buffer.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from ray.rllib.algorithms.algorithm import Algorithm

from prune_search.records.checkpoint import ADAPTIVE, ALGORITHM, REPLAY
from prune_search.rllib.checkpoints.replay import (
    load_replay,
    postpone_learning,
    replay_buffer,
    save_replay,
)
from prune_search.rllib.learners import masks as learner
from prune_search.rllib.running import env_steps

# What learners adapt: its name, the setting of its first value, and the one that turns it off.
_BEGINNINGS = {
    "curr_kl_coeffs_per_module": ("KL coefficient", "kl_coeff", "use_kl_loss"),
    "curr_log_alpha": ("entropy temperature", "initial_alpha", None),
    "moving_avg_sqd_adv_norms_per_module": (
        "norm of advantages",
        "moving_average_sqd_adv_norm_start",
        "beta",
    ),
}


def save(algorithm: Algorithm, folder: Path) -> None:
    """Writes all of an algorithm's state into a folder, in place of what it had of it."""
    shutil.rmtree(folder / ALGORITHM, ignore_errors=True)
    algorithm.save_to_path(folder / ALGORITHM)
    torch.save(learner.adaptive_state(algorithm), folder / ADAPTIVE)
    save_replay(algorithm, folder / REPLAY)


def load(algorithm: Algorithm, checkpoint: Path) -> None:
    """Puts back what `save` wrote.

    A replay buffer that was not kept is filled before anything is learned. Schedules are not yet
    where they belong (see `rllib_schedules`), nor weights in env runners of other processes
    (see `sync_weights`).

    Args:
        algorithm: built.
        checkpoint: `ALGORITHM` in the folder that was saved into.
    """
    algorithm.restore_from_path(checkpoint)
    adaptive, replay = checkpoint.with_name(ADAPTIVE), checkpoint.with_name(REPLAY)
    if adaptive.is_file():  # not beside those of earlier versions
        learner.load_adaptive_state(algorithm, torch.load(adaptive, weights_only=True))
    if replay.is_file():
        load_replay(algorithm, replay)
    else:
        postpone_learning(algorithm, env_steps(algorithm))


def lacking(algorithm: Algorithm) -> list[str]:
    """What a checkpoint of RLlib's alone leaves out of this algorithm, and what it begins with.

    Args:
        algorithm: built; what it adapts may be restored or not.
    """
    config = algorithm.config
    assert config is not None
    found = []
    held = learner.adaptive_state(algorithm)
    for name, (what, setting, use) in _BEGINNINGS.items():
        if held.get(name) and (use is None or getattr(config, use, True)):
            found.append(
                f"baseline.checkpoint: RLlib keeps no {what} in a checkpoint; trials begin with"
                f" algorithm.training.{setting}, {getattr(config, setting)}"
            )
    if replay_buffer(algorithm) is not None:
        found.append(
            "baseline.checkpoint: RLlib keeps no replay buffer in a checkpoint; trials fill one"
            f" with {config.num_steps_sampled_before_learning_starts:,} env steps before they learn"
        )
    return found
