"""RLlib's network computes what a model of Stable-Baselines3 does, and trains on from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.core.columns import Columns
from torch import nn

from prune_search.errors import UserError
from prune_search.experiment.file import parse
from prune_search.export.describing import describe
from prune_search.importing.policies import import_policy
from prune_search.policy.reference import act
from prune_search.records.folder import StudyFolder
from prune_search.trial.baselines.baseline import BaselineTrainer
from prune_search.trial.preflight import check
from prune_search.trial.rounds import TrialRounds
from tests.importing.imported import CARTPOLE, PENDULUM, PICTURES, network, of_algorithm
from tests.plans import plan

TRAINED = """
environment: {id: CartPole-v1}
algorithm:
  training: {train_batch_size_per_learner: 128, minibatch_size: 64, num_epochs: 1}
pruning: {granularity: weight, criterion: magnitude, env_steps: 128, floor: 0}
evaluation: {episodes: 4, envs: 4}
resources: {envs_per_env_runner: 4}
"""


def stable_baselines() -> Any:
    return pytest.importorskip("stable_baselines3", reason="needs prune-search[sb3]")


def steered(model: Any) -> None:
    """CartPole's policy pushes to where the pole falls: several times as good as random actions."""
    with torch.no_grad():
        for layer in (*model.policy.mlp_extractor.policy_net, model.policy.action_net):
            if isinstance(layer, nn.Linear):
                layer.weight.mul_(0.1)
                layer.weight[0, 0] = 1.0
        model.policy.mlp_extractor.policy_net[0].weight[0] = torch.tensor([0.0, 0.1, 1.0, 1.0])
        model.policy.action_net.weight[1, 0] = 2.0
        model.policy.action_net.weight[0, 0] = -2.0


