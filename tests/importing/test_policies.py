"""RLlib's network computes what the policy from elsewhere does, and trains on from there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModule
from torch import nn

from prune_search.errors import UserError
from prune_search.experiment.file import parse
from prune_search.export.describing import describe
from prune_search.importing.policies import Imported, import_policy
from prune_search.policy.reference import act
from prune_search.records.folder import StudyFolder
from prune_search.rllib.configuration.algorithms import MODULE_PATH
from prune_search.trial.baselines.baseline import BaselineTrainer
from prune_search.trial.preflight import check
from prune_search.trial.rounds import TrialRounds
from tests.commands import Command, refused
from tests.plans import plan

CARTPOLE = "environment: {id: CartPole-v1}"
PENDULUM = "environment: {id: Pendulum-v1}"
PICTURES = "environment: {id: Pictures-v0, modules: [tests.importing.environments]}"
TRAINED = """
environment: {id: CartPole-v1}
algorithm:
  training: {train_batch_size_per_learner: 128, minibatch_size: 64, num_epochs: 1}
pruning: {granularity: weight, criterion: magnitude, env_steps: 128, floor: 0}
evaluation: {episodes: 4, envs: 4}
resources: {envs_per_env_runner: 4}
"""


FILTERED = "algorithm.env_runners.observation_filter=MeanStdFilter"


def of_algorithm(text: str, name: str, **model: Any) -> Any:
    return parse(f"{{{text}, algorithm: {{name: {name}, model: {model}}}}}")


def network(found: Imported) -> Any:
    return RLModule.from_checkpoint(found.checkpoint / MODULE_PATH)


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


def layers(*sizes: int) -> nn.Sequential:
    inputs, first, second, outputs = sizes
    return nn.Sequential(
        nn.Linear(inputs, first),
        nn.Tanh(),
        nn.Linear(first, second),
        nn.Tanh(),
        nn.Linear(second, outputs),
    )


class Agent(nn.Module):
    """As CleanRL's."""

    def __init__(self, outputs: int = 2, sizes: tuple[int, int] = (12, 8)) -> None:
        super().__init__()
        first, second = sizes
        self.critic = nn.Sequential(
            nn.Linear(4, first),
            nn.Tanh(),
            nn.Linear(first, second),
            nn.Tanh(),
            nn.Linear(second, 1),
        )
        self.actor = nn.Sequential(
            nn.Linear(4, 12), nn.Tanh(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, outputs)
        )

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.actor(seen))


class Gaussian(nn.Module):
    """As CleanRL's for continuous actions, of Pendulum's observations."""

    def __init__(self, actions: int) -> None:
        super().__init__()
        self.critic, self.actor_mean = layers(3, 12, 8, 1), layers(3, 12, 8, actions)
        self.actor_logstd = nn.Parameter(torch.zeros(1, actions))

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.actor_mean(seen))


class Residual(Agent):
    """Adds what no layer does."""

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        return super().forward(seen) + seen[:, :2]


