"""Which env runner samples, that it makes no difference to what is learned, and what is told."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from prune_search.errors import UserError
from prune_search.rllib.configuration.algorithms import algorithm_config
from prune_search.rllib.learners import masks as learner
from prune_search.rllib.runners.choice import sampled_by, updated_by
from prune_search.rllib.runners.lean import LeanEnvRunner
from prune_search.rllib.running import reseed
from prune_search.trial.preflight import check
from tests.algorithms import built, experiment, prune, small
from tests.rllib.configuration.test_multi_agent import pursuit


def trained(name: str, runner: str, *overrides: str) -> tuple[dict[str, Any], str, int]:
    """Weights after some iterations, half of them pruned, who sampled, and the env steps."""
    with built(small(name, f"resources.runner={runner}", *overrides)) as algorithm:
        reseed(algorithm, 5)
        for iteration in range(3):
            result = algorithm.train()
            if iteration == 1:
                prune(algorithm, "weight")
        steps = result["env_runners"]["num_env_steps_sampled_lifetime"]
        assert updated_by(algorithm) == ("rllib" if runner == "rllib" else "lean")
        return learner.weights(algorithm), sampled_by(algorithm), int(steps)


@pytest.mark.parametrize("name", ["ppo-shared", "ppo-images", "dqn", "sac", "sac-discrete"])
def test_the_same_is_learned_bit_for_bit(local_ray: None, name: str) -> None:
    """Where networks share their process with the env runner; across a change of masks."""
    weights, by, steps = trained(name, "auto")
    assert by == "lean"
    stock, stock_by, stock_steps = trained(name, "rllib")
    assert (stock_by, stock_steps) == ("rllib: resources.runner says so", steps)
    assert weights.keys() == stock.keys()
    assert all(torch.equal(weights[key], stock[key]) for key in weights)


def test_a_replay_buffer_that_stays_rllibs_is_told(local_ray: None) -> None:
    with built(small("dqn", "algorithm.training.n_step=[1, 3]")) as algorithm:
        assert updated_by(algorithm) == "lean update, rllib replay buffer"


@pytest.mark.slow
def test_remote_env_runners_sample_too(local_ray: None) -> None:
    weights, by, _ = trained("ppo", "lean", "resources.env_runners=1")
    assert by == "lean"
    stock, _, _ = trained("ppo", "rllib", "resources.env_runners=1")
    assert all(torch.equal(weights[key], stock[key]) for key in weights)


def test_checkpoints_open_without_this_package(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And find the lean env runner where it is, under the name that they have for it."""
    assert LeanEnvRunner.__module__ == "prune_search.rllib.runners.lean"
    with built(small("ppo")) as algorithm:
        algorithm.save_to_path(tmp_path)
    files = sorted(tmp_path.rglob("class_and_ctor_args.pkl"))
    assert any(b"prune_search.rllib.runners" in path.read_bytes() for path in files)
    for there in (True, False):
        if not there:
            monkeypatch.setitem(sys.modules, LeanEnvRunner.__module__, None)
        classes = set()
        for path in files:
            content = pickle.loads(path.read_bytes())
            (args, kwargs), kind = content["ctor_args_and_kwargs"], content["class"]
            for held in (*args, *kwargs.values()):
                config = held if isinstance(held, dict) else getattr(held, "__dict__", {})
                classes.add(config.get("env_runner_cls"))
            classes.add(kind if issubclass(kind, SingleAgentEnvRunner) else None)
        assert classes - {None} == {LeanEnvRunner if there else SingleAgentEnvRunner}


class Watching(RLlibCallback):
    """Looks at each step."""

    def on_episode_step(self, **_: Any) -> None:
        pass


def test_rllibs_connectors_are_run_where_they_are_needed(local_ray: None) -> None:
    config = small("ppo")
    config.callbacks(Watching)
    with built(config) as algorithm:
        algorithm.train()
        assert sampled_by(algorithm) == "rllib: Watching.on_episode_step watches episodes"


def test_lean_is_refused_where_it_can_not_be() -> None:
    why = "resources.runner: lean can't sample here: "
    allowed = "; allowed are auto, which takes RLlib's there, and rllib"
    with pytest.raises(UserError) as refused:
        check(experiment("ppo-lstm", "resources.runner=lean", "pruning.granularity=weight"))
    assert str(refused.value) == f"{why}the network has a state (it is recurrent){allowed}"
    with pytest.raises(UserError) as refused:
        algorithm_config(pursuit("resources.runner=lean"), seed=1)
    assert str(refused.value) == f"{why}there are several agents{allowed}"
