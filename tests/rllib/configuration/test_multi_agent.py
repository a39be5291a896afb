"""Several policies in one environment, each pruned on its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from prune_search.errors import UserError
from prune_search.experiment import file as experiment_file
from prune_search.experiment.file import parse
from prune_search.experiment.schema import Experiment
from prune_search.rllib.configuration.algorithms import algorithm_config
from prune_search.rllib.configuration.environments import make_environment
from prune_search.rllib.configuration.policies import policy_mapping
from prune_search.rllib.evaluation.checkpoint_meter import CheckpointMeter
from prune_search.rllib.evaluation.evaluator import Evaluator, evaluation_seeds
from prune_search.rllib.learners import masks as learner
from prune_search.rllib.networks.roles import split_name
from prune_search.rllib.running import env_steps, sync_weights
from prune_search.sparsity.sizes import size
from prune_search.trial.preflight import check
from tests.algorithms import built, check_zeros, prune
from tests.environments import Pursuit

PURSUIT = """
environment:
  id: pursuit
  modules: [tests.environments]
  policies: {runner: [runner], chasers: ["chaser_*"]}
algorithm:
  name: PPO
  training: {train_batch_size_per_learner: 64, minibatch_size: 32, num_epochs: 2}
  model: {fcnet_hiddens: [16, 16], vf_share_layers: false}
evaluation: {episodes: 5, envs: 4}
resources: {envs_per_env_runner: 2}
"""
DQN = [
    "algorithm.name=DQN",
    "algorithm.training={train_batch_size_per_learner: 16,"
    " num_steps_sampled_before_learning_starts: 16, target_network_update_freq: 4,"
    " replay_buffer_config: {type: MultiAgentPrioritizedEpisodeReplayBuffer, capacity: 2000,"
    " alpha: 0.6, beta: 0.4}}",
]


def pursuit(*overrides: str) -> Experiment:
    return parse(PURSUIT, list(overrides))


def small(*overrides: str) -> Any:
    config = algorithm_config(pursuit(*overrides), seed=1)
    return config.reporting(min_sample_timesteps_per_iteration=20)


@pytest.mark.parametrize(
    ("granularity", "overrides"),
    [("neuron", []), pytest.param("weight", DQN, marks=pytest.mark.slow)],
    ids=["ppo", "dqn"],
)
def test_each_policy_is_pruned_on_its_own(
    local_ray: None, tmp_path: Path, granularity: str, overrides: list[str]
) -> None:
    experiment = pursuit(*overrides)
    with built(small(*overrides)) as algorithm:
        algorithm.train()
        masks = prune(algorithm, granularity)
        assert {split_name(name)[0] for name in masks} == {"runner", "chasers"}
        found = learner.one(algorithm, lambda held: learner.networks_of(held, units=False))
        roles = ["actor", "critic"] if not overrides else ["actor"]
        assert sorted(found) == [
            f"{name}/{role}" for name in ("chasers", "runner") for role in roles
        ]
        weights = learner.weights(algorithm)
        for network in found.values():
            acting = {name: weights[name] for name in network.parameters}
            assert size(acting).weight_sparsity == pytest.approx(0.5, abs=0.15)
        for _ in range(2):
            algorithm.train()
            check_zeros(algorithm, masks)
        evaluator = Evaluator(algorithm.config, experiment.evaluation)
        evaluator.load(learner.module_state(algorithm))
        actors = {name for net in found.values() if net.role == "actor" for name in net.parameters}
        assert set(evaluator.named_parameters()) == actors
        measured = evaluator.measure(0, 5)
        steps, weights = env_steps(algorithm), learner.weights(algorithm)
        algorithm.save_to_path(tmp_path)
        state = learner.mask_state(algorithm)
    again = CheckpointMeter(experiment).measure(tmp_path, 0, 5)
    assert again.returned == measured
    assert again.size.sparsity == size({name: weights[name] for name in actors}).sparsity
    with built(small(*overrides)) as restored:
        learner.attach(restored)
        restored.restore_from_path(tmp_path)
        learner.load_mask_state(restored, state)
        sync_weights(restored)
        assert env_steps(restored) == steps
        restored.train()
        check_zeros(restored, masks)


def test_policies_that_are_not_trained_are_left_alone(local_ray: None) -> None:
    config = small().multi_agent(policies_to_train=["runner"])
    with built(config) as algorithm:
        masks = prune(algorithm, "neuron")
        assert {split_name(name)[0] for name in masks} == {"runner"}
        algorithm.train()
        check_zeros(algorithm, masks)
        assert set(learner.module_state(algorithm)) == {"runner", "chasers"}


def test_evidence_and_frozen_steps_of_all_policies(local_ray: None) -> None:
    with built(small()) as algorithm:
        learner.attach(algorithm, frozenset({"gradient", "activation"}))
        before = learner.weights(algorithm)
        with learner.frozen(algorithm):
            algorithm.train()
        after = learner.weights(algorithm)
        assert all(torch.equal(before[name], after[name]) for name in before)
        found = learner.evidence(algorithm)
        assert found is not None
        assert {split_name(name)[0] for name in found["activation"]} == {"runner", "chasers"}
        assert found["gradient"].keys() == before.keys()


@pytest.mark.parametrize("most", [100_000, 10])
def test_returns_are_those_of_a_plain_loop(local_ray: None, most: int) -> None:
    """The sum over agents, one episode for each seed, whichever ends first, up to max_steps."""
    experiment = pursuit(f"evaluation.max_steps={most}")
    evaluator = Evaluator(algorithm_config(experiment, seed=0), experiment.evaluation)
    modules, mapping = evaluator.modules(), policy_mapping(experiment.environment.policies or {})
    for module in modules.values():
        for weight in module.parameters():
            weight.data += 0.5 * torch.randn(weight.shape)
    seeds, expected = evaluation_seeds(0, 6), []
    for seed in seeds:
        environment = Pursuit()
        observations, _ = environment.reset(seed=seed)
        total, ended, steps = 0.0, False, 0
        while not ended and steps < most:
            actions, steps = {}, steps + 1
            for agent in environment.agents:
                batch = {"obs": torch.as_tensor(observations[agent]).unsqueeze(0)}
                logits = modules[mapping(agent)].forward_inference(batch)["action_dist_inputs"]
                actions[agent] = int(logits.argmax())
            observations, rewards, ends, _, _ = environment.step(actions)
            total, ended = total + sum(rewards.values()), ends["__all__"]
        expected.append(total)
    assert len(set(expected)) == 6
    assert evaluator.returns(seeds).tolist() == pytest.approx(expected)
    assert evaluator.returns(seeds[2:3]).tolist() == pytest.approx(expected[2:3])
    random = [evaluator.returns(seeds, random=True).tolist() for _ in range(2)]
    assert random[0] == random[1] != expected


@pytest.mark.slow
def test_a_checkpoint_opens_without_this_package(local_ray: None, tmp_path: Path) -> None:
    with built(small()) as algorithm:
        algorithm.save_to_path(tmp_path)
    program = f"""