@pytest.mark.usefixtures("local_ray")
class TestPlainTorch:
    def test_a_state_dict_of_actor_and_critic(self, tmp_path: Path) -> None:
        agent, seen = Agent(), torch.randn(50, 4)
        torch.save(agent.state_dict(), tmp_path / "ppo.cleanrl_model")
        found = import_policy(tmp_path / "ppo.cleanrl_model", parse(CARTPOLE), tmp_path / "ours")
        assert any("activations" in note and "tanh" in note for note in found.notes)
        with torch.no_grad():
            given = network(found).forward_inference({Columns.OBS: seen})
            assert torch.allclose(given[Columns.ACTION_DIST_INPUTS], agent(seen), atol=1e-5)
            values = network(found).compute_values({Columns.OBS: seen})
            assert torch.allclose(values, agent.critic(seen)[:, 0], atol=1e-5)

    @pytest.mark.slow
    def test_a_state_dict_of_convolutions(self, tmp_path: Path) -> None:
        """CleanRL's for Atari: one network for both, a layer behind it for each, pixels by 255."""
        network_ = nn.Sequential(
            *(nn.Conv2d(3, 8, 8, stride=4), nn.ReLU(), nn.Conv2d(8, 6, 4, stride=2), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(6 * 3 * 4, 20), nn.ReLU()),
        )
        agent = nn.Module()
        agent.network, agent.actor, agent.critic = network_, nn.Linear(20, 3), nn.Linear(20, 1)
        torch.save(agent.state_dict(), tmp_path / "agent.cleanrl_model")
        filters = "[[8, 8, 4, valid], [6, 4, 2, valid]]"
        model = f"conv_filters: {filters}, head_fcnet_hiddens: [20], fcnet_activation: relu"
        experiment = parse(f"{{{PICTURES}, algorithm: {{model: {{{model}}}}}}}")
        found = import_policy(tmp_path / "agent.cleanrl_model", experiment, tmp_path / "ours")
        assert any("divided by 255" in note for note in found.notes)
        raw = np.random.default_rng(0).integers(0, 256, (64, 40, 44, 3), np.uint8)
        seen = torch.tensor(raw.transpose(0, 3, 1, 2)).float() / 255
        theirs = agent.actor(network_(seen)).argmax(1).numpy()
        ours, _ = act(describe(found.checkpoint).policy, raw)
        assert (ours == theirs).mean() > 0.98
        plain = of_algorithm(PICTURES, "PPO")
        with pytest.raises(UserError, match=r"no tensor tells its stride.*conv_filters"):
            import_policy(tmp_path / "agent.cleanrl_model", plain, tmp_path / "other")

    def test_by_the_command(self, command: Command, tmp_path: Path) -> None:
        torch.save(Agent().state_dict(), tmp_path / "agent.pt")
        (tmp_path / "mine.yaml").write_text(CARTPOLE)
        given = ("import", "agent.pt", "mine.yaml", "--to", "ours")
        said = command(*given, cwd=tmp_path)
        assert said.status == 0, said
        assert "for 1,000 observations differ by at most" in said.out
        assert "note: no tensor tells activations" in said.out
        assert (tmp_path / "ours" / MODULE_PATH).is_dir()
        assert "'ours' exists" in refused(command(*given, cwd=tmp_path))

    def test_settings_that_differ_can_be_pasted(self, command: Command, tmp_path: Path) -> None:
        """Whole, and with those that are RLlib's defaults as the file does not set them."""
        agent = Gaussian(1)
        torch.save(agent.state_dict(), tmp_path / "agent.pt")
        model = "model: {fcnet_hiddens: [12, 9], vf_share_layers: true, max_seq_len: 17}"
        (tmp_path / "mine.yaml").write_text(f"{PENDULUM}\nalgorithm: {{{model}}}\n")
        said = command("import", "agent.pt", "mine.yaml", "--to", "ours", cwd=tmp_path)
        assert said.status == 2
        line, *paste = said.error.splitlines()
        assert "model.fcnet_hiddens: the policy has [12, 8], and the experiment [12, 9]; " in line
        assert "vf_share_layers: the policy has false, and the experiment true; " in line
        assert (
            "free_log_std: the policy has true, RLlib's default is false, and the experiment sets"
            " none; leave algorithm.model out, or let the experiment say:" in line
        )
        assert paste[0] == "algorithm:" and "    free_log_std: true" in paste
        assert "    max_seq_len: 17" in paste  # what the file says besides
        (tmp_path / "mine.yaml").write_text("\n".join([PENDULUM, *paste]))
        said = command("import", "agent.pt", "mine.yaml", "--to", "ours", cwd=tmp_path)
        assert said.status == 0, said

    def test_what_computes_something_else_is_not_written(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"gives actions that differ by .* nothing was written"):
            import_policy(Residual(), parse(CARTPOLE), tmp_path / "ours")
        assert list(tmp_path.iterdir()) == []
        agent = Agent()
        odd = nn.Sequential(agent.critic, nn.Tanh())
        with pytest.raises(UserError, match="gives values that differ by"):
            import_policy(agent.actor, parse(CARTPOLE), tmp_path / "ours", critic=odd)
        with pytest.raises(UserError, match="exists; give another name"):
            import_policy(Agent(), parse(CARTPOLE), tmp_path)


