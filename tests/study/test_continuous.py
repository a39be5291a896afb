"""Continuous actions from one end to the other, by the commands that a user types."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ray.rllib.core.rl_module.rl_module import RLModule

from tuners import cli

PENDULUM = """
environment:
  id: Pendulum-v1
  config: {max_episode_steps: 60}
  wrappers: [{name: tests.environments.Thrifty}]  # learned at once
algorithm:
  name: PPO
  training: {lr: 0.001, gamma: 0.9, train_batch_size_per_learner: 1024, minibatch_size: 256,
             num_epochs: 4, grad_clip: 0.5, vf_clip_param: .inf}
  model: {fcnet_hiddens: [16, 16], fcnet_activation: tanh, vf_share_layers: false}
baseline: {env_steps: 8000}
pruning:
  granularity: [neuron, weight]
  criterion: magnitude
  allocation: uniform
  ratio: 0.75
  scope: actor
  schedule: one_shot
  rounds: 1
  env_steps: 1000
search: {trials: 2, probes: 0, sampler: grid}
evaluation: {episodes: 6, final_episodes: 6, envs: 6}
resources: {envs_per_env_runner: 8, concurrent_trials: 1}
"""


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_pendulum_with_ppo(
    local_ray: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`run`, `show`, `evaluate` and `compact`, of single weights and of neurons."""
    monkeypatch.chdir(tmp_path)
    command = _commands(monkeypatch, capsys)
    Path("pendulum.yaml").write_text(PENDULUM)
    assert "complete" in command("run", "pendulum.yaml")
    found = json.loads(command("show", "pendulum", "--json"))
    trials = {trial["strategy"]["granularity"]: trial for trial in found["trials"]}
    assert {trial["state"] for trial in trials.values()} == {"complete"}
    assert trials.keys() == {"weight", "neuron"}
    for granularity, trial in trials.items():
        [point] = trial["points"]
        assert point["cost_missing"] == "" and 0.5 < point["weight_sparsity"] < 1.0
        dense = 3 * 16 + 16 * 16 + 16 * 2
        assert point["macs"] < dense if granularity == "neuron" else point["macs"] == dense
        assert point["compact"] <= point["physical"]
        measured = json.loads(command("evaluate", "pendulum", point["point"], "--json"))
        for figure in ("sparsity", "nonzero", "physical", "return_iqm"):
            assert measured[figure] == point[figure], figure
        assert "-> " in command("compact", "pendulum", point["point"], "--to", granularity)
        small = RLModule.from_checkpoint(tmp_path / granularity / "default_policy")
        assert sum(value.numel() for value in small.parameters()) == point["compact"]


def _commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["prune-search", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        assert not ended.value.code, printed.err
        return str(printed.out)

    return run