import pickle, sys
sys.modules["prune_search"] = None  # an import of it fails
content = pickle.load(open({str(tmp_path / "class_and_ctor_args.pkl")!r}, "rb"))
(config,), _ = content["ctor_args_and_kwargs"]
mapping = config["policy_mapping_fn"] if isinstance(config, dict) else config.policy_mapping_fn
print(mapping("chaser_2", None), mapping("runner", None))
"""
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["chasers", "runner"]


@pytest.mark.slow
def test_what_is_registered_with_rllib_outlives_a_cluster() -> None:
    """As two studies in one notebook need, of one task or two: their modules are imported once."""
    program = """
import ray
from tests.rllib.configuration.test_multi_agent import pursuit
from prune_search.rllib.configuration.environments import environment_id
other = pursuit("environment.id=CartPole-v1", "environment.modules=[]").environment
for environment in (other, pursuit().environment, pursuit().environment):
    ray.init(address="local", num_cpus=1, include_dashboard=False, logging_level="ERROR")
    print(environment_id(environment))
    ray.shutdown()
"""
    found = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout.split() == ["CartPole-v1", "pursuit", "pursuit"], found.stderr[-500:]


def test_an_agent_without_policy_is_named() -> None:
    mapping = policy_mapping({"runner": ["run*"]})
    assert mapping("runner", None, worker=1) == "runner"
    with pytest.raises(ValueError, match=r"no policy acts for agent 'chaser_1'; they name .*run\*"):
        mapping("chaser_1", None)


def test_unknown_environment_is_named() -> None:
    with pytest.raises(UserError, match=r"environment\.id: .*pursue"):
        algorithm_config(pursuit("environment.id=pursue"), seed=0)


@pytest.mark.slow
def test_the_example_that_ships(local_ray: None) -> None:
    """Its agents see what they should, and both of its policies are pruned and learn."""
    experiment = experiment_file.load(
        "rendezvous", ["algorithm.training={train_batch_size_per_learner: 128}"]
    )
    check(experiment)
    environment = make_environment(experiment.environment, experiment.environment.id)
    seen, _ = environment.reset(seed=3)
    assert {agent: len(values) for agent, values in seen.items()} == {
        "scout": 6,
        "carrier_1": 4,
        "carrier_2": 4,
    }
    north = dict.fromkeys(seen, 3)
    later, rewards, _, _, _ = environment.step(north)
    # All paid the same; the scout leaves the slower carriers behind.
    assert len(set(rewards.values())) == 1
    assert later["carrier_1"][1] - seen["carrier_1"][1] == pytest.approx(0.1, abs=1e-6)
    with built(algorithm_config(experiment, seed=1)) as algorithm:
        algorithm.train()
        masks = prune(algorithm, "neuron")
        algorithm.train()
        check_zeros(algorithm, masks)
