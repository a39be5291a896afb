"""Replay buffers, which RLlib's checkpoints leave out: kept beside them, emptied, filled first."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.env.env_runner import EnvRunner

from prune_search.rllib.runners.replay import is_lean, lighten_replay

_POSTPONED = "_prune_search_postponed"


def replay_buffer(algorithm: Algorithm) -> Any:
    """The buffer that is sampled from; None where there is none.

    CQL makes one of RLlib's old stack, and learns from its recorded episodes alone.
    """
    return algorithm.local_replay_buffer if algorithm.offline_data is None else None


def save_replay(algorithm: Algorithm, path: Path) -> None:
    """Writes the replay buffer, where the algorithm has one and anything is in it."""
    buffer = replay_buffer(algorithm)
    if buffer is not None and buffer.get_num_timesteps():
        with path.open("wb") as stream:
            pickle.dump(buffer.get_state(), stream, protocol=5)


def load_replay(algorithm: Algorithm, path: Path) -> bool:
    """Reads what `save_replay` wrote, if it wrote anything; what the buffer holds is forgotten.

    It is a pickle: only for files of the study's or the baseline's own, never for one that lies
    beside a checkpoint of the user's.

    Returns:
        Whether there was anything to read.
    """
    if replay_buffer(algorithm) is None or not path.is_file():
        return False
    with path.open("rb") as stream:
        state = pickle.load(stream)
    # RLlib replaces episodes in an empty buffer alone, but indices and counts in any.
    empty_replay(algorithm)
    algorithm.local_replay_buffer.set_state(state)
    return True


def empty_replay(algorithm: Algorithm) -> None:
    """A new replay buffer in place of the one there is, and new episodes on every env runner.

    The rest of an episode can't be added to a buffer that holds another part of it.
    """

    def start_anew(runner: EnvRunner) -> None:
        runner._needs_initial_reset = True

    if (buffer := replay_buffer(algorithm)) is not None:
        algorithm.local_replay_buffer = algorithm._create_local_replay_buffer_if_necessary(
            algorithm.config
        )
        if is_lean(buffer):
            lighten_replay(algorithm)
        if algorithm.env_runner_group is not None:
            algorithm.env_runner_group.foreach_env_runner(start_anew)


def postpone_learning(algorithm: Algorithm, steps: int) -> None:
    """Fills a replay buffer before updates: env steps of an earlier life are not in it.

    Args:
        algorithm: built.
        steps: env steps that the algorithm counts and the buffer has not seen; learning starts
            so much later than RLlib's configuration says. In place of those given before.
    """
    config = algorithm.config
    if replay_buffer(algorithm) is None or config is None:
        return
    frozen, config._is_frozen = config._is_frozen, False
    config.num_steps_sampled_before_learning_starts += steps - postponed(algorithm)
    config._is_frozen = frozen
    setattr(algorithm, _POSTPONED, steps)


def postponed(algorithm: Algorithm) -> int:
    """The env steps by which learning starts later; see `postpone_learning`."""
    return int(getattr(algorithm, _POSTPONED, 0))
