"""RLlib's network computes what a policy of plain torch does; what it can't be is refused."""

from __future__ import annotations

from collections.abc import Callable
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
from prune_search.rllib.configuration.algorithms import MODULE_PATH
from tests.commands import Command, refused
from tests.importing.imported import CARTPOLE, PENDULUM, PICTURES, network, of_algorithm

FILTERED = "algorithm.env_runners.observation_filter=MeanStdFilter"


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
