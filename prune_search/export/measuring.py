"""An artifact measured by itself: its episodes, its actions beside RLlib's, its time."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prune_search.artifacts.base import Actor, Artifact
from prune_search.artifacts.card import Task
from prune_search.errors import TrialError, UserError
from prune_search.export.recording import Recorded
from prune_search.export.surroundings import flat, make_task
from prune_search.policy.description import PolicyDescription
from prune_search.policy.reference import act, draw_noise
from prune_search.records.intervals import summarised
from prune_search.records.record import Record
from prune_search.records.returns import Aggregate, Return
from prune_search.rllib.evaluation.asked import check_evaluation
from prune_search.rllib.evaluation.evaluator import evaluation_seeds
from prune_search.rllib.evaluation.lean import check_finite
from prune_search.rllib.randomness import random_state_kept, seed_process

CONTINUOUS = 1e-5
"""What continuous actions of float32 may differ by, relative to their size."""
DISCRETE = 0.999
"""The least share of discrete actions of float32 that are equal."""
_WARM, _TIMED = 50, 1000
_BLOCK = 1000


class Agreement(Record):
    """An artifact's actions beside those of RLlib's policy, for the same observations."""

    count: int
    """Observations."""
    equal: float
    """Share of the actions that are the same: discrete ones equal, continuous ones within
    `tolerance`."""
    tolerance: float
    """What continuous actions that are the same differ by at most, as `difference`; 0 of discrete
    ones."""
    difference: float
    """The largest difference, relative to an action's size: the largest of RLlib's in this place,
    1 at least; of continuous ones half of its range at most."""
    with_noise: bool
    """Actions are sampled: they are compared with the description's, for the same noise."""

    def holds(self, discrete: bool) -> bool:
        """Whether the artifact does what RLlib does, up to the rounding of float32."""
        return self.equal >= DISCRETE if discrete else self.difference <= CONTINUOUS

    def words(self, whose: str) -> str:
        """`100.00% are those of RLlib, the largest difference is 0.0e+00`.

        Args:
            whose: actions they are compared with.
        """
        same = f"{self.equal:.2%} are those of {whose}"
        largest = f"the largest difference is {self.difference:.1e}"
        if not self.tolerance:
            return f"{same}, {largest}"
        return f"{same} within {self.tolerance:.0e} of an action's size, {largest} of it"


class Latency(Record):
    """Microseconds of one action, observation to action, one at a time, one thread."""

    median: float
    p99: float
    """What 99 of 100 take at most."""


def measure(
    artifact: Artifact,
    task: Task,
    *,
    seed: int,
    episodes: int,
    max_steps: int,
    aggregate: Aggregate,
) -> Return:
    """Return of an artifact in its environment.

    Args:
        artifact: what acts.
        task: the environment.
        seed: evaluation seed, 0 to 9,999.
        episodes: 1 to 100,000.
        max_steps: after so many an episode is cut.
        aggregate: what counts as the return.

    Raises:
        UserError: the environment can't be made, or does not go with the artifact.
    """
    found = [
        _episode(artifact, task, env_seed, max_steps)
        for env_seed in evaluation_seeds(seed, episodes)
    ]
    return summarised(np.array(found), aggregate)


def _episode(artifact: Artifact, task: Task, seed: int, max_steps: int) -> float:
    actor, environment = Actor(artifact), make_task(task)
    space, total = environment.observation_space, 0.0
    try:
        with random_state_kept():
            seed_process(seed)
            actor.reset(seed)
            observation, _ = environment.reset(seed=seed)
            for _ in range(max_steps):
                action = actor(flat(space, observation))
                observation, reward, terminated, truncated, _ = environment.step(action)
                check_finite("reward", reward)
                total += float(reward)
                if terminated or truncated:
                    break
    except (ValueError, TrialError) as error:
        raise UserError(f"export: the policy and the environment {task.id}: {error}") from None
    finally:
        environment.close()
    return total


def agreement(
    artifact: Artifact, recorded: Recorded, policy: PolicyDescription | None = None
) -> Agreement:
    """How an artifact's actions agree with those that were recorded.

    Args:
        artifact: what acts.
        recorded: what RLlib's policy saw and did.
        policy: the description, by which actions that are sampled are compared.
    """
    want, noise = recorded.actions, None
    steps, card = len(recorded.observations), artifact.card
    if policy is not None and policy.action.noise_size:
        noise = draw_noise(policy, steps, np.random.default_rng(0))
    block = _BLOCK if artifact.rows and not card.state_size else 1
    state = after = np.zeros((block, card.state_size), np.float32)
    found: list[NDArray[Any]] = []
    expected: list[NDArray[Any]] = []
    for row in range(0, steps, block):
        if recorded.begins[row] and card.state_size:
            state = after = np.zeros((block, card.state_size), np.float32)
        if recorded.begins[row]:
            artifact.reset()
        seen = recorded.observations[row : row + block]
        drawn = None if noise is None else noise[row : row + block]
        action, state = artifact.step(seen, state[: len(seen)], drawn)
        found.append(action)
        if noise is not None and policy is not None:
            given, after = act(policy, seen, after[: len(seen)], drawn)
            expected.append(given)
    got = np.concatenate(found).reshape(steps, -1)
    want = (np.concatenate(expected) if expected else want).reshape(steps, -1)
    tolerance = 0.0 if card.discrete else CONTINUOUS
    apart = np.abs(got - want) / _sizes(want, None if card.discrete else recorded.ranges)
    return Agreement(
        count=steps,
        equal=float((apart <= tolerance).all(1).mean()),
        tolerance=tolerance,
        difference=float(apart.max()),
        with_noise=noise is not None,
    )


def _sizes(actions: NDArray[Any], ranges: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """What differences are relative to, [numbers of an action]; see `Agreement.difference`."""
    sizes: NDArray[np.float64] = np.maximum(1.0, np.abs(actions.astype(np.float64)).max(0))
    if ranges is None:
        return sizes
    return np.where(ranges > 0, np.minimum(sizes, ranges / 2), sizes)


def latency(artifact: Artifact, observation: NDArray[np.float32]) -> Latency:
    """What an action takes in this process, torch on one thread.

    Args:
        artifact: what acts.
        observation: [*observation_shape].
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        artifact.nanoseconds(observation[None], _WARM)
        taken = artifact.nanoseconds(observation[None], _TIMED) / 1000
    finally:
        torch.set_num_threads(threads)
    return Latency(median=float(np.median(taken)), p99=float(np.quantile(taken, 0.99)))


def measured_again(artifact: Artifact, seed: int | None, episodes: int | None) -> Return:
    """An artifact's return, as its card says that its policy's was measured.

    Args:
        artifact: what acts.
        seed: evaluation seed in place of the card's.
        episodes: in place of the card's, 2 to 100,000.

    Raises:
        UserError: the card does not say where the policy acts, an argument is out of range, or as
            `measure`.
    """
    check_evaluation(seed, episodes)
    card = artifact.card
    if card.task is None or card.measurement is None:
        raise UserError(
            "file: it does not say which environment its policy acts in; evaluate the point of"
            " the study that it comes from"
        )
    how = card.measurement
    return measure(
        artifact,
        card.task,
        seed=how.seed if seed is None else seed,
        episodes=how.episodes if episodes is None else episodes,
        max_steps=how.max_steps,
        aggregate=how.aggregate,
    )