@pytest.mark.usefixtures("local_ray")
class TestModelsOfStableBaselines:
    def test_actor_and_critic_on_vectors(self, tmp_path: Path) -> None:
        sb3 = stable_baselines()
        settings = {"net_arch": [16, 24], "activation_fn": nn.ReLU}
        model = sb3.A2C("MlpPolicy", "CartPole-v1", device="cpu", policy_kwargs=settings)
        model.save(tmp_path / "a2c.zip")
        found = import_policy(tmp_path / "a2c.zip", parse(CARTPOLE), tmp_path / "ours")
        assert found.difference <= 1e-5 and found.observations == 1000
        seen = torch.randn(50, 4)
        ours, theirs = network(found), model.policy
        with torch.no_grad():
            logits = ours.forward_inference({Columns.OBS: seen})[Columns.ACTION_DIST_INPUTS]
            given = theirs.get_distribution(seen).distribution.logits
            assert torch.allclose(logits.log_softmax(1), given, atol=1e-5)
            values = ours.compute_values({Columns.OBS: seen})
            assert torch.allclose(values, theirs.predict_values(seen)[:, 0], atol=1e-5)

    def test_continuous_actions_behind_a_normaliser(self, tmp_path: Path) -> None:
        """From raw observation to action, cut at its bounds: what `predict` gives."""
        sb3 = stable_baselines()
        from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

        gym = pytest.importorskip("gymnasium")
        vector = VecNormalize(DummyVecEnv([lambda: gym.make("Pendulum-v1")]), clip_obs=1.5)
        vector.seed(1)
        vector.reset()
        for _ in range(60):
            vector.step(np.array([vector.action_space.sample()]))
        model = sb3.PPO("MlpPolicy", vector, device="cpu", policy_kwargs={"log_std_init": -0.7})
        with torch.no_grad():
            model.policy.action_net.weight.mul_(1000)
        model.save(tmp_path / "ppo.zip")
        vector.save(tmp_path / "normalizer.pkl")
        found = import_policy(
            tmp_path / "ppo.zip",
            parse(PENDULUM),
            tmp_path / "ours",
            normalizer=tmp_path / "normalizer.pkl",
        )
        assert any("rewards were normalised" in note for note in found.notes)
        assert torch.allclose(network(found).pi.log_std, torch.tensor(-0.7))
        seen = np.random.default_rng(0).normal(0, 1, (200, 3)).astype(np.float32)
        ours, _ = act(describe(found.checkpoint).policy, seen)
        theirs, _ = model.predict(vector.normalize_obs(seen), deterministic=True)
        assert np.abs(theirs).max() == 2.0  # the bounds
        assert np.allclose(ours, theirs, atol=1e-5)

    def test_q_networks(self, tmp_path: Path) -> None:
        sb3 = stable_baselines()
        model = sb3.DQN("MlpPolicy", "CartPole-v1", buffer_size=10, gamma=0.9, device="cpu")
        model.save(tmp_path / "dqn.zip")
        found = import_policy(
            tmp_path / "dqn.zip", of_algorithm(CARTPOLE, "DQN"), tmp_path / "ours"
        )
        assert any("gamma 0.9" in note for note in found.notes)
        seen, ours = torch.randn(50, 4), network(found)
        with torch.no_grad():
            values = ours.compute_q_values({Columns.OBS: seen})["qf_preds"]
            assert torch.allclose(values, model.q_net(seen), atol=1e-5)

    @pytest.mark.slow
    def test_soft_actor_critic(self, tmp_path: Path) -> None:
        """RLlib's Q-networks are of another form, and give the same."""
        sb3 = stable_baselines()
        model = sb3.SAC(
            "MlpPolicy", "Pendulum-v1", buffer_size=10, policy_kwargs={"net_arch": [32, 24]}
        )
        model.save(tmp_path / "sac.zip")
        found = import_policy(
            tmp_path / "sac.zip", of_algorithm(PENDULUM, "SAC"), tmp_path / "ours"
        )
        assert any("greedy actions" in note for note in found.notes)
        seen, actions, ours = torch.randn(50, 3), torch.rand(50, 1) * 2 - 1, network(found)
        with torch.no_grad():
            given = ours.forward_inference({Columns.OBS: seen})[Columns.ACTION_DIST_INPUTS]
            mean, deviation, _ = model.actor.get_action_dist_params(seen)
            assert torch.allclose(given, torch.cat([mean, deviation], 1), atol=1e-5)
            values = ours.compute_q_values({Columns.OBS: seen, Columns.ACTIONS: actions})
            theirs = torch.cat(model.critic(seen, actions), 1).amin(1)
            assert torch.allclose(values, theirs, atol=1e-5)

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["PPO", "DQN"])
    @pytest.mark.parametrize("shared", [True, False])
    def test_images(self, tmp_path: Path, name: str, shared: bool) -> None:
        """Bytes from 0 to 1 there, from -1 to 1 here; channels first there, last here."""
        sb3 = stable_baselines()
        settings: Any = {} if shared or name == "DQN" else {"share_features_extractor": False}
        if name == "DQN" and not shared:
            settings = {"normalize_images": False, "net_arch": [20]}
        make = getattr(sb3, name)
        replay = {"buffer_size": 10} if name == "DQN" else {}
        import tests.importing.environments  # noqa: F401 - registers

        model = make("CnnPolicy", "Pictures-v0", policy_kwargs=settings, device="cpu", **replay)
        model.save(tmp_path / "model.zip")
        experiment = of_algorithm(PICTURES, name)
        found = import_policy(tmp_path / "model.zip", experiment, tmp_path / "ours")
        raw = np.random.default_rng(0).integers(0, 256, (64, 40, 44, 3), np.uint8)
        ours, _ = act(describe(found.checkpoint).policy, raw)
        theirs, _ = model.predict(raw.transpose(0, 3, 1, 2), deterministic=True)
        assert (ours == theirs).mean() > 0.98
        assert (getattr(network(found).encoder, "encoder", None) is not None) == shared or (
            name == "DQN"
        )

    @pytest.mark.slow
    def test_observations_that_are_encoded(self, tmp_path: Path) -> None:
        sb3 = stable_baselines()
        model = sb3.PPO("MlpPolicy", "FrozenLake-v1", device="cpu")
        with torch.no_grad():
            model.policy.action_net.weight.mul_(1000)
        model.save(tmp_path / "ppo.zip")
        experiment = parse("environment: {id: FrozenLake-v1}")
        found = import_policy(tmp_path / "ppo.zip", experiment, tmp_path / "ours")
        theirs, _ = model.predict(np.arange(16), deterministic=True)
        ours, _ = act(describe(found.checkpoint).policy, np.arange(16)[:, None])
        assert ours.tolist() == theirs.tolist() and len(set(ours.tolist())) > 1

    @pytest.mark.slow
    def test_it_is_pruned_and_trained_on_as_a_baseline(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By relative paths, as the command is given them."""
        monkeypatch.chdir(tmp_path)
        sb3 = stable_baselines()
        model = sb3.PPO("MlpPolicy", "CartPole-v1", device="cpu")
        steered(model)
        model.save(tmp_path / "ppo.zip")
        import_policy(Path("ppo.zip"), parse(TRAINED), Path("ours"))
        named = ["baseline.checkpoint=ours", f"storage={tmp_path}"]
        experiment = parse(TRAINED, named).trusting()
        check(experiment)
        trainer = BaselineTrainer(tmp_path, experiment)
        assert trainer.step().done
        baseline = trainer.finish()
        assert baseline.returned.value > 3 * baseline.random.value
        chosen = plan(schedule="one_shot", rounds=1, env_steps=128, ratio=0.5)
        folder = StudyFolder(tmp_path, "study")
        rounds = TrialRounds(experiment, folder, baseline, 1, chosen)
        point = rounds.step()
        rounds.stop()
        assert point.weight_sparsity == pytest.approx(0.5, abs=0.01)


def test_a_model_of_other_actions_is_refused(tmp_path: Path) -> None:
    sb3 = stable_baselines()
    sb3.PPO("MlpPolicy", "CartPole-v1", device="cpu").save(tmp_path / "ppo.zip")
    other = parse("{environment: {id: Acrobot-v1}, algorithm: {name: PPO}}")
    with pytest.raises(UserError, match="the policy has 2 action outputs, the environment's Discr"):
        import_policy(tmp_path / "ppo.zip", other, tmp_path / "ours")
