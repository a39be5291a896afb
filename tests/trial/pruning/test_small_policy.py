"""A policy without 93 % of its weights, physically smaller, that plays as before."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from prune_search.experiment import file as experiment_file
from prune_search.records.folder import StudyFolder
from prune_search.rllib.configuration.algorithms import MODULE_PATH
from prune_search.trial.baselines.baseline import BaselineTrainer
from prune_search.trial.rounds import TrialRounds
from tests.plans import plan

# RLlib and the one module of ours; plays an episode and says what was imported and how large it is.
OPENS = """
import json, sys
import gymnasium as gym, torch
from ray.rllib.core.rl_module.rl_module import RLModule
import prune_search.modules
policy = RLModule.from_checkpoint(sys.argv[1])
environment, steps, done = gym.make("CartPole-v1"), 0, False
seen, _ = environment.reset(seed=7)
while not done:
    with torch.no_grad():
        batch = {"obs": torch.as_tensor(seen)[None]}
        action = int(policy.forward_inference(batch)["action_dist_inputs"].argmax())
    seen, _, over, cut, _ = environment.step(action)
    steps, done = steps + 1, over or cut
rooms = ("prune_search.rllib", "prune_search.trial")
ours = sorted(name for name in sys.modules if name.startswith(rooms))
acting = policy.get_state(inference_only=True)
size = sum(value.numel() for name, value in policy.named_parameters() if name in acting)
print(json.dumps({"steps": steps, "imported": ours, "parameters": size}))
"""


@pytest.mark.slow
def test_93_percent_of_the_neurons_weights_go_and_the_policy_still_plays(
    local_ray: None, tmp_path: Path
) -> None:
    experiment = experiment_file.load("cartpole", [f"storage={tmp_path}"])
    trainer = BaselineTrainer(tmp_path, experiment)
    while not trainer.step().done:
        pass
    dense = trainer.finish()
    chosen = plan(
        granularity="neuron", allocation="uniform", ratio=0.93, critic_ratio=0.5, end=0.6,
        rounds=8, env_steps=120_000,
    )  # fmt: skip
    folder = StudyFolder(tmp_path, "study")
    rounds = TrialRounds(experiment, folder, dense, 0, chosen)
    while not rounds.done:
        rounds.step()
    rounds.stop()
    good = [p for p in rounds.record.points if p.sparsity >= 0.93 and p.retention >= 0.95]
    assert good, [(p.sparsity, p.retention) for p in rounds.record.points]
    best = good[-1]
    assert best.physical <= 0.07 * dense.parameters
    checkpoint = folder.path / best.checkpoint / "algorithm" / MODULE_PATH
    opened = subprocess.run(
        [sys.executable, "-c", OPENS, str(checkpoint)], capture_output=True, text=True, check=True
    )
    found = json.loads(opened.stdout.strip().splitlines()[-1])
    assert found["imported"] == []
    assert found["parameters"] == best.physical
    assert found["steps"] > 200
