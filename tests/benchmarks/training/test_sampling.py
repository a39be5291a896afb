"""The benchmarks of sampling and learning compare a task with RLlib's parts and with ours."""

from __future__ import annotations

import signal

import pytest

from prune_search.errors import UserError
from prune_search.rllib.configuration.algorithms import algorithm_config
from prune_search.rllib.running import env_steps
from tests.algorithms import EXPERIMENTS, built
from tuners.benchmarks.training.learning import SHARES, compare
from tuners.benchmarks.training.sampling import TASKS, Task, begin_to_learn, gain
from tuners.benchmarks.training.shares import REST, shares


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


@pytest.mark.slow
def test_off_policy_iterations_are_timed_once_they_learn(local_ray: None) -> None:
    """They only sample at first, which says nothing of an iteration."""
    late = small("dqn").experiment(
        "algorithm.training.num_steps_sampled_before_learning_starts=3000"
    )
    with built(algorithm_config(late, 0)) as algorithm:
        assert not algorithm.train().get("learners")
        begin_to_learn(algorithm)
        assert env_steps(algorithm) >= 3000 and algorithm.train()["learners"]


@pytest.mark.slow
def test_the_parts_of_an_iteration_add_up(local_ray: None) -> None:
    found = shares(small("dqn"), 2)
    assert sum(found.parts.values()) == pytest.approx(1) and found.looks > 50
    learning = {"replay buffer", "forward passes", "losses", "backward passes"}
    assert {*learning, "environments and gymnasium's vector of them"} <= set(found.parts)
    assert found.parts[REST] < 0.6
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