@pytest.mark.parametrize(
    ("policy", "experiment", "told"),
    [
        (Agent, of_algorithm(CARTPOLE, "PPO", fcnet_hiddens=[64]), "model.fcnet_hiddens: the pol"),
        (lambda: Agent(3), parse(CARTPOLE), "'actor.4.weight' (3, 8) ends a network with 3"),
        (
            lambda: Gaussian(3),
            parse(PENDULUM),
            "the policy has 3 action outputs ('actor_logstd' (1, 3)), the environment's Box has 1",
        ),
        (lambda: Gaussian(2), parse(CARTPOLE), "'actor_logstd' (1, 2) gives deviations of contin"),
        (lambda: Agent(sizes=(12, 9)), parse(CARTPOLE), "its critic has hidden layers [12, 9]"),
        (Agent, parse(PENDULUM), "'critic.0.weight' (12, 4) reads 4, and observations are 3 num"),
        (lambda: nn.LSTM(4, 2), parse(CARTPOLE), "'weight_ih_l0' (8, 4) belongs to no dense"),
        (Agent, of_algorithm(PENDULUM, "SAC"), "SAC begins from a model of Stable-Baselines3"),
        (Agent, of_algorithm(CARTPOLE, "BC"), "algorithm.name: unknown 'BC'"),
        (Agent, parse(CARTPOLE, [FILTERED]), "observation_filter would be of no use"),
        (lambda: nn.Linear(4, 2), parse(CARTPOLE), "has no hidden layer"),
        (Agent, of_algorithm(CARTPOLE, "PPO", fcnet_hidden=[64]), "model: unknown 'fcnet_hidden'"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    tmp_path: Path, policy: Callable[[], nn.Module], experiment: Any, told: str
) -> None:
    with pytest.raises(UserError) as error:
        import_policy(policy(), experiment, tmp_path / "ours")
    assert told in str(error.value) and not (tmp_path / "ours").exists()


def test_a_model_of_other_actions_is_refused(tmp_path: Path) -> None:
    sb3 = stable_baselines()
    sb3.PPO("MlpPolicy", "CartPole-v1", device="cpu").save(tmp_path / "ppo.zip")
    other = parse("{environment: {id: Acrobot-v1}, algorithm: {name: PPO}}")
    with pytest.raises(UserError, match="the policy has 2 action outputs, the environment's Discr"):
        import_policy(tmp_path / "ppo.zip", other, tmp_path / "ours")


def test_what_torch_does_not_read_is_told_apart(tmp_path: Path) -> None:
    """None of torch's words about its options."""
    whole = tmp_path / "whole.pt"
    torch.save(Agent(), whole)
    torch.save(Agent(), tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "script.pt")
    torch.save(Agent().state_dict(), tmp_path / "damaged.pt")
    damaged = bytearray((tmp_path / "damaged.pt").read_bytes())
    at = damaged.index(b"actor.0.weight")
    damaged[at - 5 : at] = b"\xda" * 5
    (tmp_path / "damaged.pt").write_bytes(damaged)
    save = "save module.state_dict(), and not the module"
    code = f"can't be read without running code of its author's; {save}"
    for name, told in (
        ("whole.pt", f"holds objects of {Agent.__module__}.Agent, which {code}"),
        ("legacy.pt", f"holds more than tensors, which {code}"),
        ("script.pt", f"is a program of TorchScript; {save}"),
        ("damaged.pt", "is damaged: torch can't read it"),
    ):
        with pytest.raises(UserError) as error:
            import_policy(tmp_path / name, parse(CARTPOLE), tmp_path / "ours")
        assert str(error.value) == f"import: {str(tmp_path / name)!r} {told}"
