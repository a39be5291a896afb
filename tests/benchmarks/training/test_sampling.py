"""The benchmarks of sampling and learning compare a task with RLlib's parts and with ours."""

from __future__ import annotations

import pytest

from prune_search.errors import UserError
from tests.algorithms import EXPERIMENTS
from tuners.benchmarks.training.learning import SHARES, compare
from tuners.benchmarks.training.sampling import TASKS, Task, gain


def small(name: str) -> Task:
    return Task(EXPERIMENTS[name], ("resources.envs_per_env_runner=4", "evaluation.episodes=4"))


@pytest.mark.slow
def test_both_are_timed_on_the_same_task(local_ray: None) -> None:
    found = gain(small("ppo"), pairs=3)
    assert 0 < found.sampling.low <= found.sampling.median <= found.sampling.high
    assert 0 < found.iteration.low <= found.iteration.median <= found.iteration.high


def test_what_rllibs_env_runner_samples_is_refused(local_ray: None) -> None:
    with pytest.raises(UserError, match=r"only RLlib's env runner samples: .* recurrent"):
        gain(small("ppo-lstm"), pairs=1)


@pytest.mark.parametrize("name", TASKS)
def test_tasks_are_experiments(name: str) -> None:
    assert TASKS[name].experiment().resources.env_runners == 0


@pytest.mark.slow
def test_what_is_learned_is_told_to_be_the_same(local_ray: None) -> None:
    lines: list[str] = []
    found = compare(small("ppo"), 2, 512, lines.append)
    assert [one.env_steps for one in found] == [round(share * 512) for share in SHARES]
    assert all(one.identical and one.same for one in found)
    assert len(lines) == 4
